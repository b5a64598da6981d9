"""The peer book: the chain's sockets to dial, signed records to find who moved, and proof only from the peer itself."""

import logging
from dataclasses import replace

import pytest

from eigenkms.crypto import bn254
from eigenkms.errors import RemoteProtocolError
from eigenkms.node.network.peer_book import FUTURE_MS, PeerBook
from eigenkms.p2p.dialing.dialer import read_addresses
from eigenkms.p2p.identity import PeerKey
from eigenkms.types import ClusterId, SessionId
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.frames import (
    BadSignatureError,
    Frame,
    FrameKind,
    WrongScopeError,
    build_frame,
    verify_frame,
)
from eigenkms.wire.peer_record import build_peer_record
from tests.support.fake_network import CLUSTER, FakeNetwork, Operator, make_network

HERE, THERE, ELSEWHERE, NEAR = (f"/ip4/127.0.0.1/tcp/{port}" for port in range(9001, 9005))
NOW = 1_000_000


@pytest.fixture
def peer_book(network: FakeNetwork) -> PeerBook:
    """The peer book of the first operator; all have good sockets on chain."""
    for index, operator in enumerate(network.operators):
        network.place(index, f"{HERE}/p2p/{operator.peer.peer_id}")
    me = network.operators[0]
    peer_book = PeerBook(CLUSTER, me.address, me.peer.peer_id)
    peer_book.update(network.chain.operators)
    return peer_book


def tell(peer_book: PeerBook, frame: Frame, source: PeerKey | None = None) -> None:
    """A record arrives, handed over by ``source``, as the services take it."""
    record = peer_book.check_fresh(frame, NOW)
    if record is not None:
        verify_frame(frame, peer_book.key_of(frame.sender) or b"")
        peer_book.accept(record, frame)
    if source is not None:
        peer_book.mark_authenticated(source.peer_id, frame)


# -- the chain ---------------------------------------------------------------------------------------------------


def test_the_others_sockets_are_whom_to_dial(network: FakeNetwork, peer_book: PeerBook) -> None:
    """Not my own; they may open operator streams, and are nobody yet."""
    others = network.operators[1:]
    assert peer_book.expected() == {o.peer.peer_id: (HERE,) for o in others}
    for other in others:
        assert peer_book.may_open_operator_streams(other.peer.peer_id)
        assert peer_book.operator_of(other.peer.peer_id) is None
        assert peer_book.peer_of(other.address) is None
        assert peer_book.key_of(other.address) == other.key.g2
    stranger = make_network(seed="elsewhere").operators[0]
    assert not peer_book.may_open_operator_streams(stranger.peer.peer_id)
    assert peer_book.key_of(stranger.address) is None


@pytest.mark.parametrize("socket", ["", "see our website", HERE, "/ip4/127.0.0.1/tcp/0/p2p/x", "x" * 1024])
def test_a_socket_that_nobody_can_dial_is_logged_once(
    network: FakeNetwork, peer_book: PeerBook, caplog: pytest.LogCaptureFixture, socket: str
) -> None:
    """The others are dialled as before."""
    network.place(2, socket)
    for _ in range(3):
        peer_book.update(network.chain.operators)
    lines = [r.getMessage() for r in caplog.records if "cannot be dialled" in r.getMessage()]
    assert len(lines) == 1
    assert network.operators[2].address.hex() in lines[0]
    assert set(peer_book.expected()) == {network.operators[1].peer.peer_id, network.operators[3].peer.peer_id}


def test_a_socket_with_anothers_peer_id_is_logged_for_both(
    network: FakeNetwork, peer_book: PeerBook, caplog: pytest.LogCaptureFixture
) -> None:
    """And both places are dialled for that peer."""
    victim, thief = network.operators[1:3]
    network.place(2, f"{THERE}/p2p/{victim.peer.peer_id}")
    peer_book.update(network.chain.operators)
    peer_book.update(network.chain.operators)
    lines = [r.getMessage() for r in caplog.records if "which another operator names too" in r.getMessage()]
    assert len(lines) == 2
    assert peer_book.expected()[victim.peer.peer_id] == (HERE, THERE)
    assert thief.peer.peer_id not in peer_book.expected()


