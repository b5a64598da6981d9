"""The threads that do the long work of the machines."""

import threading

import trio

from eigenkms.crypto import pvss
from eigenkms.node.engine.workers import Workers
from eigenkms.protocols.ceremony.jobs import CheckJob, CheckResult, Job, OpenJob, OpenResult, Result
from tests.protocols.support import cast
from tests.support.toy_backend import toy_crypto
from tests.support.waiting import eventually


def an_open() -> OpenJob:
    key = pvss.EncryptionKey.generate(cast(1).rng)
    return OpenJob(bytes(32), bytes(96), (), is_genesis=True, key=key)


async def test_workers_make_their_table_when_it_is_needed_and_once() -> None:
    """Opening shares needs it, checking does not; two at once do not make two."""
    made: list[int] = []

    def make() -> pvss.LogarithmTable:
        made.append(1)
        return pvss.LogarithmTable(width=1)

    with toy_crypto():
        workers = Workers(cast(1).rng, make)
        assert await workers.run_job(CheckJob(())) == CheckResult(frozenset(), frozenset())
        assert made == []
        results: list[Result] = []

        async def work(job: Job) -> None:
            results.append(await workers.run_job(job))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, an_open())
            nursery.start_soon(work, an_open())
        assert results == [OpenResult(bytes(32), None)] * 2
        assert made == [1]


async def test_work_under_way_keeps_nobody_from_leaving() -> None:
    """Its thread goes on and is left alone."""
    begun, end, ended = threading.Event(), threading.Event(), threading.Event()

    def make() -> pvss.LogarithmTable:
        begun.set()
        end.wait()
        ended.set()
        return pvss.LogarithmTable(width=1)

    with toy_crypto():
        workers = Workers(cast(1).rng, make)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(workers.run_job, an_open())
            await eventually(begun.is_set)
            nursery.cancel_scope.cancel()
        assert not ended.is_set()
        end.set()
        await eventually(ended.is_set)
