"""What is held for peers is bounded in bytes, for each of them and for all strangers together: on real sockets, in virtual time."""

import os
import resource
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from eigenkms.p2p.hardening.swarm import guard_streams
from eigenkms.p2p.host import CallTimeout, Limits, PeerUnreachable, Request, open_host
from eigenkms.p2p.identity import PeerId, PeerKey
from eigenkms.p2p.limits import RpcLimits
from eigenkms.p2p.rpc import framing
from eigenkms.p2p.rpc.memory import REQUEST_COST, Hold, MemoryAccount, MemoryPool, PeerPlaces
from tests.p2p.support import ANYWHERE, ECHO, echo, introduce, regular
from tests.support.p2p_attackers import DATA, RST, WINDOW, Staller, raw_peer, read_frame
from tests.support.waiting import PATIENCE, eventually

MIB = 1 << 20
SENT_BY_ONE = 12 * MIB


def clients_only(_peer: PeerId, protocol: str) -> bool:
    """The gate of a node whose operators are elsewhere."""
    return protocol == ECHO


def request(id_: int, body: bytes = b"x") -> bytes:
    """A good request."""
    return framing.encode(framing.RequestFrame(id_, "echo", body))


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path(f"/proc/{os.getpid()}/statm").read_text().split()[1]) * resource.getpagesize()


def large_requests() -> Iterator[bytes]:
    """As many as one attacker sends."""
    body = bytes(60_000)
    return (request(i, body) for i in range(SENT_BY_ONE // len(body)))


@pytest.mark.slow
async def test_strangers_that_ask_and_do_not_read_make_no_memory_grow() -> None:
    """Three that read a byte now and then: an answer that is not read in time costs the stream, and others are served.

    Before places were held until answers are written, all that the three sent was held: 36 MiB.
    """
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE], gate=clients_only) as server,
        AsyncExitStack() as stack,
    ):
        server.serve(ECHO, echo)
        honest = await stack.enter_async_context(regular(server))
        await honest.is_served()
        nursery = await stack.enter_async_context(trio.open_nursery())
        peers = [await stack.enter_async_context(raw_peer(server.addresses[0])) for _ in range(3)]
        stallers = [Staller(peer) for peer in peers]
        before = most = resident()
        for staller in stallers:
            nursery.start_soon(staller.run, ECHO, large_requests())

        def done() -> bool:
            nonlocal most
            most = max(most, resident())
            return all(staller.over.is_set() or staller.sent >= SENT_BY_ONE for staller in stallers)

        await eventually(lambda: all(staller.sent >= MIB for staller in stallers))
        await honest.is_served()
        await eventually(done)
        assert most - before < 3 * SENT_BY_ONE, "less than what was sent"
        assert all(staller.over.is_set() for staller in stallers)
        await eventually(lambda: server.statistics().held_for_strangers < MIB)
        nursery.cancel_scope.cancel()


async def test_a_peer_has_as_many_answers_under_way_as_requests() -> None:
    """One that reads none has 32 requests carried out; a hundred before places were held until answers are written."""
    begun = 0

    async def answer(_request: Request) -> bytes:
        nonlocal begun
        begun += 1
        return bytes(20_000)

    async with open_host(PeerKey.generate(), listen=[ANYWHERE]) as server:
        server.serve(ECHO, answer)
        async with raw_peer(server.addresses[0]) as attacker:
            stream = await attacker.open(ECHO)
            await attacker.data(stream, b"".join(request(i) for i in range(100)))
            while (await read_frame(attacker.secured))[:3] != (WINDOW, RST, stream):
                pass
        fit = (256 << 10) // 20_000
        assert begun <= Limits().rpc.in_flight + fit + 1


async def test_all_strangers_together_hold_what_their_pool_has() -> None:
    """Twelve hold 150 kB each: whoever holds most is cut off for the next, and a client that holds little is not."""
    limits = Limits(rpc=RpcLimits(strangers=MIB))
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE], gate=clients_only, limits=limits) as server,
        regular(server) as honest,
        AsyncExitStack() as stack,
    ):
        server.serve(ECHO, echo)
        await honest.is_served()
        for _ in range(12):
            attacker = await stack.enter_async_context(raw_peer(server.addresses[0]))
            for _ in range(2):
                await attacker.data(await attacker.open(ECHO), request(1, bytes(60_000))[:-1])
            assert server.statistics().held_for_strangers <= limits.rpc.strangers
        await eventually(lambda: server.statistics().cut_strangers >= 4)
        await honest.is_served()
        assert limits.rpc.strangers // 2 < server.statistics().held_for_strangers <= limits.rpc.strangers


