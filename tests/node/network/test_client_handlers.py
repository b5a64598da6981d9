"""What a node answers, and each of its refusals: programs act on the code, so every code is promised."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from eigenkms.authorisation.policy import Policy
from eigenkms.crypto import bls, bn254, sealing
from eigenkms.crypto.ibe_identities import identity_of
from eigenkms.errors import RefusedError
from eigenkms.node.engine import effect_store
from eigenkms.node.network import client_handlers
from eigenkms.p2p.host import GOSSIP
from eigenkms.p2p.identity import PeerId, PeerKey
from eigenkms.protocols.ceremony.effects import ReportFault
from eigenkms.protocols.ceremony.participant import SessionEffect
from eigenkms.public_status import PublicStatus
from eigenkms.rate_limiter import Pace
from eigenkms.types import AppId, ClusterId, OperatorAddress, SessionId
from eigenkms.wire import rpc_methods
from eigenkms.wire.client_rpc import (
    PartialRequest,
    build_statement,
    decode_evidence_page,
    decode_info,
    encode_evidence_request,
    encode_info_request,
    open_partial,
    read_statement,
)
from eigenkms.wire.frames import NO_SESSION, Frame, FrameKind, build_frame
from eigenkms.wire.messages import sync_body
from eigenkms.wire.rpc_methods import VersionHead, check_head, decode_head
from tests.support.evidence_cases import equivocation
from tests.support.fake_network import ANYWHERE, CLUSTER, FakeNetwork, network_client
from tests.support.hosts import patient_host
from tests.support.local_node import LocalNode
from tests.support.nodes import Nowhere, a_node, asked, keep_version
from tests.support.randomness import counter_rng
from tests.support.waiting import PATIENCE, pass_time

NONCE = bytes(range(32))
STRANGER = PeerKey.generate().peer_id
HERE = "/ip4/127.0.0.1/tcp/9001"


@pytest.fixture
def node(network: FakeNetwork, tmp_path: Path) -> Iterator[LocalNode]:
    """The first operator's, with its share of the version; it knows the set, and nobody has said hello."""
    keep_version(network, 0, tmp_path)
    with a_node(network, 0, tmp_path) as node:
        node.state.peers.update(network.chain.operators)
        yield node


def request(network: FakeNetwork, **changes: object) -> tuple[bytes, PartialRequest]:
    """(private reply key, a good request), changed as told."""
    private, public = sealing.x25519_keypair(counter_rng("reply key"))
    good = PartialRequest(CLUSTER, AppId("my-app"), 2, network.epoch.transcript.hash, public, NONCE)
    return private, replace(good, **changes)  # type: ignore[arg-type]


async def client(node: LocalNode, method: str, body: bytes, peer: PeerId = STRANGER) -> bytes | str:
    return await asked(node.services.client_handlers.answer, peer, method, body)


async def operator(node: LocalNode, peer: PeerId, method: str, frame: bytes) -> bytes | str:
    return await asked(node.services.operator_handlers.answer, peer, method, frame)


# -- everybody ---------------------------------------------------------------------------------------------------


async def test_info_has_the_epoch_and_my_word_on_it(network: FakeNetwork, node: LocalNode) -> None:
    """Over the client's nonce, signed by the operator's key."""
    answer = await client(node, rpc_methods.INFO, encode_info_request(CLUSTER, NONCE))
    assert isinstance(answer, bytes)
    info = decode_info(answer)
    assert (info.epoch.transcript, info.epoch.certificate) == (
        network.epoch.transcript,
        network.epoch.certificate,
    )
    statement = read_statement(info.statement)
    assert (statement.nonce, statement.mpk) == (NONCE, network.epoch.transcript.mpk)
    assert bn254.verify(info.statement.digest, info.statement.signature, network.operators[0].key.g2)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_partial_signature_is_sealed_to_the_asker(
    network: FakeNetwork, node: LocalNode, version: int
) -> None:
    """It is the operator's share of the application's key for that ciphertext version, and nobody else can read the answer."""
    private, asking = request(network, ciphertext_version=version)
    answer = await client(node, rpc_methods.PARTIAL, asking.encoded)
    assert isinstance(answer, bytes)
    frame, signature = open_partial(private, asking, network.epoch.transcript, answer)
    assert signature == bls.partial_sign(network.operators[0].share, identity_of(version, CLUSTER, "my-app"))
    assert frame.sender == network.operators[0].address
    assert signature not in answer


