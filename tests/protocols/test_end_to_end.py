"""On the real curves: a genesis, a rotation with one operator away, and the share that it gets when it comes back."""

import pytest

from eigenkms.crypto.feldman import public_share_of
from tests.protocols.rooms import Room
from tests.protocols.support import cast, secret_of

pytestmark = pytest.mark.usefixtures("real_curves")


@pytest.mark.slow
def test_a_key_is_made_rotated_and_recovered_late() -> None:
    """All hold shares of one secret throughout; old shares and keys are gone; the late one's key is the one that it left with."""
    who = cast(4, seed="end to end")
    *others, late = who.addresses
    room = Room(who)
    room.enter()
    room.boundary(who.session)
    genesis = room.certified(late)
    secret = secret_of(room.shares(genesis), genesis.threshold)
    assert public_share_of(secret) == genesis.mpk
    room.leave(late)
    room.boundary(who.later())
    room.run(0.5)
    known = room.operators[others[0]].certified
    assert known is not None
    made = known.transcript
    assert (made.session, made.mpk) == (who.later().id, genesis.mpk)
    assert set(room.shares(made)) == set(others)
    assert made.key_of(late) == genesis.key_of(late)
    room.restart(late)
    room.tell(late, made, known.certificate)
    assert room.rows_fetched == len(made.dealers)
    shares = room.shares(made)
    assert set(shares) == set(who.addresses)
    for address, share in shares.items():
        assert public_share_of(share) == made.public_share(address)
        assert list(room.disks[address].versions) == [made.hash]
        listed = made.key_of(address)
        assert listed is not None
        assert set(room.disks[address].keys) == {listed.number}
    assert secret_of({a: shares[a] for a in who.addresses[1:]}, made.threshold) == secret