async def test_answers_that_find_no_room_are_refusals() -> None:
    """Of six answers of a megabyte that a client asks for, and does not read, one waits; the others are not held."""

    async def big(_request: Request) -> bytes:
        return bytes(MIB)

    async with open_host(PeerKey.generate(), listen=[ANYWHERE], gate=clients_only) as server:
        server.serve(ECHO, big)
        async with raw_peer(server.addresses[0]) as attacker:
            stream = await attacker.open(ECHO)
            await attacker.data(stream, b"".join(request(i) for i in range(6)))
            await eventually(lambda: server.statistics().requests_served == 6)
            assert server.statistics().held_for_strangers <= Limits().rpc.client_held + (64 << 10)
            await attacker.frame(WINDOW, 0, stream, 8 * MIB)
            answers = await frames_of(attacker, 6)
        await eventually(lambda: server.statistics().held_for_strangers == 0)
        refusals = [each for each in answers if isinstance(each, framing.RefusalFrame)]
        assert {each.code for each in refusals} == {"busy"}
        assert len(refusals) == 5


async def frames_of(attacker: Any, n: int) -> list[framing.Frame]:
    """The first ``n`` frames of the session layer on the attacker's only stream."""
    got = bytearray()

    async def receive() -> bytes:
        while True:
            kind, _, _, _, data = await read_frame(attacker.secured)
            if kind == DATA:
                return data

    negotiated = len(b"\x13/multistream/1.0.0\n") + 1 + len(ECHO) + 1
    while len(got) < negotiated:
        got += await receive()
    rest = bytes(got[negotiated:])

    async def continued() -> bytes:
        nonlocal rest
        first, rest = rest, b""
        return first or await receive()

    reader = framing.FrameReader(continued)
    with trio.fail_after(PATIENCE):
        return [frame for _ in range(n) if (frame := await reader.next(2 * MIB)) is not None]


async def test_requests_to_a_member_that_does_not_read_hold_what_one_peer_may() -> None:
    """Thirty-two requests of a megabyte: eight hold their bytes, the others wait for a place; who gives up holds nothing."""

    async def deaf(_stream: object, _protocol: str) -> None:
        await trio.sleep_forever()

    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as member,
        open_host(PeerKey.generate()) as host,
    ):
        member.serve(ECHO, echo)
        guard_streams(member._libp2p, deaf, lambda _reason: None, Limits())
        introduce(host, member)
        body = bytes(MIB)

        async def ask() -> None:
            with pytest.raises((CallTimeout, PeerUnreachable)):
                await host.call(member.peer_id, ECHO, "echo", body, timeout=3.0)

        async with trio.open_nursery() as nursery:
            for _ in range(32):
                nursery.start_soon(ask)
            places = host._rpc_client.get(member.peer_id, ECHO)._places
            await eventually(lambda: places.held > 6 * MIB)
            assert places.held <= Limits().rpc.held
        await eventually(lambda: places.held <= MIB + framing.ENVELOPE)


# ----- the books


async def test_places_wait_for_room_and_one_request_may_have_any_size() -> None:
    """The bound is one of bytes for several, and of the number always."""
    places = PeerPlaces(2, 100)
    await places.enter(500)
    with trio.move_on_after(1) as scope:
        await places.enter(1)
    assert scope.cancelled_caught
    assert places.held == 500
    places.change(-450)
    await places.enter(50)
    assert not places.has_room(1, inside=True)
    with trio.move_on_after(1) as scope:
        await places.enter(0)
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(places.enter, 0)
        await trio.testing.wait_all_tasks_blocked()
        places.leave(50)
    places.leave(50)
    places.leave(0)
    assert places.held == 0


def test_a_pool_cuts_whoever_holds_most_and_counts_nothing_twice() -> None:
    """Operators are not in it, and what was cut gives nothing back later."""
    pool, cut = MemoryPool(100), []
    small, large, operator = (
        MemoryAccount(pool, lambda name=name: cut.append(name)) for name in ("small", "large", "operator")
    )
    operator.take(1000)
    assert cut == ["operator"]
    operator = MemoryAccount(pool, lambda: cut.append("operator"))
    operator.trust(trusted=True)
    operator.take(1000)
    small.take(40)
    large.take(60)
    assert (cut, pool.held) == (["operator"], 100)
    small.take(1)
    assert (cut, pool.held, pool.cuts) == (["operator", "large"], 41, 2)
    large.give(60)
    large.trust(trusted=False)
    small.give(41)
    assert pool.held == 0


async def test_a_hold_gives_back_what_it_took() -> None:
    """In the places of the peer and on the account, also if it is cancelled while it waits."""
    pool = MemoryPool(MIB)
    places, account = PeerPlaces(1, MIB), MemoryAccount(pool, lambda: None)
    hold = Hold(places, account, 10)
    await hold.enter()
    assert pool.held == places.held == REQUEST_COST + 10
    with trio.move_on_after(1):
        await Hold(places, account, 10).enter()
    hold.resize(1000)
    assert pool.held == places.held == REQUEST_COST + 1000
    hold.leave()
    assert pool.held == places.held == 0