async def test_status_holds_no_secret(network: FakeNetwork, node: LocalNode) -> None:
    """JSON, with the version and whether a share is held."""
    answer = await client(node, rpc_methods.STATUS, b"")
    assert isinstance(answer, bytes)
    said = json.loads(answer)
    assert (said["share"], said["policy"], said["operators"], said["peers"]) == (True, "open", 4, 0)
    assert said["transcript"] == network.epoch.transcript.hash.hex()
    assert network.operators[0].share.to_bytes().hex() not in answer.decode()


async def test_another_cluster_is_told_so(network: FakeNetwork, node: LocalNode) -> None:
    """By all methods that name one."""
    away = ClusterId(b"\x01" * 32)
    assert await client(node, rpc_methods.INFO, encode_info_request(away, NONCE)) == "wrong-cluster"
    assert (
        await client(node, rpc_methods.PARTIAL, request(network, cluster=away)[1].encoded) == "wrong-cluster"
    )
    assert await client(node, rpc_methods.EVIDENCE, encode_evidence_request(away, 0)) == "wrong-cluster"


async def test_evidence_is_shown_to_everybody_page_by_page(
    network: FakeNetwork, node: LocalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole bundles in the order they came, each once; nothing is not refused."""
    monkeypatch.setattr(effect_store, "MAX_PAGE_BYTES", 100)
    assert await _evidence_of(node) == []
    liar = network.operators[1].address
    bundles = [bytes([size]) * size for size in (40, 60, 1, 200, 7)]
    for bundle in bundles:
        node.backing.store.add_evidence("bad-vote", liar, network.session.id, bundle)
    assert await _evidence_of(node) == [bundles[:2], bundles[2:3], bundles[3:4], bundles[4:]]


async def test_a_client_reads_and_verifies_what_a_node_kept(
    network: FakeNetwork, node: LocalNode, tmp_path: Path
) -> None:
    """Over real sockets, from what a machine accuses of to what the client believes."""
    operator, liar = network.operators[0], network.operators[1]
    noticed = equivocation(network, accused=1)
    node.ceremonies.engine.effects.make_durable(
        [SessionEffect(network.session, ReportFault(noticed.evidence))]
    )
    async with patient_host(operator.peer, listen=[ANYWHERE]) as host:
        host.serve(rpc_methods.CLIENT_PROTOCOL, node.services.client_handlers.answer)
        network.place(0, str(host.addresses[0]))
        async with network_client(network, tmp_path / "known") as reader:
            findings = await reader.fetch_evidence([operator.address])
    assert (findings.failures, findings.rejected) == ({}, ())
    (piece,) = findings.pieces
    assert (piece.bundle, piece.holders) == (noticed, (operator.address,))
    assert piece.bundle.evidence.accused == liar.address


async def _evidence_of(node: LocalNode) -> list[list[bytes]]:
    """All that a client gets, in pages."""
    pages, after, more = [], 0, True
    while more:
        answer = await client(node, rpc_methods.EVIDENCE, encode_evidence_request(CLUSTER, after))
        assert isinstance(answer, bytes)
        page = decode_evidence_page(answer, after)
        more = page.more
        if page.bundles:
            pages.append([bundle for _, bundle in page.bundles])
            after = page.bundles[-1][0]
    return pages


async def test_info_shows_the_newest_version(network: FakeNetwork, tmp_path: Path) -> None:
    """Once it is certified, whoever holds a share of it; not one of protocol 1 that the node does not know to be settled."""
    newer = network.reshare(network.first, 110)
    dormant = network.reshare(newer, 120, lists_keys=False)
    keep_version(network, 0, tmp_path)
    keep_version(network, 0, tmp_path, version=newer, with_share=False)
    keep_version(network, 0, tmp_path, version=dormant, settled=False)
    with a_node(network, 0, tmp_path) as node:
        answer = await client(node, rpc_methods.INFO, encode_info_request(CLUSTER, NONCE))
        assert isinstance(answer, bytes)
        info = decode_info(answer)
        assert read_statement(info.statement).transcript_hash == info.epoch.transcript.hash
        assert info.epoch.transcript.hash == newer.epoch.transcript.hash
        asking = request(network, transcript_hash=dormant.epoch.transcript.hash)[1]
        assert await client(node, rpc_methods.PARTIAL, asking.encoded) == "unknown-version"


async def test_a_node_without_a_version_says_so(network: FakeNetwork, tmp_path: Path) -> None:
    """There is nothing to show and nothing to sign with."""
    with a_node(network, 1, tmp_path / "empty") as node:
        assert await client(node, rpc_methods.INFO, encode_info_request(CLUSTER, NONCE)) == "no-version"
        assert await client(node, rpc_methods.PARTIAL, request(network)[1].encoded) == "unknown-version"


async def test_a_version_that_is_not_known_or_without_a_share(
    network: FakeNetwork, node: LocalNode, tmp_path: Path
) -> None:
    """Two codes: another operator can help with the second only."""
    unknown = request(network, transcript_hash=bytes(32))[1]
    assert await client(node, rpc_methods.PARTIAL, unknown.encoded) == "unknown-version"
    keep_version(network, 1, tmp_path / "shareless", with_share=False)
    with a_node(network, 1, tmp_path / "shareless") as other:
        assert await client(other, rpc_methods.PARTIAL, request(network)[1].encoded) == "no-share"
        assert isinstance(await client(other, rpc_methods.INFO, encode_info_request(CLUSTER, NONCE)), bytes)


async def test_a_share_on_its_way_is_worth_asking_for_again(network: FakeNetwork, node: LocalNode) -> None:
    """The share of the version before is erased by then, so a client that gave up now would find a key nowhere."""
    newer = network.reshare(network.first, 110)
    await node.ceremonies.engine.adopt_version(
        Nowhere(), VersionHead(newer.epoch.transcript, newer.epoch.certificate)
    )
    asking = request(network, transcript_hash=newer.epoch.transcript.hash)[1]
    assert await client(node, rpc_methods.PARTIAL, asking.encoded) == "busy"


async def test_a_closed_node_signs_nothing(network: FakeNetwork, tmp_path: Path) -> None:
    """And still shows the key."""
    keep_version(network, 0, tmp_path)
    with a_node(network, 0, tmp_path, policy="closed") as node:
        assert await client(node, rpc_methods.PARTIAL, request(network)[1].encoded) == "not-authorised"
        assert isinstance(await client(node, rpc_methods.INFO, encode_info_request(CLUSTER, NONCE)), bytes)


async def test_the_policy_is_open_or_closed(network: FakeNetwork) -> None:
    """Open grants everything, closed nothing, and says what would help."""
    assert await Policy("open").authorise(request(network)[1]) is None
    with pytest.raises(RefusedError, match="its policy is closed") as error:
        await Policy("closed").authorise(request(network)[1])
    assert error.value.exit_code == 3
    assert error.value.hint is not None


BAD_KEYS = [bytes(32), (1).to_bytes(32, "little"), b"\xec" + b"\xff" * 30 + b"\x7f"]


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_nothing_is_sealed_to_a_key_of_low_order(
    network: FakeNetwork, node: LocalNode, key: bytes
) -> None:
    """Its shared secret would be known to everybody (RFC 7748, section 6.1)."""
    assert (
        await client(node, rpc_methods.PARTIAL, request(network, reply_key=key)[1].encoded) == "bad-request"
    )


@pytest.mark.parametrize(
    "method", [rpc_methods.INFO, rpc_methods.PARTIAL, rpc_methods.EVIDENCE, rpc_methods.HELLO]
)
@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x90", b"\x93\x01\xc0\xc0", b"\xff" * 1000, b"\x93" + bytes(70)]
)
async def test_a_body_that_is_none_is_a_bad_request(node: LocalNode, method: str, body: bytes) -> None:
    """Whatever the method; nothing is computed for it."""
    assert await client(node, method, body) == "bad-request"


async def test_an_application_id_that_is_too_short_is_a_bad_request(
    network: FakeNetwork, node: LocalNode
) -> None:
    """Five bytes are the least."""
    assert (
        await client(node, rpc_methods.PARTIAL, request(network, app_id=AppId("four"))[1].encoded)
        == "bad-request"
    )


@pytest.mark.parametrize("method", ["frame", "sync", "head", "no-such-method"])
async def test_a_method_of_nobodys_is_refused(node: LocalNode, method: str) -> None:
    """Those of the operator protocol too, on this one."""
    assert await client(node, method, b"") == "unknown-method"


# -- many at once ------------------------------------------------------------------------------------------------


async def test_clients_take_turns_at_statements(
    network: FakeNetwork, node: LocalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that asks for more than may wait is refused; another one is served after one statement of the first."""
    free, signed = threading.Event(), list[bytes]()

    def sign(*arguments: Any) -> Frame:
        assert free.wait(PATIENCE)
        signed.append(arguments[-1])
        return build_statement(*arguments)

    monkeypatch.setattr(client_handlers, "build_statement", sign)
    greedy, modest = (PeerKey.generate().peer_id for _ in range(2))
    codes = []

    async def ask(peer: PeerId, nonce: bytes) -> None:
        codes.append(await client(node, rpc_methods.INFO, encode_info_request(CLUSTER, nonce), peer))

    async with trio.open_nursery() as nursery:
        for _ in range(client_handlers.STATEMENTS + 3):
            nursery.start_soon(ask, greedy, bytes(32))
        await trio.testing.wait_all_tasks_blocked()
        assert codes == ["busy"] * 3
        nursery.start_soon(ask, modest, NONCE)
        await trio.testing.wait_all_tasks_blocked()
        free.set()
    assert signed.index(NONCE) == 1
    assert len(signed) == client_handlers.STATEMENTS + 1


async def test_a_status_is_read_ten_times_a_second_at_most(
    node: LocalNode, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is asked for; the time in it is that of the answer."""
    readings, now, first = list[int](), 1000.0, node.services.reporter.public_status()

    def status() -> PublicStatus:
        readings.append(1)
        return replace(first, policy=f"reading {len(readings)}", time=0.0)

    monkeypatch.setattr(node.services.client_handlers, "_status", client_handlers.StatusCache(status))
    monkeypatch.setattr("time.time", lambda: now)
    for expected, pause in ((1, 0.0), (1, 0.0), (1, client_handlers.STATUS_SECONDS), (2, 0.0)):
        now += 1
        answer = await client(node, rpc_methods.STATUS, b"")
        assert isinstance(answer, bytes)
        found = json.loads(answer)
        assert (found["policy"], found["time"]) == (f"reading {expected}", now)
        await pass_time(pause)


async def test_a_client_that_is_refused_much_is_refused_late(
    node: LocalNode, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its burst on at a pace, whatever it sends at once; another client waits for nothing."""
    node.services.client_handlers._refusals = Pace(2, 4, trio.current_time)
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(client, node, rpc_methods.INFO, b"", STRANGER)
    assert trio.current_time() - begun == pytest.approx(2.0)
    assert await client(node, rpc_methods.INFO, b"", PeerKey.generate().peer_id) == "bad-request"
    assert trio.current_time() - begun == pytest.approx(2.0)


# -- hello -------------------------------------------------------------------------------------------------------


async def test_hello_with_a_true_record_proves_who_calls(network: FakeNetwork, node: LocalNode) -> None:
    """The answer has all records that we know, the caller's among them, and ours."""
    other = network.operators[1]
    record = other.record([HERE])
    node.build(node.host, network.operators[0].record([HERE]))
    answer = await client(node, rpc_methods.HELLO, record.encoded, other.peer.peer_id)
    assert isinstance(answer, bytes)
    assert rpc_methods.decode_frames(answer) == [network.operators[0].record([HERE]).encoded, record.encoded]
    assert node.state.peers.operator_of(other.peer.peer_id) == other.address
    assert isinstance(await client(node, rpc_methods.HELLO, record.encoded, other.peer.peer_id), bytes)


async def test_hello_of_a_peer_whose_record_came_before_it_proves_it(
    network: FakeNetwork, node: LocalNode
) -> None:
    """The record is known already, through another operator; its own word is still needed, and enough."""
    other, messenger = network.operators[1:3]
    record = other.record([HERE])
    await node.ceremonies.records.take_records(rpc_methods.encode_frames([record]), messenger.peer.peer_id)
    assert node.state.peers.operator_of(other.peer.peer_id) is None
    assert isinstance(await client(node, rpc_methods.HELLO, record.encoded, other.peer.peer_id), bytes)
    assert node.state.peers.operator_of(other.peer.peer_id) == other.address


async def test_hello_with_anothers_record_is_refused(network: FakeNetwork, node: LocalNode) -> None:
    """Signed well, and not by the one who calls."""
    victim, thief = network.operators[1:3]
    assert (
        await client(node, rpc_methods.HELLO, victim.record([HERE]).encoded, thief.peer.peer_id)
        == "wrong-peer"
    )
    assert await client(node, rpc_methods.HELLO, victim.record([HERE]).encoded, STRANGER) == "wrong-peer"
    assert node.state.peers.operator_of(thief.peer.peer_id) is None
    assert node.state.peers.records() == ()


async def test_hello_with_a_false_record_is_refused(network: FakeNetwork, node: LocalNode) -> None:
    """Signed by somebody else, of nobody, of another cluster, or with an address that is none."""
    other = network.operators[1]
    forged = replace(other, key=bn254.KeyPair.from_secret(4711)).record([HERE])
    nobody = replace(other, address=OperatorAddress(bytes(20))).record([HERE])
    for frame, code in (
        (forged, "refused-frame"),
        (nobody, "refused-frame"),
        (other.record(["nowhere"]), "bad-request"),
        (
            _framed(other.key, other.address, FrameKind.PEER_RECORD, [b"id", [], 1], cluster=bytes(32)),
            "refused-frame",
        ),
    ):
        assert await client(node, rpc_methods.HELLO, frame.encoded, other.peer.peer_id) == code
    assert node.state.peers.records() == ()


async def test_records_that_are_passed_on_are_taken_one_by_one(network: FakeNetwork, node: LocalNode) -> None:
    """A false one among them is passed over; bytes that are no list are the messenger's fault."""
    messenger, other = network.operators[1:3]
    forged = replace(other, key=bn254.KeyPair.from_secret(4711)).record([HERE])
    frames = [forged, messenger.record([HERE]), other.record([HERE])]
    await node.ceremonies.records.take_records(rpc_methods.encode_frames(frames), messenger.peer.peer_id)
    assert node.state.peers.records() == (frames[1], frames[2])
    assert node.state.peers.operator_of(messenger.peer.peer_id) == messenger.address
    assert node.state.peers.operator_of(other.peer.peer_id) is None


# -- operators ---------------------------------------------------------------------------------------------------


def _framed(
    key: bn254.KeyPair,
    sender: OperatorAddress,
    kind: FrameKind,
    body: list[object],
    *,
    cluster: bytes = CLUSTER,
    session: SessionId = NO_SESSION,
) -> Frame:
    return build_frame(key, kind=kind, cluster=ClusterId(cluster), sender=sender, session=session, body=body)


async def known(network: FakeNetwork, node: LocalNode, index: int) -> PeerId:
    """An operator that has said hello."""
    other = network.operators[index]
    assert isinstance(
        await client(node, rpc_methods.HELLO, other.record([HERE]).encoded, other.peer.peer_id), bytes
    )
    return other.peer.peer_id


async def test_operators_are_asked_who_they_are(network: FakeNetwork, node: LocalNode) -> None:
    """Also those whose peer id stands on chain."""
    frame = _framed(network.operators[1].key, network.operators[1].address, FrameKind.SYNC, sync_body([]))
    for peer in (STRANGER, network.operators[1].peer.peer_id):
        for method in (
            rpc_methods.SYNC,
            rpc_methods.PUSH,
            rpc_methods.BODY,
            rpc_methods.ROW,
            rpc_methods.HEAD,
        ):
            assert await operator(node, peer, method, frame.encoded) == "say-hello"


async def test_operators_speak_for_themselves(network: FakeNetwork, node: LocalNode) -> None:
    """A frame of somebody else, a body that is none, a method that is none."""
    peer, other = await known(network, node, 1), network.operators[2]
    foreign = _framed(other.key, other.address, FrameKind.SYNC, sync_body([]))
    own = _framed(network.operators[1].key, network.operators[1].address, FrameKind.SYNC, sync_body([]))
    assert await operator(node, peer, rpc_methods.SYNC, foreign.encoded) == "wrong-sender"
    assert await operator(node, peer, rpc_methods.SYNC, b"\xc1") == "refused-frame"
    assert await operator(node, peer, "info", own.encoded) == "unknown-method"
    assert await operator(node, peer, "frame", own.encoded) == "unknown-method"


async def test_a_sync_request_is_checked_before_it_is_answered(network: FakeNetwork, node: LocalNode) -> None:
    """Its kind, its cluster and its signature."""
    peer, other = await known(network, node, 1), network.operators[1]
    session = network.session.id
    stranger = bn254.KeyPair.from_secret(4711)
    for frame in (
        _framed(other.key, other.address, FrameKind.VOTE, sync_body([]), session=session),
        _framed(other.key, other.address, FrameKind.SYNC, sync_body([]), session=session, cluster=bytes(32)),
        _framed(stranger, other.address, FrameKind.SYNC, sync_body([]), session=session),
    ):
        assert await operator(node, peer, rpc_methods.SYNC, frame.encoded) == "refused-frame"


async def test_a_session_that_is_not_known_has_no_frames(network: FakeNetwork, node: LocalNode) -> None:
    """Nothing comes of asking for it; what it made is shown as a version."""
    peer, other = await known(network, node, 1), network.operators[1]
    for session in (network.session.id, SessionId(b"\x05" * 32)):
        asking = _framed(other.key, other.address, FrameKind.SYNC, sync_body([]), session=session)
        answer = await operator(node, peer, rpc_methods.SYNC, asking.encoded)
        assert isinstance(answer, bytes)
        assert rpc_methods.decode_frames(answer) == []


async def test_an_operator_is_shown_the_highest_version_with_what_proves_it(
    network: FakeNetwork, tmp_path: Path
) -> None:
    """Its certificate, also of a session of long ago; and of a version of protocol 1 that it is settled."""
    newer = network.reshare(network.first, 110, lists_keys=False)
    keep_version(network, 0, tmp_path)
    with a_node(network, 0, tmp_path) as node:
        node.state.peers.update(network.chain.operators)
        peer = await known(network, node, 1)
        for epoch, proof in ((network.epoch, None), (newer.epoch, network.settle(newer.epoch))):
            if proof is not None:
                await node.ceremonies.engine.adopt_version(
                    Nowhere(), VersionHead(epoch.transcript, epoch.certificate, proof)
                )
            answer = await operator(node, peer, rpc_methods.HEAD, b"")
            assert isinstance(answer, bytes)
            head = decode_head(answer)
            assert (head.transcript, head.certificate, head.proof) == (
                epoch.transcript,
                epoch.certificate,
                proof,
            )
            check_head(head, CLUSTER)


async def test_an_operator_without_a_version_to_deal_from_says_so(
    network: FakeNetwork, tmp_path: Path
) -> None:
    """Whether it knows none at all or one of protocol 1 that may be not settled."""
    dormant = network.reshare(network.first, 110, lists_keys=False)
    keep_version(network, 1, tmp_path / "dormant", version=dormant, settled=False)
    for index, folder in ((0, "empty"), (1, "dormant")):
        with a_node(network, index, tmp_path / folder) as node:
            node.state.peers.update(network.chain.operators)
            peer = await known(network, node, 2)
            assert await operator(node, peer, rpc_methods.HEAD, b"") == "no-version"


async def test_a_ping_is_answered_with_nothing_and_to_operators_alone(
    network: FakeNetwork, node: LocalNode
) -> None:
    """Whatever its body says."""
    peer = await known(network, node, 1)
    assert await operator(node, STRANGER, rpc_methods.PING, b"") == "say-hello"
    assert await operator(node, peer, rpc_methods.PING, b"") == b""
    assert await operator(node, peer, rpc_methods.PING, b"x" * 1000) == b""


async def test_a_holder_that_left_the_set_is_served_while_it_deals(
    network: FakeNetwork, node: LocalNode
) -> None:
    """Its hello is taken and what it asks for is answered; once it holds nothing that is dealt from, it is a stranger."""
    gone, staying = network.operators[3], network.chain.operators[:3]
    node.state.peers.update(staying, holders=[o.address for o in network.operators])
    peer = await known(network, node, 3)
    asking = _framed(gone.key, gone.address, FrameKind.SYNC, sync_body([]), session=network.session.id)
    for method, body in ((rpc_methods.SYNC, asking.encoded), (rpc_methods.HEAD, b"")):
        assert isinstance(await operator(node, peer, method, body), bytes)
    node.state.peers.update(staying)
    for method, body in ((rpc_methods.SYNC, asking.encoded), (rpc_methods.HEAD, b"")):
        assert await operator(node, peer, method, body) == "say-hello"


async def test_the_gate_lets_strangers_to_the_client_protocol_alone(
    network: FakeNetwork, node: LocalNode
) -> None:
    """Whoever stands on chain reaches the others too."""
    network.place(1, f"{HERE}/p2p/{network.operators[1].peer.peer_id}")
    node.state.peers.update(network.chain.operators)
    assert node.state.peers.admits(STRANGER, rpc_methods.CLIENT_PROTOCOL)
    for protocol in (rpc_methods.OPERATOR_PROTOCOL, GOSSIP):
        assert not node.state.peers.admits(STRANGER, protocol)
        assert node.state.peers.admits(network.operators[1].peer.peer_id, protocol)
    for protocol in ("/eigenkms/client/2", "/eigenkms/operator/1", "/ipfs/id/1.0.0", ""):
        assert not node.state.peers.admits(network.operators[1].peer.peer_id, protocol)