def test_a_private_socket_is_logged_once_by_a_node_of_the_public_network(
    network: FakeNetwork, peer_book: PeerBook, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not dial there; a node of a private network does, and says nothing."""
    assert "is private" not in caplog.text
    network.place(0, f"/ip4/9.9.9.9/tcp/1/p2p/{network.operators[0].peer.peer_id}")
    network.place(1, f"/dns4/kms.example/tcp/1/p2p/{network.operators[1].peer.peer_id}")
    for _ in range(2):
        peer_book.update(network.chain.operators)
    lines = [r.getMessage() for r in caplog.records if "is private" in r.getMessage()]
    assert [o.address.hex() in line for o, line in zip(network.operators[2:], lines, strict=True)] == [
        True
    ] * 2


def test_a_socket_with_my_own_peer_id_is_not_dialled(network: FakeNetwork, peer_book: PeerBook) -> None:
    """It would be a call to myself."""
    network.place(2, f"{THERE}/p2p/{network.operators[0].peer.peer_id}")
    peer_book.update(network.chain.operators)
    assert set(peer_book.expected()) == {network.operators[1].peer.peer_id, network.operators[3].peer.peer_id}


def test_who_leaves_the_set_loses_its_standing(network: FakeNetwork, peer_book: PeerBook) -> None:
    """Its key, its record and its streams."""
    gone = network.operators[3]
    tell(peer_book, gone.record([THERE]), gone.peer)
    assert peer_book.operator_of(gone.peer.peer_id) == gone.address
    peer_book.update(network.chain.operators[:3])
    assert peer_book.operator_of(gone.peer.peer_id) is None
    assert peer_book.key_of(gone.address) is None
    assert not peer_book.may_open_operator_streams(gone.peer.peer_id)
    assert peer_book.records() == ()
    peer_book.update(network.chain.operators)
    assert peer_book.operator_of(gone.peer.peer_id) is None


def test_who_left_and_still_deals_keeps_its_standing(network: FakeNetwork, peer_book: PeerBook) -> None:
    """A holder of the version that is dealt from is dialled, heard and proven as before, though it is no operator of the newest
    set; once it is no holder any more, it is nobody.
    """
    gone = network.operators[3]
    record = gone.record([THERE])
    tell(peer_book, record, gone.peer)
    staying = network.chain.operators[:3]
    for _ in range(2):
        peer_book.update(staying, holders=[o.address for o in network.operators])
        assert peer_book.operators == staying
        assert peer_book.key_of(gone.address) == gone.key.g2
        assert peer_book.operator_of(gone.peer.peer_id) == gone.address
        assert peer_book.expected()[gone.peer.peer_id] == (THERE, HERE)
        assert peer_book.may_open_operator_streams(gone.peer.peer_id)
        assert peer_book.records() == (record,)
    peer_book.update(staying, holders=[o.address for o in network.operators[:3]])
    assert peer_book.key_of(gone.address) is None
    assert peer_book.operator_of(gone.peer.peer_id) is None
    assert gone.peer.peer_id not in peer_book.expected()


def test_a_holder_that_left_before_my_start_is_known_from_an_older_block(
    network: FakeNetwork, peer_book: PeerBook
) -> None:
    """By its key and socket of then; whoever only was an operator and holds nothing is not taken in, nor is a holder of whom
    nothing is known.
    """
    me, _, idle, gone = network.operators
    then, now = network.chain.operators, network.chain.operators[:2]
    fresh = PeerBook(CLUSTER, me.address, me.peer.peer_id)
    unknown = make_network(seed="elsewhere").operators[0].address
    fresh.update(now, holders=[me.address, gone.address, unknown], former=then)
    assert fresh.key_of(gone.address) == gone.key.g2
    assert fresh.expected()[gone.peer.peer_id] == (HERE,)
    assert fresh.key_of(idle.address) is None
    assert fresh.key_of(unknown) is None
    assert fresh.operators == now


def test_a_holder_that_comes_back_is_what_the_chain_says_today(
    network: FakeNetwork, peer_book: PeerBook
) -> None:
    """With its new key and its new socket, not those of the block at which it left."""
    gone = network.operators[3]
    holders = [o.address for o in network.operators]
    peer_book.update(network.chain.operators[:3], holders=holders)
    renewed, moved = bn254.KeyPair.from_secret(4711), PeerKey.generate()
    network.place(3, f"{THERE}/p2p/{moved.peer_id}")
    back = replace(network.chain.operators[3], key=renewed.g2, key_g1=renewed.g1)
    peer_book.update((*network.chain.operators[:3], back), holders=holders)
    assert peer_book.key_of(gone.address) == renewed.g2
    assert peer_book.expected()[moved.peer_id] == (THERE,)
    assert gone.peer.peer_id not in peer_book.expected()


# -- records -----------------------------------------------------------------------------------------------------


def test_a_record_from_the_peer_itself_proves_who_it_is(network: FakeNetwork, peer_book: PeerBook) -> None:
    """From then on it is that operator, at its record's addresses and at its socket's."""
    other = network.operators[1]
    frame = other.record([THERE])
    tell(peer_book, frame, other.peer)
    assert peer_book.operator_of(other.peer.peer_id) == other.address
    assert peer_book.peer_of(other.address) == other.peer.peer_id
    assert peer_book.expected()[other.peer.peer_id] == (THERE, HERE)
    assert peer_book.records() == (frame,)


def test_who_may_gossip_an_operators_words(network: FakeNetwork, peer_book: PeerBook) -> None:
    """The peer that its socket names, or its record; none of the others, though all may speak."""
    other, third = network.operators[1:3]
    assert peer_book.is_claimed_peer(other.peer.peer_id, other.address)
    assert not peer_book.is_claimed_peer(third.peer.peer_id, other.address)
    moved = PeerKey.generate()
    tell(peer_book, other.record([HERE], peer=moved.peer_id, sequence=NOW))
    assert peer_book.is_claimed_peer(moved.peer_id, other.address)
    assert not peer_book.is_claimed_peer(other.peer.peer_id, other.address), "the socket is stale"


def test_a_record_that_is_passed_on_gives_addresses_and_no_identity(
    network: FakeNetwork, peer_book: PeerBook
) -> None:
    """Its operator says to be that peer; whether that peer says so too, only the peer can tell."""
    other, messenger = network.operators[1:3]
    moved = PeerKey.generate()
    frame = other.record([THERE], peer=moved.peer_id)
    tell(peer_book, frame, messenger.peer)
    assert peer_book.expected()[moved.peer_id] == (THERE,)
    assert other.peer.peer_id not in peer_book.expected()
    assert peer_book.peer_of(other.address) == moved.peer_id
    assert peer_book.may_open_operator_streams(moved.peer_id)
    assert peer_book.operator_of(moved.peer_id) is None
    tell(peer_book, frame, moved)
    assert peer_book.operator_of(moved.peer_id) == other.address


def test_a_liar_cannot_take_the_peer_id_of_an_operator_that_has_not_spoken_yet(
    network: FakeNetwork, peer_book: PeerBook
) -> None:
    """It signs a record with the victim's peer id and lets others pass it on: the victim's own word counts all the same."""
    victim, liar, messenger = network.operators[1:4]
    tell(peer_book, liar.record([THERE], peer=victim.peer.peer_id), messenger.peer)
    assert peer_book.operator_of(victim.peer.peer_id) is None
    assert HERE in peer_book.expected()[victim.peer.peer_id]
    tell(peer_book, victim.record([HERE]), victim.peer)
    assert peer_book.operator_of(victim.peer.peer_id) == victim.address


def test_addresses_of_a_liar_come_last_and_then_never(network: FakeNetwork, peer_book: PeerBook) -> None:
    """Its record names the victim's peer id: it is tried behind the chain's socket, and no more once the victim has spoken."""
    liar, victim, messenger = network.operators[1:4]
    tell(peer_book, liar.record([THERE, ELSEWHERE], peer=victim.peer.peer_id), messenger.peer)
    assert peer_book.expected()[victim.peer.peer_id] == (HERE, THERE, ELSEWHERE)
    tell(peer_book, victim.record([NEAR]), messenger.peer)
    assert peer_book.expected()[victim.peer.peer_id] == (NEAR, HERE, THERE, ELSEWHERE)
    tell(peer_book, victim.record([NEAR], sequence=2), victim.peer)
    assert peer_book.expected()[victim.peer.peer_id] == (NEAR, HERE)
    tell(peer_book, liar.record([ELSEWHERE], peer=victim.peer.peer_id, sequence=2), messenger.peer)
    assert peer_book.expected()[victim.peer.peer_id] == (NEAR, HERE)


def test_whom_to_dial_is_the_same_object_until_it_changes(network: FakeNetwork, peer_book: PeerBook) -> None:
    """So nobody needs to compare it; a proof is a change."""
    before = peer_book.expected()
    assert peer_book.expected() is before
    other = network.operators[1]
    tell(peer_book, other.record([HERE]))
    told = peer_book.expected()
    assert told is not before
    tell(peer_book, other.record([HERE]), other.peer)
    assert peer_book.expected() is not told


def test_a_peer_is_one_operator(network: FakeNetwork, peer_book: PeerBook) -> None:
    """Two that share a p2p key: the first to prove it keeps it."""
    first, second = network.operators[1:3]
    tell(peer_book, first.record([HERE]), first.peer)
    with pytest.raises(RemoteProtocolError, match="belongs to another operator"):
        tell(peer_book, second.record([HERE], peer=first.peer.peer_id), first.peer)
    assert peer_book.operator_of(first.peer.peer_id) == first.address


def test_my_own_peer_id_is_mine(network: FakeNetwork, peer_book: PeerBook) -> None:
    """Whoever signs for it."""
    me, liar = network.operators[:2]
    with pytest.raises(RemoteProtocolError, match="belongs to another operator"):
        tell(peer_book, liar.record([THERE], peer=me.peer.peer_id))
    assert peer_book.records() == ()


def test_a_newer_record_replaces_an_older_one_and_never_the_other_way(
    network: FakeNetwork, peer_book: PeerBook
) -> None:
    """In whatever order they come; with another peer id the proof of the old one is gone."""
    other, moved = network.operators[1], PeerKey.generate()
    tell(peer_book, other.record([HERE], sequence=5), other.peer)
    tell(peer_book, other.record([THERE], peer=moved.peer_id, sequence=4), moved)
    tell(peer_book, other.record([THERE], peer=moved.peer_id, sequence=5), moved)
    assert peer_book.peer_of(other.address) == other.peer.peer_id
    assert peer_book.operator_of(moved.peer_id) is None
    tell(peer_book, other.record([THERE], peer=moved.peer_id, sequence=6))
    assert peer_book.peer_of(other.address) == moved.peer_id
    assert peer_book.operator_of(other.peer.peer_id) is None
    assert peer_book.operator_of(moved.peer_id) is None
    assert not peer_book.may_open_operator_streams(other.peer.peer_id)


def test_an_operator_may_become_another_peer(network: FakeNetwork, peer_book: PeerBook) -> None:
    """As its new self it is the operator, before and after the chain says so; as its old self nobody, whatever it shows."""
    other, new = network.operators[1], PeerKey.generate()
    first, second = other.record([HERE], sequence=5), other.record([THERE], peer=new.peer_id, sequence=6)
    tell(peer_book, first, other.peer)
    for on_chain in (other.peer, new):
        network.place(1, f"{HERE}/p2p/{on_chain.peer_id}")
        peer_book.update(network.chain.operators)
        tell(peer_book, second, new)
        tell(peer_book, first, other.peer)
        assert peer_book.operator_of(new.peer_id) == other.address
        assert peer_book.operator_of(other.peer.peer_id) is None
        assert not peer_book.may_open_operator_streams(other.peer.peer_id)
        assert other.peer.peer_id not in peer_book.expected()


def test_a_proof_survives_a_newer_record_of_the_same_peer(network: FakeNetwork, peer_book: PeerBook) -> None:
    """Only its addresses change."""
    other = network.operators[1]
    tell(peer_book, other.record([HERE], sequence=5), other.peer)
    tell(peer_book, other.record([THERE], sequence=6))
    assert peer_book.operator_of(other.peer.peer_id) == other.address
    assert peer_book.expected()[other.peer.peer_id][0] == THERE


def test_what_is_not_worth_a_signature_check_is_passed_over(
    network: FakeNetwork, peer_book: PeerBook
) -> None:
    """My own record, one from the far future, one that is known."""
    me, other = network.operators[:2]
    assert peer_book.check_fresh(me.record([THERE], sequence=NOW), NOW) is None
    assert peer_book.check_fresh(other.record([THERE], sequence=NOW + FUTURE_MS + 1), NOW) is None
    assert peer_book.check_fresh(other.record([THERE], sequence=NOW + FUTURE_MS), NOW) is not None
    tell(peer_book, other.record([THERE], sequence=7))
    assert peer_book.check_fresh(other.record([HERE], sequence=7), NOW) is None


def out_of_scope(operator: Operator) -> dict[str, Frame]:
    """Frames that are no record of this cluster."""
    body = [bytes(operator.peer.peer_id), [THERE], 9]

    def framed(**changes: object) -> Frame:
        fields = {
            "kind": FrameKind.PEER_RECORD,
            "cluster": CLUSTER,
            "sender": operator.address,
            "session": SessionId(bytes(32)),
        }
        return build_frame(operator.key, body=body, **{**fields, **changes})  # type: ignore[arg-type]

    stranger = make_network(seed="elsewhere").operators[0]
    return {
        "another cluster": framed(cluster=ClusterId(b"\x01" * 32)),
        "a session": framed(session=SessionId(b"\x01" * 32)),
        "a recipient": framed(recipient=operator.address),
        "another kind": framed(kind=FrameKind.STATEMENT),
        "no operator": stranger.record([THERE]),
    }


@pytest.mark.parametrize("index", range(5))
def test_a_frame_that_is_no_record_of_this_cluster_is_refused(
    network: FakeNetwork, peer_book: PeerBook, index: int
) -> None:
    """Before its signature costs anything."""
    _, frame = list(out_of_scope(network.operators[1]).items())[index]
    with pytest.raises((WrongScopeError, MalformedError)):
        peer_book.check_fresh(frame, NOW)


BAD_ADDRESSES = [
    "",
    "nowhere",
    "/ip4/127.0.0.1/tcp/70000",
    f"{HERE}/p2p/zzz",
    f"{HERE}/ws",
    "/unix/socket",
    "/ip4/0/tcp/1",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_a_record_with_an_address_that_is_none_is_refused(
    network: FakeNetwork, peer_book: PeerBook, address: str
) -> None:
    """An operator may sign anything; what reaches the dialler can be dialled, or one record would stop the node."""
    other = network.operators[1]
    with pytest.raises(MalformedError, match=f"0x{other.address.hex()}"):
        tell(peer_book, other.record([HERE, address]), other.peer)
    for peer, addresses in peer_book.expected().items():
        assert read_addresses(peer, addresses)


def test_a_record_that_its_operator_did_not_sign_is_refused(
    network: FakeNetwork, peer_book: PeerBook
) -> None:
    """By a stranger's key, by another operator's, or changed on the way."""
    other, liar = network.operators[1:3]
    common = {
        "operator": other.address,
        "peer_id": bytes(liar.peer.peer_id),
        "addresses": [THERE],
        "sequence": 9,
    }
    good = other.record([THERE])
    for frame in (
        build_peer_record(liar.key, cluster=CLUSTER, **common),  # type: ignore[arg-type]
        build_peer_record(bn254.KeyPair.from_secret(7), cluster=CLUSTER, **common),  # type: ignore[arg-type]
        replace(good, signature=bytes(64)),
        replace(good, signature=b"\xff" * 64),
    ):
        with pytest.raises(BadSignatureError):
            tell(peer_book, frame, liar.peer)
    assert peer_book.records() == ()


def test_a_record_replayed_by_a_stranger_makes_it_nobody(network: FakeNetwork, peer_book: PeerBook) -> None:
    """The record names another peer than the one that hands it over."""
    other, stranger = network.operators[1], PeerKey.generate()
    frame = other.record([HERE])
    tell(peer_book, frame, stranger)
    assert peer_book.operator_of(stranger.peer_id) is None
    tell(peer_book, frame, other.peer)
    tell(peer_book, frame, stranger)
    assert peer_book.operator_of(stranger.peer_id) is None
    assert peer_book.operator_of(other.peer.peer_id) == other.address


def test_a_proof_needs_the_record_that_was_verified(network: FakeNetwork, peer_book: PeerBook) -> None:
    """A frame that looks like it and was never checked proves nothing."""
    other = network.operators[1]
    frame = other.record([HERE])
    peer_book.mark_authenticated(other.peer.peer_id, frame)
    assert peer_book.operator_of(other.peer.peer_id) is None
    tell(peer_book, frame)
    peer_book.mark_authenticated(other.peer.peer_id, replace(frame, signature=bytes(64)))
    assert peer_book.operator_of(other.peer.peer_id) is None
    peer_book.mark_authenticated(other.peer.peer_id, frame)
    assert peer_book.operator_of(other.peer.peer_id) == other.address


@pytest.fixture(autouse=True)
def _info_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
