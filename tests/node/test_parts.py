"""The small parts beside the engine: bodies that wait, what an operator is served, the threads that work, and what travels."""

import threading
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from eigenkms.crypto import pvss
from eigenkms.crypto.hashing import keccak256
from eigenkms.errors import VerificationError
from eigenkms.node.network import byte_budget
from eigenkms.node.network.byte_budget import OperatorByteBudget
from eigenkms.node.network.dealing_bodies import MAX_BYTES, MAX_OF_ONE, DealingBodies
from eigenkms.node.workers import Workers
from eigenkms.protocols.ceremony.jobs import CheckJob, CheckResult, Job, OpenJob, OpenResult, Result
from eigenkms.protocols.wire import rpc_methods
from eigenkms.protocols.wire.codec import MalformedError, encode
from eigenkms.protocols.wire.dealing import DealingRow
from eigenkms.protocols.wire.rpc_methods import (
    VersionHead,
    check_head,
    decode_head,
    decode_row,
    encode_head,
    encode_row,
)
from eigenkms.protocols.wire.transcript import ListedKey, Transcript
from eigenkms.protocols.wire.votes import Certificate, Phase, aggregate, vote_digest
from eigenkms.types import OperatorAddress
from tests.protocols.rooms import version_of
from tests.protocols.support import CLUSTER, Cast, cast
from tests.support.fake_network import prove_settled
from tests.support.toy_backend import toy_crypto
from tests.support.waiting import eventually

NAMES = [keccak256(b"%d" % number) for number in range(20)]


def operators(n: int) -> list[OperatorAddress]:
    return [OperatorAddress(bytes([i]) * 20) for i in range(n)]


# -- bodies ------------------------------------------------------------------------------------------------------


async def test_bodies_wait_until_they_are_wanted() -> None:
    """Each under its name, of all sources that sent one; what nobody wants stays, and a newer one takes an older one's place."""
    bodies = DealingBodies()
    bodies.put("a", NAMES[0], b"early")
    bodies.put("a", NAMES[0], b"one")
    bodies.put("b", NAMES[0], b"another")
    bodies.put("b", NAMES[1], b"two")
    await bodies.arrival()
    assert bodies.take([NAMES[2]]) == []
    assert sorted(bodies.take([NAMES[0], NAMES[2]])) == sorted([(NAMES[0], b"one"), (NAMES[0], b"another")])
    assert len(bodies) == 1
    assert bodies.take(NAMES) == [(NAMES[1], b"two")]
    assert len(bodies) == 0


async def test_a_source_displaces_its_own_bodies_only() -> None:
    """By number and by bytes, the oldest first; how many went is said."""
    bodies = DealingBodies()
    bodies.put("honest", NAMES[0], b"body")
    displaced = [bodies.put("liar", name, b"x") for name in NAMES]
    assert displaced == [0] * MAX_OF_ONE + [1] * (len(NAMES) - MAX_OF_ONE)
    assert bodies.put("liar", NAMES[0], bytes(MAX_BYTES)) == MAX_OF_ONE
    assert bodies.take(NAMES) == [(NAMES[0], b"body"), (NAMES[0], bytes(MAX_BYTES))]


async def test_an_arrival_is_told_once(autojump_clock: MockClock) -> None:
    """Whoever waits again waits for the next one."""
    bodies = DealingBodies()
    bodies.put("a", NAMES[0], b"one")
    await bodies.arrival()
    with trio.move_on_after(1) as waiting:
        await bodies.arrival()
    assert waiting.cancelled_caught


# -- what an operator is served -----------------------------------------------------------------------------------------


