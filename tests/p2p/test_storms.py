"""Storms of hellos: handshakes are computed in turns, so connected peers, operators and newcomers from elsewhere are served.

Bounds are counts of handshakes that were begun, and of steps before an answer. Virtual time passes only while nothing can be done.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from eigenkms.p2p.host import Host, Limits, open_host
from eigenkms.p2p.identity import PeerId, PeerKey
from eigenkms.p2p.limits import HandshakeLimits
from eigenkms.p2p.listening.handshake_turns import BUCKETS, HandshakeTurns, OperatorAddresses
from eigenkms.p2p.prefixes import prefix_of
from tests.p2p.support import ANYWHERE, ECHO, NEWCOMER_STEPS, echo, introduce, regular, steps_of_call
from tests.support.p2p_attackers import NOISE_HELLO, connect
from tests.support.waiting import PATIENCE, eventually, pass_time

LIMITS = Limits(handshakes=HandshakeLimits(upgrade_timeout=1.0))
"""The default, with an early end for handshakes that do not go on."""


@asynccontextmanager
async def hellos(server: Host, sources: list[str], each: int) -> AsyncIterator[None]:
    """``each`` sockets from each of the addresses that say hello, and no more, while the context lasts."""
    sockets: list[trio.SocketStream] = []

    async def one(source: str) -> None:
        sockets.append(await connect(server.addresses[0], source))
        await sockets[-1].send_all(NOISE_HELLO)

    try:
        async with trio.open_nursery() as nursery:
            for source in sources:
                for _ in range(each):
                    nursery.start_soon(one, source)
        yield
    finally:
        for socket in sockets:
            socket.socket.close()


def clients_and(operator: PeerId | None):
    """A gate that knows one operator."""
    return lambda peer, protocol: protocol == ECHO or peer == operator


@pytest.mark.slow
async def test_a_storm_of_hellos_from_one_address_costs_what_one_address_may() -> None:
    """Its handshakes are begun at its own rate; who is connected is served meanwhile, and so is a newcomer from elsewhere."""
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE], gate=clients_and(None), limits=LIMITS) as server,
        regular(server) as honest,
    ):
        server.serve(ECHO, echo)
        await honest.is_served()
        before, start = server.statistics().handshakes_begun, trio.current_time()
        async with hellos(server, ["127.0.0.66"], 150), open_host(PeerKey.generate()) as newcomer:
            await eventually(lambda: server.statistics().handshakes_begun > before)
            await honest.is_served()
            introduce(newcomer, server)
            assert await steps_of_call(newcomer, server, b"hello") < NEWCOMER_STEPS
            await eventually(lambda: server.statistics().handshakes == 0)
        begun = server.statistics().handshakes_begun - before - 1
        seconds = trio.current_time() - start
        assert begun <= LIMITS.handshakes.prefix_burst + LIMITS.handshakes.prefix_rate * seconds
        assert begun < 75, "half of those that said hello"


@pytest.mark.slow
async def test_an_operator_that_restarts_does_not_wait_behind_strangers() -> None:
    """From sixty addresses comes more than the strangers' turns are; the operator has its turn at once, by its address."""
    key = PeerKey.generate()
    async with open_host(PeerKey.generate(), listen=[ANYWHERE], gate=clients_and(key.peer_id)) as server:
        server.serve(ECHO, echo)
        server.set_addresses(key.peer_id, ["/ip4/127.0.0.1/tcp/1"])
        server.keep_connected({key.peer_id})
        sources = [f"127.0.1.{i}" for i in range(1, 61)]
        async with hellos(server, sources, 4), open_host(key) as operator:
            await eventually(lambda: server.statistics().handshakes > 200)
            lobbies = server._listener._strangers, server._listener._familiar
            assert [len(each.handshakes) > 0 for each in lobbies] == [True, False]
            introduce(operator, server)
            start = trio.current_time()
            assert await operator.call(server.peer_id, ECHO, "echo", b"x", timeout=PATIENCE) == b"x"
            assert trio.current_time() - start < 0.5, "in the strangers' lane it is 1.5 s"
            assert lobbies[0].handshakes, "the strangers wait still"


async def test_turns_go_round_the_prefixes_and_each_has_a_rate() -> None:
    """A newcomer's prefix is next, however many of another one wait; none gets more than its own tokens."""
    turns = HandshakeTurns(rate=20, burst=2, prefix_rate=5, prefix_burst=4)
    order: list[str] = []

    async def take(prefix: str) -> None:
        await turns.take(prefix)
        order.append(prefix)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.run)
        for _ in range(100):
            nursery.start_soon(take, "192.0.2.1")
        await eventually(lambda: len(order) == 2)
        nursery.start_soon(take, "192.0.2.2")
        await eventually(lambda: len(order) >= 4)
        assert "192.0.2.2" in order[2:4]
        start = trio.current_time()
        before = order.count("192.0.2.1")
        await pass_time(2)
        mine = order.count("192.0.2.1") - before
        assert 5 <= mine <= 4 + 5 * (trio.current_time() - start)
        nursery.cancel_scope.cancel()


async def test_who_gives_up_its_turn_leaves_nothing() -> None:
    """Neither a place in a line nor, of ever new prefixes, more than so many tokens."""
    turns = HandshakeTurns(rate=1e6, burst=1e6, prefix_rate=1, prefix_burst=1)
    with trio.move_on_after(1):
        await turns.take("192.0.2.1")
    assert not turns._waiting
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.run)
        for i in range(BUCKETS + 100):
            await turns.take(str(i))
        nursery.cancel_scope.cancel()
    assert len(turns._buckets) == BUCKETS


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_address_counts_as_its_prefix(address: str, prefix: str) -> None:
    """An IPv6 host can have any address of its /64."""
    assert prefix_of(address) == prefix


def test_operators_are_where_they_are_said_to_be_and_where_they_came_from() -> None:
    """As long as they are operators; nobody else's addresses count."""
    one, other = (PeerKey.generate().peer_id for _ in range(2))
    known = OperatorAddresses()
    known.set_announced(
        one, ["/ip4/192.0.2.1/tcp/9000", "/ip6/2001:db8::1/tcp/9000", "/dns4/example.com/tcp/9000"]
    )
    known.set_announced(other, ["/ip4/192.0.2.9/tcp/9000"])
    assert "192.0.2.1" not in known
    known.set_operators(frozenset({one}))
    known.add_seen(one, "192.0.2.2")
    known.add_seen(other, "192.0.2.8")
    assert [
        each in known
        for each in ("192.0.2.1", "2001:db8::/64", "192.0.2.2", "192.0.2.8", "192.0.2.9", "example.com")
    ] == [
        *(True, True, True),
        *(False, False, False),
    ]
    known.set_announced(one, [])
    assert "192.0.2.1" not in known
    assert "192.0.2.2" in known
    known.set_operators(frozenset())
    assert "192.0.2.2" not in known
