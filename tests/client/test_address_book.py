"""Where clients find operators: the chain's socket first, then the newest record that the operator itself signed."""

from dataclasses import replace

import pytest

from eigenkms.client.address_book import AddressBook
from eigenkms.crypto import bn254
from eigenkms.p2p.dialing.dialer import read_addresses
from eigenkms.p2p.identity import PeerKey, parse_transport
from eigenkms.types import ClusterId, SessionId
from eigenkms.wire.client_rpc import MAX_RECORDS
from eigenkms.wire.frames import Frame, FrameKind, build_frame
from eigenkms.wire.peer_record import build_peer_record
from tests.support.fake_network import CLUSTER, FakeNetwork, Operator, make_network

HERE, THERE, ELSEWHERE = (f"/ip4/127.0.0.1/tcp/{port}" for port in (9001, 9002, 9003))


@pytest.fixture
def settled() -> FakeNetwork:
    """All operators have good sockets."""
    network = make_network()
    for index, operator in enumerate(network.operators):
        network.place(index, f"{HERE}/p2p/{operator.peer.peer_id}")
    return network


@pytest.fixture
def book(settled: FakeNetwork) -> AddressBook:
    return AddressBook(CLUSTER, settled.chain.operators)


def test_the_socket_on_chain_is_the_first_address(settled: FakeNetwork, book: AddressBook) -> None:
    """For every operator; nobody else is known."""
    assert book.operators == tuple(o.address for o in settled.operators)
    for operator in settled.operators:
        assert book.peer_of(operator.address) == (operator.peer.peer_id, (HERE,))
        assert book.key_of(operator.address) == operator.key.g2
    stranger = make_network(seed="elsewhere").operators[0].address
    assert book.peer_of(stranger) is None
    assert book.key_of(stranger) is None


def test_a_newer_record_replaces_the_socket_and_an_older_one_does_not(
    settled: FakeNetwork, book: AddressBook
) -> None:
    """Whoever passes them on, in whatever order."""
    operator = settled.operators[0]
    moved = PeerKey.generate().peer_id
    assert book.add_records([operator.record([THERE], peer=moved, sequence=5)]) == {operator.address}
    assert book.peer_of(operator.address) == (moved, (THERE,))
    assert (
        book.add_records([operator.record([HERE], sequence=5), operator.record([HERE], sequence=4)]) == set()
    )
    assert book.peer_of(operator.address) == (moved, (THERE,))
    assert book.add_records([operator.record([HERE], sequence=6)]) == {operator.address}
    assert book.peer_of(operator.address) == (operator.peer.peer_id, (HERE,))


def test_a_moved_operator_may_still_be_where_the_chain_says(settled: FakeNetwork, book: AddressBook) -> None:
    """Its record's addresses are tried first, then its socket if it is the same peer; a record without any leaves the socket."""
    operator, quiet = settled.operators[:2]
    assert book.add_records([operator.record([THERE]), quiet.record([])]) == {operator.address}
    assert book.peer_of(operator.address) == (operator.peer.peer_id, (THERE, HERE))
    assert book.peer_of(quiet.address) == (quiet.peer.peer_id, (HERE,))


def test_a_record_that_says_nothing_new_costs_no_signature_check(
    settled: FakeNetwork, book: AddressBook
) -> None:
    """The same peer at the same place: not even looked at, so its signature may be anything."""
    operator = settled.operators[0]
    same = operator.record([HERE])
    assert book.add_records([replace(same, signature=bytes(64))]) == set()


def test_an_operator_without_a_usable_socket_is_found_by_its_record(settled: FakeNetwork) -> None:
    """Until then it has no address at all."""
    settled.place(2, "see our website")
    book, operator = AddressBook(CLUSTER, settled.chain.operators), settled.operators[2]
    assert book.peer_of(operator.address) is None
    assert book.add_records([operator.record([THERE])]) == {operator.address}
    assert book.peer_of(operator.address) == (operator.peer.peer_id, (THERE,))


def false_records(operator: Operator, thief: Operator) -> dict[str, Frame]:
    """Records of ``operator`` that are not its word about this cluster."""
    common = {
        "operator": operator.address,
        "peer_id": bytes(thief.peer.peer_id),
        "addresses": [THERE],
        "sequence": 9,
    }
    stranger = bn254.KeyPair.from_secret(4711)
    good = operator.record([THERE], sequence=9)
    return {
        "signed by another operator": build_peer_record(thief.key, cluster=CLUSTER, **common),  # type: ignore[arg-type]
        "signed by a stranger": build_peer_record(stranger, cluster=CLUSTER, **common),  # type: ignore[arg-type]
        "of another cluster": build_peer_record(operator.key, cluster=ClusterId(bytes(32)), **common),  # type: ignore[arg-type]
        "of a session": build_frame(
            operator.key,
            kind=FrameKind.PEER_RECORD,
            cluster=CLUSTER,
            sender=operator.address,
            session=SessionId(b"\x01" * 32),
            body=[bytes(thief.peer.peer_id), [THERE], 9],
        ),
        "of another kind": build_frame(
            operator.key,
            kind=FrameKind.STATEMENT,
            cluster=CLUSTER,
            sender=operator.address,
            session=SessionId(bytes(32)),
            body=[bytes(thief.peer.peer_id), [THERE], 9],
        ),
        "changed": replace(good, signature=good.signature[::-1]),
    }


