"""Checks of signatures that strangers cause: on real sockets and in counts, an operator waits for none of them, whoever floods."""

import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from eigenkms.crypto import bn254
from eigenkms.errors import NetworkError, RemoteProtocolError
from eigenkms.node.network import signature_checks
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.node.network.signature_checks import Caller, SignatureChecks
from eigenkms.p2p.errors import CallRefusedError, RpcRefusal
from eigenkms.p2p.host import Host
from eigenkms.p2p.identity import PeerId, PeerKey
from eigenkms.wire import rpc_methods
from eigenkms.wire.client_rpc import encode_info_request
from eigenkms.wire.frames import Frame, FrameKind, build_frame
from eigenkms.wire.messages import sync_body
from tests.support.fake_network import ANYWHERE, CLUSTER, FakeNetwork
from tests.support.hosts import patient_host
from tests.support.local_node import LocalNode
from tests.support.nodes import a_node, keep_version
from tests.support.waiting import PATIENCE, eventually

FORGER = bn254.KeyPair.from_secret(4711)
HERE = "/ip4/127.0.0.1/tcp/9001"
CONNECTIONS = 20
AT_ONCE = 4
"""Calls of one connection."""


@dataclass
class Stuck:
    """Checks of bad signatures, which last until ``free`` is set: a thread that does one is lost to whoever waits for it."""

    bad: int = 0
    free: threading.Event = field(default_factory=threading.Event)

    def verify(self, verify: object, digest: bytes, signature: bytes, key: bytes) -> bool:
        assert callable(verify)
        if verify(digest, signature, key):
            return True
        self.bad += 1
        assert self.free.wait(PATIENCE)
        return False


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stuck]:
    found = Stuck()
    monkeypatch.setattr(bn254, "verify", partial(found.verify, bn254.verify))
    yield found
    found.free.set()


@pytest.fixture
def node(network: FakeNetwork, tmp_path: Path) -> Iterator[LocalNode]:
    """The first operator's. The chain names the peers of all."""
    keep_version(network, 0, tmp_path)
    with a_node(network, 0, tmp_path) as node:
        node.state.peers.update(
            replace(o, socket=f"{HERE}/p2p/{network.operators[i].peer.peer_id}")
            for i, o in enumerate(network.chain.operators)
        )
        yield node


def forged(network: FakeNetwork, peer: PeerId, number: int) -> Frame:
    """A record in the second operator's name that it did not sign, of the peer that brings it; each number has its own."""
    return replace(network.operators[1], key=FORGER).record([HERE], peer=peer, sequence=number)


async def flood(network: FakeNetwork, host: Host, target: PeerId, first: int, codes: Counter[str]) -> None:
    """One forgery after another, until the test is over."""
    number = first
    while True:
        try:
            body = forged(network, host.peer_id, number).encoded
            await host.call(target, rpc_methods.CLIENT_PROTOCOL, rpc_methods.HELLO, body, timeout=PATIENCE)
        except CallRefusedError as refused:
            codes[refused.code] += 1
        except NetworkError:
            return
        number += AT_ONCE


@pytest.mark.slow
async def test_an_operator_waits_for_no_strangers_signature(
    network: FakeNetwork, node: LocalNode, stuck: Stuck
) -> None:
    """Twenty connections flood with forged hellos, and the check of one of them never ends. An operator says hello, pulls, and is
    known again after a restart; a client gets its statement.
    """
    operator, codes = network.operators[1], Counter[str]()
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(
            patient_host(network.operators[0].peer, listen=[ANYWHERE], gate=node.state.peers.admits)
        )
        there.serve(rpc_methods.CLIENT_PROTOCOL, node.services.client_handlers.answer)
        there.serve(rpc_methods.OPERATOR_PROTOCOL, node.services.operator_handlers.answer)

        async def visit(key: PeerKey) -> Host:
            host = await stack.enter_async_context(patient_host(key))
            host.set_addresses(there.peer_id, [str(there.addresses[0])])
            return host

        client, *attackers = [await visit(PeerKey.generate()) for _ in range(1 + CONNECTIONS)]
        stack.callback(stuck.free.set)  # or a failure below waits for the thread
        async with trio.open_nursery() as nursery:
            for attacker in attackers:
                for first in range(AT_ONCE):
                    nursery.start_soon(flood, network, attacker, there.peer_id, first + 1, codes)
            await eventually(lambda: stuck.bad and codes["busy"] >= 2 * CONNECTIONS)
            for life in (1, 2):
                async with patient_host(operator.peer) as host:
                    host.set_addresses(there.peer_id, [str(there.addresses[0])])
                    await speak(network, partial(host.call, there.peer_id, timeout=PATIENCE), life)
            asked = encode_info_request(CLUSTER, bytes(32))
            assert await client.call(
                there.peer_id, rpc_methods.CLIENT_PROTOCOL, rpc_methods.INFO, asked, timeout=PATIENCE
            )
            assert stuck.bad == 1
            stuck.free.set()
            nursery.cancel_scope.cancel()
    assert node.state.peers.operator_of(operator.peer.peer_id) == operator.address
    assert set(codes) <= {"busy", "refused-frame"}


