"""One operator asks another whether it can be reached: what is dialled, for whom, how often, and what is told."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from eigenkms.node.network import dial_back
from eigenkms.p2p.dialing import resolver
from eigenkms.p2p.host import Host
from eigenkms.p2p.identity import PeerId, PeerKey, parse_transport
from eigenkms.types import ClusterId, DialOutcome, OperatorAddress
from eigenkms.wire import rpc_methods
from eigenkms.wire.dial_back import VALID_MS, ReachAnswer, build_reach_request, decode_reach_answer
from eigenkms.wire.frames import Frame, FrameKind, build_frame
from tests.support.fake_network import ANYWHERE, CLUSTER, FakeNetwork
from tests.support.hosts import patient_host
from tests.support.local_node import LocalNode
from tests.support.nodes import a_node, asked, keep_version
from tests.support.waiting import PATIENCE

STRANGER = PeerKey.generate().peer_id


@pytest.fixture(autouse=True)
def _far_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine reaches none of them, and asks its second question before the pause is over."""
    monkeypatch.setattr(dial_back, "DIAL_SECONDS", PATIENCE)
    monkeypatch.setattr(dial_back, "PAUSE_SECONDS", PATIENCE)


@pytest.fixture
def node(network: FakeNetwork, tmp_path: Path) -> Iterator[LocalNode]:
    """The first operator's."""
    keep_version(network, 0, tmp_path)
    with a_node(network, 0, tmp_path) as node:
        yield node


def request(
    network: FakeNetwork, *, index: int = 1, to: int = 0, cluster: ClusterId = CLUSTER, off: int = 0
) -> Frame:
    """A good question of the second operator to the first, or as told; ``off`` in milliseconds."""
    asker = network.operators[index]
    return build_reach_request(
        asker.key,
        cluster=cluster,
        operator=asker.address,
        recipient=network.operators[to].address,
        time_ms=time.time_ns() // 1_000_000 + off,
    )


def know(
    node: LocalNode, network: FakeNetwork, socket: str, *, own: str = "/ip4/127.0.0.1/tcp/9/p2p/"
) -> None:
    """The node's chain says that the second operator is at ``socket``, and itself at ``own`` and its peer id."""
    sockets = {
        network.operators[0].address: own + str(network.operators[0].peer.peer_id),
        network.operators[1].address: socket,
    }
    found = network.chain.operators
    node.state.peers.update([replace(o, socket=sockets.get(o.address, o.socket)) for o in found])


async def ask(node: LocalNode, frame: Frame, peer: PeerId = STRANGER) -> ReachAnswer | str:
    answer = await asked(node.services.client_handlers.answer, peer, rpc_methods.REACH, frame.encoded)
    return answer if isinstance(answer, str) else decode_reach_answer(answer)


async def with_host(node: LocalNode, network: FakeNetwork, socket: str) -> ReachAnswer | str:
    """What the node tells the second operator whose socket on chain is ``socket``."""
    know(node, network, socket)
    async with patient_host(network.operators[0].peer) as host:
        node.build(host)
        return await ask(node, request(network))


@pytest.mark.slow
async def test_a_node_that_listens_where_the_chain_says_is_reached(
    network: FakeNetwork, node: LocalNode
) -> None:
    """By a dial of its own, although both are connected already; whoever asks in the operator's name may be any peer."""
    peer = network.operators[1].peer
    async with (
        patient_host(peer, listen=[ANYWHERE]) as there,
        patient_host(network.operators[0].peer) as here,
    ):
        node.build(here)
        know(node, network, str(there.addresses[0]))
        here.set_addresses(peer.peer_id, [str(there.addresses[0])])
        here.keep_connected({peer.peer_id})
        await here.wait_connected(peer.peer_id, PATIENCE)
        before = there.statistics().accepted
        assert await ask(node, request(network)) == ReachAnswer(str(there.addresses[0]), DialOutcome.REACHED)
        assert there.statistics().accepted == before + 1
        assert peer.peer_id in here.connected()


async def test_a_closed_port_is_refused(network: FakeNetwork, node: LocalNode) -> None:
    """And the address that was tried is told."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    socket = f"/ip4/127.0.0.1/tcp/{port}/p2p/{network.operators[1].peer.peer_id}"
    assert await with_host(node, network, socket) == ReachAnswer(socket, DialOutcome.REFUSED)


async def test_silence_times_out(
    network: FakeNetwork, node: LocalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a firewall that swallows what is sent: here somebody who accepts and says nothing."""
    monkeypatch.setattr(dial_back, "DIAL_SECONDS", 0.2)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with listener:
        socket = f"/ip4/127.0.0.1/tcp/{port}/p2p/{network.operators[1].peer.peer_id}"
        assert await with_host(node, network, socket) == ReachAnswer(socket, DialOutcome.TIMED_OUT)