@pytest.mark.parametrize("index", range(6))
def test_a_false_record_changes_nothing(settled: FakeNetwork, book: AddressBook, index: int) -> None:
    """It is passed over, and the good one behind it is taken."""
    operator, thief = settled.operators[:2]
    name, false = list(false_records(operator, thief).items())[index]
    good = settled.operators[3].record([THERE], sequence=9)
    assert book.add_records([false, good]) == {settled.operators[3].address}, name
    assert book.peer_of(operator.address) == (operator.peer.peer_id, (HERE,))


def test_an_operator_of_another_set_has_no_say(settled: FakeNetwork, book: AddressBook) -> None:
    """Its record is signed well, and it is nobody here."""
    stranger = make_network(seed="elsewhere").operators[0]
    assert book.add_records([stranger.record([THERE])]) == set()


# -- operators that come and go ----------------------------------------------------------------------------------


def test_who_left_is_still_found_and_not_one_of_today(settled: FakeNetwork, book: AddressBook) -> None:
    """By its record, its key of then; until it is back."""
    leaver, rest = settled.operators[0], settled.chain.operators[1:]
    everybody = settled.chain.operators
    assert book.add_records([leaver.record([THERE])]) == {leaver.address}
    book.set_operators(rest)
    assert book.operators == tuple(o.address for o in rest)
    assert book.peer_of(leaver.address) == (leaver.peer.peer_id, (THERE, HERE))
    assert book.key_of(leaver.address) == leaver.key.g2
    assert book.add_records([leaver.record(["/ip4/127.0.0.1/tcp/9003"], sequence=2)]) == {leaver.address}
    book.set_operators(everybody)
    assert book.operators == tuple(o.address for o in everybody)
    assert book.peer_of(leaver.address) == (
        leaver.peer.peer_id,
        ("/ip4/127.0.0.1/tcp/9003", HERE),
    )


def test_recipients_of_an_old_version_are_admitted_with_what_waited_for_them(settled: FakeNetwork) -> None:
    """Their records came before the version did; a record that another signed is no more believed for that."""
    leavers, rest = settled.chain.operators[:2], settled.chain.operators[2:]
    first, second = settled.operators[:2]
    book = AddressBook(CLUSTER, rest)
    forged = build_peer_record(
        second.key,
        cluster=CLUSTER,
        operator=second.address,
        peer_id=bytes(second.peer.peer_id),
        addresses=[THERE],
        sequence=9,
    )
    forged = replace(forged, signature=forged.signature[::-1])
    assert book.add_records([first.record([THERE]), forged]) == set()
    assert book.peer_of(first.address) is None
    assert book.add_recipients([*leavers, *rest]) == {first.address}
    assert book.peer_of(first.address) == (first.peer.peer_id, (THERE, HERE))
    assert book.peer_of(second.address) == (second.peer.peer_id, (HERE,))
    assert book.operators == tuple(o.address for o in rest)
    assert book.add_recipients(leavers) == set()


def test_an_operator_of_today_keeps_its_key_and_socket_of_today(
    settled: FakeNetwork, book: AddressBook
) -> None:
    """Whatever it had at the block of an old version."""
    operator, stranger = settled.operators[0], bn254.KeyPair.from_secret(4711)
    then = replace(settled.chain.operators[0], key=stranger.g2, socket=f"{THERE}/p2p/{operator.peer.peer_id}")
    assert book.add_recipients([then]) == set()
    assert book.key_of(operator.address) == operator.key.g2
    assert book.peer_of(operator.address) == (operator.peer.peer_id, (HERE,))


@pytest.mark.parametrize("changed", ["socket", "key"])
def test_a_change_on_chain_outdates_the_record(settled: FakeNetwork, book: AddressBook, changed: str) -> None:
    """Of that operator alone; a read that finds all as it was leaves the records."""
    first, second = settled.operators[:2]
    book.add_records([first.record([THERE]), second.record([THERE])])
    book.set_operators(settled.chain.operators)
    assert book.peer_of(first.address) == (first.peer.peer_id, (THERE, HERE))
    news = {"socket": {"socket": f"{THERE}/p2p/{PeerKey.generate().peer_id}"}, "key": {"key": second.key.g2}}
    on_chain = list(settled.chain.operators)
    on_chain[0] = replace(on_chain[0], **news[changed])
    book.set_operators(on_chain)
    peer = book.peer_of(first.address)
    assert peer is not None
    assert peer[1] == ((THERE,) if changed == "socket" else (HERE,))
    assert book.peer_of(second.address) == (second.peer.peer_id, (THERE, HERE))