async def speak(network: FakeNetwork, call: Callable[[str, str, bytes], Awaitable[bytes]], life: int) -> None:
    """The second operator says hello, with a record of its own for each life, and pulls."""
    operator = network.operators[1]
    record = operator.record([HERE], sequence=life)
    known = await call(rpc_methods.CLIENT_PROTOCOL, rpc_methods.HELLO, record.encoded)
    assert record.encoded in rpc_methods.decode_frames(known)
    sync = build_frame(
        operator.key,
        kind=FrameKind.SYNC,
        cluster=CLUSTER,
        sender=operator.address,
        session=network.session.id,
        body=sync_body([]),
    )
    assert (
        rpc_methods.decode_frames(await call(rpc_methods.OPERATOR_PROTOCOL, rpc_methods.SYNC, sync.encoded))
        == []
    )


# -- in counts -----------------------------------------------------------------------------------------------------


@pytest.fixture
def peer_book(network: FakeNetwork) -> PeerBook:
    """The first operator's. The second one's socket is at 198.51.100.7."""
    sockets = {network.operators[1].address: "/ip4/198.51.100.7/tcp/9/p2p/"}
    peer_book = PeerBook(CLUSTER, network.operators[0].address, network.operators[0].peer.peer_id)
    peer_book.update(
        [
            replace(o, socket=f"{sockets.get(o.address, HERE + '/p2p/')}{network.operators[i].peer.peer_id}")
            for i, o in enumerate(network.chain.operators)
        ]
    )
    return peer_book


def stranger(address: str = "203.0.113.1") -> Caller:
    return Caller(PeerKey.generate().peer_id, address)


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_client_is_an_address(address: str, client: str) -> None:
    """With IPv6 the /64. On this machine, where all have one address, and where there is none, it is its peer."""
    peer = PeerKey.generate().peer_id
    assert Caller(peer, address).client == client
    for own in ("127.0.0.1", "::1", "::ffff:127.0.0.1", ""):
        assert Caller(peer, own).client == str(peer)


async def outcome(checks: SignatureChecks, frame: Frame, caller: Caller) -> str:
    try:
        return "verified" if await checks.check(frame, caller) else "not needed"
    except RpcRefusal as refusal:
        return refusal.code
    except RemoteProtocolError:
        return "bad"


