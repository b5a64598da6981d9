"""Whose addresses a peer is dialled at, if several operators name its id."""

from eigenkms.p2p.identity import PeerKey
from eigenkms.wire.peer_claims import ClaimStanding, PeerClaim, dial_order

PEER, OTHER = PeerKey.generate().peer_id, PeerKey.generate().peer_id


def test_what_a_peer_proved_to_be_says_where_it_is_and_nobody_else() -> None:
    """Whatever stands on chain; other peers are not concerned."""
    claims = [
        PeerClaim(PEER, ClaimStanding.ON_CHAIN, ("a", "b")),
        PeerClaim(PEER, ClaimStanding.PROVEN, ("c", "d")),
        PeerClaim(OTHER, ClaimStanding.SAID, ("e",)),
    ]
    assert dial_order(claims) == {PEER: ("c", "d"), OTHER: ("e",)}


def test_who_names_the_peer_on_chain_comes_before_who_merely_says_so() -> None:
    """In whatever order they come."""
    liar, owner = (
        PeerClaim(PEER, ClaimStanding.SAID, ("x", "y")),
        PeerClaim(PEER, ClaimStanding.ON_CHAIN, ("a", "b")),
    )
    for claims in ([liar, owner], [owner, liar]):
        assert dial_order(claims) == {PEER: ("a", "b", "x", "y")}


def test_equals_take_turns() -> None:
    """Nobody's first address stands behind all of another's; each stands once."""
    claims = [
        PeerClaim(PEER, ClaimStanding.ON_CHAIN, ("a", "b", "c")),
        PeerClaim(PEER, ClaimStanding.ON_CHAIN, ("x",)),
        PeerClaim(PEER, ClaimStanding.ON_CHAIN, ("a", "z")),
        PeerClaim(PEER, ClaimStanding.SAID, ("x", "s")),
    ]
    assert dial_order(claims) == {PEER: ("a", "x", "b", "z", "c", "s")}


def test_a_claim_without_addresses_is_a_peer_without_any() -> None:
    """It may still come by itself."""
    assert dial_order([PeerClaim(PEER, ClaimStanding.SAID, ())]) == {PEER: ()}