def test_records_of_strangers_take_bounded_room(settled: FakeNetwork, book: AddressBook) -> None:
    """As many as one answer of each operator can hold; a newer read of the set lets them go."""
    stranger = make_network(seed="elsewhere").operators[0]
    good = stranger.record([THERE])
    bound = MAX_RECORDS * len(settled.operators)
    flood = [replace(good, signature=i.to_bytes(64, "big")) for i in range(bound + 1)]
    book.add_records([*flood, good])
    assert len(book._pending_records) == bound
    book.set_operators(settled.chain.operators)
    assert book._pending_records == {}


def test_two_operators_that_name_one_peer_do_not_hide_its_addresses(settled: FakeNetwork) -> None:
    """A thief publishes another's peer id at its own port: asking either reaches for the peer at both places."""
    victim, thief = settled.operators[:2]
    settled.place(1, f"{THERE}/p2p/{victim.peer.peer_id}")
    book = AddressBook(CLUSTER, settled.chain.operators)
    for operator in (victim, thief):
        assert book.peer_of(operator.address) == (victim.peer.peer_id, (HERE, THERE))


@pytest.mark.parametrize("asked", [0, 3])
def test_a_record_with_anothers_peer_id_gives_addresses_that_come_last(
    settled: FakeNetwork, asked: int
) -> None:
    """Whichever of the two is asked, and whichever comes first in the set: its black holes stand behind the chain's socket."""
    for liar, victim in ((0, 3), (3, 0)):
        stolen = settled.operators[victim].peer.peer_id
        book = AddressBook(CLUSTER, settled.chain.operators)
        book.add_records([settled.operators[liar].record([THERE, ELSEWHERE], peer=stolen)])
        assert book.peer_of(settled.operators[asked].address) == (
            stolen,
            (HERE, THERE, ELSEWHERE),
        )


@pytest.mark.parametrize("address", ["", "nowhere", "/ip4/127.0.0.1/tcp/70000", f"{HERE}/p2p/zzz"])
def test_a_record_with_an_address_that_is_none_is_passed_over(
    settled: FakeNetwork, book: AddressBook, address: str
) -> None:
    """Else a member that names another's peer id beside it would make that one impossible to dial."""
    liar, victim = settled.operators[:2]
    assert book.add_records([liar.record([THERE, address], peer=victim.peer.peer_id)]) == set()
    for operator in settled.operators:
        place = book.peer_of(operator.address)
        assert place is not None
        assert read_addresses(*place)


def test_most_sockets_on_chain_say_whether_the_network_is_public(settled: FakeNetwork) -> None:
    """One liar of four changes nothing, to either side; names say nothing."""
    book = AddressBook(CLUSTER, settled.chain.operators)
    assert book.home is None
    for index, host in enumerate(["ip4/9.9.9.1", "ip4/9.9.9.2", "dns4/kms.example", "ip4/9.9.9.4"]):
        settled.place(index, f"/{host}/tcp/9/p2p/{settled.operators[index].peer.peer_id}")
        book.set_operators(settled.chain.operators)
        assert (book.home is None) == (index < 2)
    settled.place(3, f"{HERE}/p2p/{settled.operators[3].peer.peer_id}")
    book.set_operators(settled.chain.operators)
    assert book.home == parse_transport("/ip4/9.9.9.1/tcp/9")


def test_a_socket_with_a_url_is_dialled_at_its_multiaddr(settled: FakeNetwork) -> None:
    """The URL is for the reference's clients."""
    operator = settled.operators[1]
    settled.place(1, f"https://kms.example.org:8443/ip4/9.9.9.9/tcp/9/p2p/{operator.peer.peer_id}")
    book = AddressBook(CLUSTER, settled.chain.operators)
    assert book.peer_of(operator.address) == (operator.peer.peer_id, ("/ip4/9.9.9.9/tcp/9",))


def test_a_socket_that_is_none_is_named(settled: FakeNetwork) -> None:
    """As the reference's operators publish it, and as nobody does."""
    operator = settled.operators[1].address
    for socket, reason in (
        (
            "http://localhost:7501",
            "its socket on chain is no multiaddr with a peer id: 'http://localhost:7501'",
        ),
        ("", "it has no socket on chain"),
    ):
        settled.place(1, socket)
        book = AddressBook(CLUSTER, settled.chain.operators)
        assert (book.peer_of(operator), book.describe_missing_peer(operator)) == (None, reason)