def test_an_operator_is_served_so_many_bytes_in_a_while() -> None:
    """It may overdraw by one answer; then it waits until it has paid, and nobody else does."""
    now = 100.0
    served = OperatorByteBudget(lambda: now)
    greedy, other = operators(2)
    for _ in range(byte_budget.BURST // (1 << 20)):
        assert served.allows(greedy)
        served.spend(greedy, 1 << 20)
    assert not served.allows(greedy)
    assert served.allows(other)
    now += 0.001
    assert served.allows(greedy)
    served.spend(greedy, 8 << 20)
    now += 1.9
    assert not served.allows(greedy)
    now += 0.2
    assert served.allows(greedy)


def test_short_answers_are_not_free() -> None:
    """They cost as if they were longer, and what is known of one that left is forgotten."""
    served = OperatorByteBudget(lambda: 0.0)
    one, two = operators(2)
    for _ in range(byte_budget.BURST // byte_budget.LEAST):
        assert served.allows(one)
        served.spend(one, 1)
    assert not served.allows(one)
    served.forget(frozenset({one}))
    assert not served.allows(one)
    served.forget(frozenset({two}))
    assert served.allows(one)


def test_an_answer_that_needs_a_check_costs_more() -> None:
    """So a flood of bad signatures ends after a while, as one of long answers does."""
    served = OperatorByteBudget(lambda: 0.0)
    one, _ = operators(2)
    for _ in range(byte_budget.BURST // byte_budget.CHECKED):
        assert served.allows(one)
        served.spend(one, 0, byte_budget.CHECKED)
    assert not served.allows(one)


# -- threads -------------------------------------------------------------------------------------------------------


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
        assert await workers.carry_out(CheckJob(())) == CheckResult(frozenset(), frozenset())
        assert made == []
        results: list[Result] = []

        async def work(job: Job) -> None:
            results.append(await workers.carry_out(job))

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
            nursery.start_soon(workers.carry_out, an_open())
            await eventually(begun.is_set)
            nursery.cancel_scope.cancel()
        assert not ended.is_set()
        end.set()
        await eventually(ended.is_set)


# -- what travels --------------------------------------------------------------------------------------------------


def signed(who: Cast, transcript: Transcript, phase: Phase, signers: int = 4) -> Certificate:
    digest = vote_digest(transcript.session, 3, phase, transcript.hash)
    from eigenkms.crypto import bn254

    votes = {a: bn254.sign(who.keys[a], digest) for a in who.addresses[:signers]}
    return aggregate(transcript.session, 3, phase, transcript.hash, votes, transcript.recipients)


def a_head(
    who: Cast, phase: Phase, *, rotation: bool = True, signers: int = 4, lists_keys: bool = True
) -> VersionHead:
    """Without keys, a version of protocol 1."""
    made = version_of(who).transcript
    keys = tuple(ListedKey(100, bytes(48)) for _ in who.addresses) if lists_keys else ()
    source = (90, b"\x05" * 32) if rotation else (0, bytes(32))
    transcript = replace(made, keys=keys, source_version=source[0], source_hash=source[1])
    return VersionHead(transcript, signed(who, transcript, phase, signers))


@pytest.mark.usefixtures("toy_curves")
class TestHead:
    """The highest version of an operator, and what proves it."""

    def test_it_comes_back_and_verifies(self) -> None:
        """Certified, or prepared in a rotation."""
        who = cast(4)
        for head in (
            a_head(who, Phase.COMMIT),
            a_head(who, Phase.PREPARE),
            a_head(who, Phase.COMMIT, rotation=False),
        ):
            again = decode_head(encode_head(head))
            assert (again.transcript.encoded, again.certificate.encoded) == (
                head.transcript.encoded,
                head.certificate.encoded,
            )
            check_head(again, CLUSTER)

    def test_it_proves_nothing_with_a_certificate_that_does_not(self) -> None:
        """A genesis that is merely prepared, too few signers, another transcript or session, another cluster."""
        who = cast(4)
        good = a_head(who, Phase.COMMIT)
        other = a_head(who, Phase.COMMIT, rotation=False)
        for bad, message in (
            (a_head(who, Phase.PREPARE, rotation=False), "a genesis, or of protocol 1, and merely prepared"),
            (a_head(who, Phase.COMMIT, signers=2), "2 signers, 3 needed"),
            (replace(good, certificate=other.certificate), "not of this transcript"),
            (
                replace(good, certificate=replace(good.certificate, session=who.later().id)),
                "not of this transcript",
            ),
            (replace(good, certificate=replace(good.certificate, view=4)), "does not verify"),
        ):
            with pytest.raises(VerificationError, match=message):
                check_head(bad, CLUSTER)
        with pytest.raises(VerificationError, match="of another cluster"):
            check_head(good, type(CLUSTER)(b"\x01" * 32))

    def test_a_version_of_protocol_1_comes_with_its_settlement_proof(self) -> None:
        """Unless it is a genesis; four of four must have confirmed it, and it is certified."""
        who = cast(4)
        alone = a_head(who, Phase.COMMIT, lists_keys=False)
        check_head(a_head(who, Phase.COMMIT, rotation=False, lists_keys=False), CLUSTER)
        proven = replace(alone, proof=prove_settled(alone.transcript, who.keys))
        again = decode_head(encode_head(proven))
        assert again == proven
        check_head(again, CLUSTER)
        few = {address: who.keys[address] for address in who.addresses[:3]}
        for bad, message in (
            (alone, "it has no settlement proof"),
            (replace(alone, proof=prove_settled(alone.transcript, few)), "3 signers, 4 needed"),
            (replace(proven, certificate=signed(who, alone.transcript, Phase.PREPARE)), "merely prepared"),
        ):
            with pytest.raises(VerificationError, match=message):
                check_head(bad, CLUSTER)

    def test_other_bytes_are_refused(self) -> None:
        """Cut, longer, of another shape."""
        good = encode_head(a_head(cast(4), Phase.COMMIT))
        for bad in (b"", good[:-1], good + b"\x00", encode([b"", b""]), encode([1, 2])):
            with pytest.raises(MalformedError):
                decode_head(bad)


def test_rows_and_bodies_are_measured_before_anything_else() -> None:
    """What fits comes back; what no dealing can have is refused."""
    row = DealingRow(b"header", bytes(1792))
    assert decode_row(encode_row(row)) == row
    for bad in (b"", encode([b"h"]), encode([b"h", bytes(5000)]), encode([bytes(200_000), b""])):
        with pytest.raises(MalformedError):
            decode_row(bad)
    body = bytes(pvss.encoded_size(1))
    assert rpc_methods.decode_push(rpc_methods.encode_push(NAMES[0], body)) == (NAMES[0], body)
    for size in (0, len(body) - 1, rpc_methods.MAX_BODY_BYTES + 1):
        with pytest.raises(MalformedError):
            rpc_methods.decode_push(rpc_methods.encode_push(NAMES[0], bytes(size)))
    assert rpc_methods.read_name(NAMES[0]) == NAMES[0]
    with pytest.raises(MalformedError):
        rpc_methods.read_name(NAMES[0][:-1])


def test_the_largest_body_fits_a_call() -> None:
    """With its name, and with room for the envelope."""
    from eigenkms.p2p.limits import Limits

    assert len(rpc_methods.encode_push(NAMES[0], bytes(rpc_methods.MAX_BODY_BYTES))) < Limits().body
