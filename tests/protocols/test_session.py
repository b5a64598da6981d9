"""A session is a boundary with everything that matters in its id; what can never be dealt to is refused by name."""

from dataclasses import replace

import pytest

from eigenkms.crypto import scalars
from eigenkms.errors import InputError
from eigenkms.types import BlockRef, Cluster, Member, OperatorAddress, OperatorSet
from eigenkms.wire import session as session_module
from eigenkms.wire.codec import MalformedError, encode
from eigenkms.wire.session import Parameters, Session, cluster_id, decode_session, encode_session
from tests.protocols.support import Cast, cast


@pytest.fixture
def who() -> Cast:
    return cast(4)


def test_everything_that_matters_is_in_the_id(who: Cast) -> None:
    """Another block, set, key or parameter is another session."""
    session = who.session
    block, parameters = session.boundary, session.parameters
    members = session.recipients.members
    other_key = replace(members[0], key=who.keys[members[1].address].g2[:-1] + b"\x01")
    variants = [
        Session(cluster_id(Cluster(1, bytes(20), 0)), block, session.recipients, parameters),
        Session(session.cluster, replace(block, number=101), session.recipients, parameters),
        Session(session.cluster, replace(block, hash=bytes(32)), session.recipients, parameters),
        Session(session.cluster, replace(block, timestamp=1), session.recipients, parameters),
        Session(session.cluster, block, OperatorSet(members[1:]), parameters),
        Session(session.cluster, block, OperatorSet((other_key, *members[1:])), parameters),
        *(
            Session(session.cluster, block, session.recipients, replace(parameters, **change))
            for change in (
                {"interval_blocks": 11},
                {"finality": "safe"},
                {"window_ms": 999},
                {"genesis_quorum": 3},
                {"min_operators": 2},
            )
        ),
    ]
    assert len({session.id, *(v.id for v in variants)}) == len(variants) + 1
    assert all(len(v.id) == 32 for v in variants)


def test_cluster_ids_differ_by_chain_avs_and_set() -> None:
    """All three are in the id."""
    clusters = [
        Cluster(1, bytes(20), 0),
        Cluster(2, bytes(20), 0),
        Cluster(1, b"\x01" * 20, 0),
        Cluster(1, bytes(20), 1),
    ]
    assert len({cluster_id(c) for c in clusters}) == 4


@pytest.mark.parametrize(
    ("n", "quorum", "smallest", "why"),
    [
        (0, 0, 1, "0 operators, fewer than the 1 needed"),
        (2, 0, 3, "2 operators, fewer than the 3 needed"),
        (4, 2, 1, "genesis quorum 2 is not in 3..4"),
        (4, 5, 1, "genesis quorum 5 is not in 3..4"),
        (257, 0, 1, "257 operators, more than the 256"),
    ],
)
def test_a_set_that_cannot_be_dealt_to_is_refused(n: int, quorum: int, smallest: int, why: str) -> None:
    """Too few operators, or a quorum that is none."""
    with pytest.raises(InputError, match=why):
        cast(n, quorum=quorum, min_operators=smallest)


def test_one_key_for_two_operators_is_refused(who: Cast) -> None:
    """It would let one secret vote twice."""
    members = who.session.recipients.members
    twins = OperatorSet((members[0], replace(members[1], key=members[0].key)))
    with pytest.raises(InputError, match="share one BN254 key"):
        Session(who.session.cluster, who.session.boundary, twins, who.session.parameters)


@pytest.mark.parametrize("x", [0, 7])
def test_coordinates_are_distinct_and_not_zero(who: Cast, x: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody finds such addresses; the share at zero would be the master secret, at the same x the same share."""
    monkeypatch.setattr(scalars, "coordinate", lambda _address: scalars._usable(x))
    with pytest.raises(InputError, match=r"open session at block 100: .*coordinate"):
        Session(who.session.cluster, who.session.boundary, who.session.recipients, who.session.parameters)


@pytest.mark.parametrize("change", ["interval_blocks", "window_ms", "min_operators"])
def test_parameters_are_positive(change: str) -> None:
    """Zero makes no sense for any of them; a negative quorum neither."""
    good = {"interval_blocks": 1, "finality": "latest", "window_ms": 1, "min_operators": 1}
    with pytest.raises(InputError, match="out of range"):
        Parameters(**{**good, change: 0})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="out of range"):
        Parameters(**good, genesis_quorum=-1)  # type: ignore[arg-type]


def test_thresholds_and_quorums() -> None:
    """T' = ⌈2n/3⌉, the genesis quorum is n unless lowered, p comes in seconds."""
    assert [cast(n).session.threshold for n in range(1, 8)] == [1, 2, 2, 3, 4, 4, 5]
    assert (cast(4).session.genesis_quorum, cast(4, quorum=3).session.genesis_quorum) == (4, 3)
    assert cast(4).session.window == 1.0
    assert int(cast(4).session.version) == 1_700_000_000


def test_every_member_coordinates_in_turn(who: Cast) -> None:
    """An order that depends on the session, and view v belongs to number v mod n."""
    session = who.session
    assert sorted(session.coordinators) == list(session.recipients.addresses)
    assert [session.coordinator(v) for v in range(8)] == list(session.coordinators) * 2
    orders = {who.later(10 * k).coordinators for k in range(1, 12)}
    assert len(orders) > 1


def test_a_stored_session_comes_back(who: Cast) -> None:
    """And with it the same id; anything else is refused."""
    stored = encode_session(who.session)
    assert decode_session(stored) == who.session
    assert decode_session(stored).id == who.session.id
    fields = session_module.decode(stored, what="stored session")
    for bad in (
        fields[:-1],
        [*fields, 0],
        [*fields[:4], [[bytes(20)]], *fields[5:]],
        [*fields[:4], fields[4][::-1], *fields[5:]],
    ):
        with pytest.raises(MalformedError):
            decode_session(encode(bad))


def test_an_operator_set_is_sorted() -> None:
    """Two of one address, or the wrong order, are no set."""
    one, two = (Member(OperatorAddress(bytes([i]) * 20), bytes(128)) for i in (1, 2))
    for members in ((two, one), (one, one)):
        with pytest.raises(ValueError, match="ascending"):
            OperatorSet(members)
    assert BlockRef(1, bytes(32), 2) == BlockRef(1, bytes(32), 2)