async def test_a_forgery_is_checked_once(
    network: FakeNetwork,
    peer_book: PeerBook,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever brings it again; so many are remembered and no more, and not if its operator has another key meanwhile."""
    monkeypatch.setattr(signature_checks, "REMEMBERED", 2)
    checks = SignatureChecks(peer_book)
    frame = forged(network, stranger().peer, 1)
    for number in range(5):
        assert await outcome(checks, frame, stranger(f"203.0.113.{number}")) == "bad"
    assert (checks.statistics().of_strangers, checks.statistics().remembered) == (1, 1)
    for number in range(2, 5):
        assert (
            await outcome(checks, forged(network, stranger().peer, number), stranger(f"203.0.113.{number}"))
            == "bad"
        )
    assert (checks.statistics().of_strangers, checks.statistics().remembered) == (4, 2)
    latest = forged(network, stranger().peer, 5)
    assert await outcome(checks, latest, stranger("203.0.113.9")) == "bad"
    peer_book.update(
        [
            replace(o, key=FORGER.g2) if o.address == network.operators[1].address else o
            for o in peer_book.operators
        ]
    )
    assert await outcome(checks, latest, stranger("203.0.113.10")) == "verified"


async def test_a_client_has_its_own_rate_and_an_address_of_the_chain_another(
    network: FakeNetwork, peer_book: PeerBook, autojump_clock: trio.testing.MockClock
) -> None:
    """All peer ids of one address are one client, with IPv6 those of a /64. From where its socket is an operator gets in as a new
    peer, and on another machine it is one client among others.
    """
    checks = SignatureChecks(peer_book)
    for flooder in ("203.0.113.1", "2001:db8::"):
        found = [
            await outcome(
                checks,
                forged(network, stranger().peer, number),
                stranger(flooder + (str(number) if ":" in flooder else "")),
            )
            for number in range(1, signature_checks.CLIENT_BURST + 3)
        ]
        assert found == ["bad"] * signature_checks.CLIENT_BURST + ["busy"] * 2
    true = network.operators[1].record([HERE], peer=stranger().peer, sequence=7)
    before = checks.statistics()
    assert await outcome(checks, true, stranger("198.51.100.7")) == "verified"
    assert checks.statistics() == replace(before, of_operators=before.of_operators + 1)
    assert await outcome(checks, true, stranger("203.0.113.2")) == "verified"
    assert checks.statistics().of_strangers == before.of_strangers + 1


async def test_strangers_in_one_operators_name_leave_room_for_another(
    network: FakeNetwork, peer_book: PeerBook, stuck: Stuck
) -> None:
    """From any number of addresses: half of the places are for the other names. An operator's own word needs none."""
    checks = SignatureChecks(peer_book)
    found = Counter[str]()

    async def ask(frame: Frame, number: int) -> None:
        found[await outcome(checks, frame, stranger(f"203.0.113.{number}"))] += 1

    other = network.operators[2].record([HERE], peer=stranger().peer)
    async with trio.open_nursery() as nursery:
        for number in range(2 * signature_checks.STRANGERS):
            nursery.start_soon(ask, forged(network, stranger().peer, number + 1), number)
        await eventually(lambda: stuck.bad)
        await trio.testing.wait_all_tasks_blocked()
        assert found == {"busy": 2 * signature_checks.STRANGERS - signature_checks.NAMED}
        own = Caller(network.operators[1].peer.peer_id, "203.0.113.1")
        assert await outcome(checks, network.operators[1].record([HERE]), own) == "verified"
        assert checks.statistics().of_operators == 1
        nursery.start_soon(ask, other, 200)
        await trio.testing.wait_all_tasks_blocked()
        stuck.free.set()
    assert found == {
        "busy": 2 * signature_checks.STRANGERS - signature_checks.NAMED,
        "bad": signature_checks.NAMED,
        "verified": 1,
    }


async def test_an_operator_that_passes_forgeries_on_pays_for_them(
    network: FakeNetwork, peer_book: PeerBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own rate is used up by them. What another one says is checked, and costs no check while it waits if it became known."""
    monkeypatch.setattr(signature_checks, "OPERATOR_BURST", 3)
    checks = SignatureChecks(peer_book)
    liar, honest = network.operators[2:4]
    record = liar.record([HERE])
    peer_book.accept(peer_book.check_fresh(record, 1) or pytest.fail("no news"), record)
    peer_book.mark_authenticated(liar.peer.peer_id, record)
    found = [
        await outcome(checks, forged(network, stranger().peer, number), Caller(liar.peer.peer_id))
        for number in range(1, 6)
    ]
    assert found == ["bad"] * 3 + ["busy"] * 2
    assert await outcome(checks, honest.record([HERE]), Caller(honest.peer.peer_id)) == "verified"
    assert not await checks.check(
        honest.record([HERE], sequence=2), Caller(honest.peer.peer_id), is_needed=lambda: False
    )
    assert checks.statistics().of_operators == 4
