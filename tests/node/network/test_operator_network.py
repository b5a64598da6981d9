"""Whom a node dials, and where, if members lie about addresses. Seconds are virtual."""

from collections.abc import Iterator
from typing import Any

import pytest
import trio

from eigenkms.node.network.operator_network import OperatorNetwork
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.p2p.host import Host, PeerUnreachable, open_host
from eigenkms.p2p.identity import PeerKey
from eigenkms.p2p.limits import Limits
from eigenkms.types import SessionId
from eigenkms.wire import rpc_methods
from eigenkms.wire.frames import FrameKind, build_frame
from tests.support.black_holes import black_holes
from tests.support.fake_network import ANYWHERE, CLUSTER, FakeNetwork, Operator, make_network
from tests.support.waiting import PATIENCE, eventually, pass_time

pytestmark = pytest.mark.usefixtures("virtual_clock")
NOBODY: Any = object()
SECONDS = 2.0
"""Within which a victim is reached; a dial of eight black holes takes five, and once took forty."""


@pytest.fixture(scope="module")
def seven() -> FakeNetwork:
    """The operators, whose keys and records cost most of the time."""
    return make_network(7)


@pytest.fixture
def holes() -> Iterator[list[str]]:
    """As many as a record has addresses."""
    with black_holes(8) as found:
        yield found


def links_of(host: Host, book: PeerBook) -> OperatorNetwork:
    """Those of the first operator, of which nothing runs."""
    return OperatorNetwork(host, book, NOBODY, NOBODY, CLUSTER, window=1.0)


def book_of(network: FakeNetwork, me: Operator) -> PeerBook:
    """What ``me`` knows when all have a socket on chain, at a port where nobody listens."""
    for index, operator in enumerate(network.operators):
        network.place(index, f"/ip4/127.0.0.1/tcp/1/p2p/{operator.peer.peer_id}")
    book = PeerBook(CLUSTER, me.address, me.peer.peer_id)
    book.update(network.chain.operators)
    return book


def learn(book: PeerBook, operator: Operator, addresses: list[str], peer: PeerKey, sequence: int = 1) -> None:
    """A record that somebody passed on, as the greeter takes it."""
    frame = operator.record(addresses, peer=peer.peer_id, sequence=sequence)
    record = book.check_fresh(frame, sequence)
    assert record is not None
    book.accept(record, frame)


async def test_a_victim_is_reached_whatever_members_say_about_its_addresses(
    seven: FakeNetwork, holes: list[str]
) -> None:
    """One liar names its peer id beside eight black holes, and four others black holes of their own."""
    me, *liars, victim, thief = (seven.operators[i] for i in (0, 1, 2, 3, 4, 6, 5))
    async with open_host(victim.peer, listen=[ANYWHERE]) as there, open_host(me.peer) as here:
        there.serve(rpc_methods.CLIENT_PROTOCOL, NOBODY)
        for index, operator in enumerate(seven.operators):
            where = there.addresses[0].multiaddr if operator is victim else holes[0]
            seven.place(index, f"{where}/p2p/{operator.peer.peer_id}")
        book = PeerBook(CLUSTER, me.address, me.peer.peer_id)
        book.update(seven.chain.operators)
        learn(book, thief, holes, victim.peer)
        for liar in liars:
            learn(book, liar, holes, liar.peer)
        links = links_of(here, book)
        here.keep_connected({liar.peer.peer_id for liar in liars})
        for liar in liars:
            here.set_addresses(liar.peer.peer_id, holes)
        await eventually(lambda: here.statistics().dials >= len(liars))
        begun = trio.current_time()
        links.refresh()
        await here.wait_connected(victim.peer.peer_id, PATIENCE)
        assert trio.current_time() - begun < SECONDS + Limits().dialing.grace


async def test_a_peer_that_nobody_is_any_more_is_forgotten(seven: FakeNetwork) -> None:
    """A member that becomes another peer a hundred times leaves one behind."""
    me, liar = seven.operators[:2]
    book = book_of(seven, me)
    async with open_host(me.peer) as here:
        links = links_of(here, book)
        links.refresh()
        others = len(book.expected())
        for sequence in range(1, 101):
            learn(book, liar, ["/ip4/127.0.0.1/tcp/1"], PeerKey.generate(), sequence)
            links.refresh()
        assert len(book.expected()) == others
        assert len(here._dialer._peers) == others


async def test_frames_of_one_operator_are_passed_on_at_a_rate(
    seven: FakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a burst; another operator's are passed on meanwhile."""
    monkeypatch.setattr("eigenkms.node.network.operator_network.GOSSIP_RATE", 2)
    monkeypatch.setattr("eigenkms.node.network.operator_network.GOSSIP_BURST", 10)
    me, flooding, other = seven.operators[:3]
    book = book_of(seven, me)
    async with open_host(me.peer) as here:
        links = links_of(here, book)

        def is_passed_on(operator: Operator, view: int) -> bool:
            frame = build_frame(
                operator.key,
                kind=FrameKind.VIEW_CHANGE,
                cluster=CLUSTER,
                sender=operator.address,
                session=SessionId(bytes(32)),
                body=[view, None],
            )
            return links._read_gossip(operator.peer.peer_id, frame.encoded) is not None

        assert [is_passed_on(flooding, view) for view in range(12)] == [True] * 10 + [False] * 2
        assert is_passed_on(other, 0)
        await pass_time(1.0)
        assert [is_passed_on(flooding, view) for view in range(3)] == [True, True, False]


async def test_a_node_of_the_public_network_dials_no_private_address_of_a_record(seven: FakeNetwork) -> None:
    """Nor one of the chain; once the chain says that the node is in a private network, it does."""
    me, other = seven.operators[:2]
    async with open_host(other.peer, listen=[ANYWHERE]) as there, open_host(me.peer) as here:
        seven.place(0, f"/ip4/9.9.9.9/tcp/9/p2p/{me.peer.peer_id}")
        seven.place(1, str(there.addresses[0]))
        book = PeerBook(CLUSTER, me.address, me.peer.peer_id)
        book.update(seven.chain.operators)
        learn(book, other, [a.multiaddr for a in there.addresses], other.peer)
        links = links_of(here, book)
        links.refresh()
        with pytest.raises(PeerUnreachable, match="address of a private network"):
            await here.call(
                other.peer.peer_id, rpc_methods.CLIENT_PROTOCOL, rpc_methods.STATUS, b"", timeout=PATIENCE
            )
        assert there.statistics().accepted == 0
        seven.place(0, f"/ip4/127.0.0.1/tcp/9/p2p/{me.peer.peer_id}")
        book.update(seven.chain.operators)
        links.refresh()
        await pass_time(1)
        await here.wait_connected(other.peer.peer_id, PATIENCE)
