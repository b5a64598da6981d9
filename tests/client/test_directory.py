"""Where clients find operators: the chain's socket first, then the newest record that the operator itself signed."""

from dataclasses import replace

import pytest

from eigenkms.client.directory import Directory
from eigenkms.crypto import bn254
from eigenkms.p2p.identity import PeerKey
from eigenkms.protocols.frames import Frame, Kind, build_frame
from eigenkms.protocols.peer_record import build_peer_record
from eigenkms.types import ClusterId, SessionId
from tests.client.village import CLUSTER, Operator, Village, make_village

HERE, THERE = "/ip4/127.0.0.1/tcp/9001", "/ip4/127.0.0.1/tcp/9002"


@pytest.fixture
def settled() -> Village:
    """All operators have good sockets."""
    village = make_village()
    for index, operator in enumerate(village.operators):
        village.place(index, f"{HERE}/p2p/{operator.peer.peer_id}")
    return village


@pytest.fixture
def directory(settled: Village) -> Directory:
    return Directory(CLUSTER, settled.chain.operators)


def test_the_socket_on_chain_is_the_first_address(settled: Village, directory: Directory) -> None:
    """For every operator; nobody else is known."""
    assert directory.operators == tuple(o.address for o in settled.operators)
    for operator in settled.operators:
        assert directory.peer_of(operator.address) == (operator.peer.peer_id, (HERE,))
        assert directory.key_of(operator.address) == operator.key.g2
    stranger = make_village(seed="elsewhere").operators[0].address
    assert directory.peer_of(stranger) is None
    assert directory.key_of(stranger) is None


def test_a_newer_record_replaces_the_socket_and_an_older_one_does_not(
    settled: Village, directory: Directory
) -> None:
    """Whoever passes them on, in whatever order."""
    operator = settled.operators[0]
    moved = PeerKey.generate().peer_id
    assert directory.learn([operator.record([THERE], peer=moved, sequence=5)]) == {operator.address}
    assert directory.peer_of(operator.address) == (moved, (THERE,))
    assert (
        directory.learn([operator.record([HERE], sequence=5), operator.record([HERE], sequence=4)]) == set()
    )
    assert directory.peer_of(operator.address) == (moved, (THERE,))
    assert directory.learn([operator.record([HERE], sequence=6)]) == {operator.address}
    assert directory.peer_of(operator.address) == (operator.peer.peer_id, (HERE,))


def test_a_moved_operator_may_still_be_where_the_chain_says(settled: Village, directory: Directory) -> None:
    """Its record's addresses are tried first, then its socket if it is the same peer; a record without any leaves the socket."""
    operator, quiet = settled.operators[:2]
    assert directory.learn([operator.record([THERE]), quiet.record([])]) == {operator.address}
    assert directory.peer_of(operator.address) == (operator.peer.peer_id, (THERE, HERE))
    assert directory.peer_of(quiet.address) == (quiet.peer.peer_id, (HERE,))


def test_a_record_that_says_nothing_new_costs_no_signature_check(
    settled: Village, directory: Directory
) -> None:
    """The same peer at the same place: not even looked at, so its signature may be anything."""
    operator = settled.operators[0]
    same = operator.record([HERE])
    assert directory.learn([replace(same, signature=bytes(64))]) == set()


def test_an_operator_without_a_usable_socket_is_found_by_its_record(settled: Village) -> None:
    """Until then it has no address at all."""
    settled.place(2, "see our website")
    directory, operator = Directory(CLUSTER, settled.chain.operators), settled.operators[2]
    assert directory.peer_of(operator.address) is None
    assert directory.learn([operator.record([THERE])]) == {operator.address}
    assert directory.peer_of(operator.address) == (operator.peer.peer_id, (THERE,))


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
            kind=Kind.PEER_RECORD,
            cluster=CLUSTER,
            sender=operator.address,
            session=SessionId(b"\x01" * 32),
            body=[bytes(thief.peer.peer_id), [THERE], 9],
        ),
        "of another kind": build_frame(
            operator.key,
            kind=Kind.STATEMENT,
            cluster=CLUSTER,
            sender=operator.address,
            session=SessionId(bytes(32)),
            body=[bytes(thief.peer.peer_id), [THERE], 9],
        ),
        "changed": replace(good, signature=good.signature[::-1]),
    }


@pytest.mark.parametrize("index", range(6))
def test_a_false_record_changes_nothing(settled: Village, directory: Directory, index: int) -> None:
    """It is passed over, and the good one behind it is taken."""
    operator, thief = settled.operators[:2]
    name, false = list(false_records(operator, thief).items())[index]
    good = settled.operators[3].record([THERE], sequence=9)
    assert directory.learn([false, good]) == {settled.operators[3].address}, name
    assert directory.peer_of(operator.address) == (operator.peer.peer_id, (HERE,))


def test_an_operator_of_another_set_has_no_say(settled: Village, directory: Directory) -> None:
    """Its record is signed well, and it is nobody here."""
    stranger = make_village(seed="elsewhere").operators[0]
    assert directory.learn([stranger.record([THERE])]) == set()


def test_two_operators_that_name_one_peer_do_not_hide_its_addresses(settled: Village) -> None:
    """A thief publishes another's peer id at its own port: asking either reaches for the peer at both places, its owner's first."""
    victim, thief = settled.operators[:2]
    settled.place(1, f"{THERE}/p2p/{victim.peer.peer_id}")
    directory = Directory(CLUSTER, settled.chain.operators)
    for operator in (victim, thief):
        found = directory.peer_of(operator.address)
        assert found is not None
        assert (found[0], set(found[1])) == (victim.peer.peer_id, {HERE, THERE})
        assert found[1][0] == (HERE if operator is victim else THERE)