async def test_a_member_at_a_black_hole_keeps_no_other_from_its_answer(
    network: FakeNetwork, node: LocalNode
) -> None:
    """Its own next question waits for the first; another member's is dialled beside it."""
    (hole,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    second, third = network.operators[1:3]
    async with (
        patient_host(third.peer, listen=[ANYWHERE]) as there,
        patient_host(network.operators[0].peer) as here,
        hole,
        trio.open_nursery() as nursery,
    ):
        node.build(here)
        port = hole.socket.getsockname()[1]
        know(node, network, f"/ip4/127.0.0.1/tcp/{port}/p2p/{second.peer.peer_id}")
        node.state.peers.update(
            [
                replace(o, socket=str(there.addresses[0])) if o.address == third.address else o
                for o in node.state.peers.operators
            ]
        )
        nursery.start_soon(ask, node, request(network))
        async with await hole.accept():
            assert await ask(node, request(network, off=5)) == "busy"
            assert await ask(node, request(network, index=2)) == ReachAnswer(
                str(there.addresses[0]), DialOutcome.REACHED
            )
            nursery.cancel_scope.cancel()


async def test_another_peer_at_the_address_is_told_apart(network: FakeNetwork, node: LocalNode) -> None:
    """The socket on chain names a peer id, and whoever listens there must prove to have it."""
    async with patient_host(PeerKey.generate(), listen=[ANYWHERE]) as other:
        socket = f"{other.addresses[0].multiaddr}/p2p/{network.operators[1].peer.peer_id}"
        assert await with_host(node, network, socket) == ReachAnswer(socket, DialOutcome.OTHER_PEER)


async def test_what_does_not_speak_libp2p_is_a_failure(network: FakeNetwork, node: LocalNode) -> None:
    """Such as a web server."""

    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener, *_) = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), hang_up, 0)
        port = listener.socket.getsockname()[1]
        socket = f"/ip4/127.0.0.1/tcp/{port}/p2p/{network.operators[1].peer.peer_id}"
        assert await with_host(node, network, socket) == ReachAnswer(socket, DialOutcome.FAILED)
        nursery.cancel_scope.cancel()


async def test_a_node_of_the_public_network_dials_no_private_address(
    network: FakeNetwork, node: LocalNode
) -> None:
    """Else a member could scan the network that the node is in, at the price of a transaction an address."""
    async with patient_host(network.operators[1].peer, listen=[ANYWHERE]) as there:
        know(node, network, str(there.addresses[0]), own="/ip4/9.9.9.9/tcp/9/p2p/")
        async with patient_host(network.operators[0].peer) as host:
            node.build(host)
            host.set_home(node.state.peers.home)
            answer = await ask(node, request(network))
        assert isinstance(answer, ReachAnswer)
        assert answer.outcome is DialOutcome.NOT_PUBLIC
        assert there.statistics().accepted == 0


async def _count(
    host: Host, node: LocalNode, network: FakeNetwork, *frames: Frame
) -> list[ReachAnswer | str]:
    """The answers of a node that could reach the asker, one after another."""
    know(node, network, str(host.addresses[0]))
    async with patient_host(network.operators[0].peer) as asked_host:
        node.build(asked_host)
        return [await ask(node, frame) for frame in frames]


async def test_it_dials_for_nobody_else(network: FakeNetwork, node: LocalNode) -> None:
    """Not for a stranger, a forger, or a question to another operator, of another cluster, of another kind or time."""
    asker = network.operators[1]
    forged = replace(request(network), signature=request(network, index=2).signature)
    alien = replace(network.operators[2], address=OperatorAddress(b"\x77" * 20))
    foreign = build_reach_request(
        alien.key,
        cluster=CLUSTER,
        operator=alien.address,
        recipient=network.operators[0].address,
        time_ms=time.time_ns() // 1_000_000,
    )
    record = build_frame(
        asker.key,
        kind=FrameKind.PEER_RECORD,
        cluster=CLUSTER,
        sender=asker.address,
        recipient=network.operators[0].address,
        session=request(network).session,
        body=[1],
    )
    async with patient_host(asker.peer, listen=[ANYWHERE]) as there:
        refused = await _count(
            there,
            node,
            network,
            forged,
            foreign,
            request(network, to=2),
            request(network, cluster=ClusterId(b"\x01" * 32)),
            record,
            request(network, off=VALID_MS + 3_600_000),
            request(network, off=-VALID_MS - 3_600_000),
        )
        assert there.statistics().accepted == 0
    assert refused == [
        "refused-frame",
        "not-a-member",
        "refused-frame",
        "refused-frame",
        "bad-request",
        "wrong-time",
        "wrong-time",
    ]


async def test_a_question_is_answered_once_and_seldom(network: FakeNetwork, node: LocalNode) -> None:
    """A copy is refused, and so is the next question until the pause is over, whichever peer brings it."""
    first = request(network)
    async with patient_host(network.operators[1].peer, listen=[ANYWHERE]) as there:
        good, again, soon = await _count(there, node, network, first, first, request(network, off=5))
        assert isinstance(good, ReachAnswer)
        assert (again, soon) == ("replayed", "busy")
        assert there.statistics().accepted == 1


async def test_a_socket_that_is_no_address_is_said_to_be_none(network: FakeNetwork, node: LocalNode) -> None:
    """There is nothing to dial."""
    assert await with_host(node, network, "somewhere") == "no-address"


@pytest.mark.parametrize("answer", [b"", b"\x92\xa1a\xa1b", b"\x91\xa1a"])
def test_a_malformed_answer_is_refused(answer: bytes) -> None:
    """Whatever a peer says to be an outcome."""
    from eigenkms.wire.codec import MalformedError

    with pytest.raises(MalformedError):
        decode_reach_answer(answer)


async def test_a_name_that_does_not_resolve_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an error of the one who dials."""

    async def look_up(_name: tuple[str, str], _limiter: trio.CapacityLimiter) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(resolver, "look_up", look_up)
    async with patient_host(PeerKey.generate()) as host:
        address = parse_transport("/dns4/does-not-exist.invalid/tcp/9400")
        assert await host.probe(STRANGER, address, timeout=PATIENCE) is DialOutcome.FAILED
