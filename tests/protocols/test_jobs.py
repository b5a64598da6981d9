"""Work beside the machines: dealt, verified and decrypted, with no say in what follows from it."""

from dataclasses import replace

import pytest

from eigenkms.crypto import pvss
from eigenkms.crypto.feldman import public_share_of
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.ceremony.jobs import (
    CheckJob,
    CheckResult,
    DealJob,
    DealResult,
    OpenJob,
    OpenResult,
    UncheckedDealing,
)
from eigenkms.wire.dealing import claim_of
from eigenkms.wire.transcript import Transcript
from tests.protocols.parts import base_versions_of
from tests.protocols.rooms import KeyVersion, Table, done, encryption_key, jobs_of, version_of
from tests.protocols.support import Cast, cast, secret_of


@pytest.fixture
def who() -> Cast:
    return cast(4)


@pytest.fixture
def version(who: Cast) -> KeyVersion:
    return version_of(who)


@pytest.fixture
def table(who: Cast, version: KeyVersion) -> Table:
    table = Table(who.at(10), source=version)
    table.start()
    return table


def _checks(table: Table) -> list[UncheckedDealing]:
    """The dealings of all others, as the first operator had them verified."""
    me = table.cast.addresses[0]
    found = [d for job in jobs_of(table.effects[me]) if isinstance(job, CheckJob) for d in job.dealings]
    assert len(found) == 3
    return found


def _open(table: Table, made: Transcript, place: int = 0) -> OpenJob:
    me = table.cast.addresses[place]
    seat = table.seats[me]
    dealings = []
    for dealer, name in made.dealers:
        known = seat.dealing(name)
        assert known is not None
        assert known.encrypted is not None
        dealings.append((dealer, known.encrypted.share(place), known.header.rows))
    key = encryption_key(table.cast, me, 100)
    return OpenJob(made.hash, made.public_share(me), tuple(dealings), False, key)


def test_a_dealing_is_of_the_jobs_polynomial(who: Cast, table: Table) -> None:
    """Verified by anybody; the result holds the job, so it says what it is the result of."""
    (job,) = [job for job in jobs_of(table.effects[who.addresses[0]]) if isinstance(job, DealJob)]
    result = done(who, job)
    assert isinstance(result, DealResult)
    assert result.job is job
    claim = pvss.DealingClaim(job.context, job.polynomial.commitments(), result.encrypted, None)
    pvss.check_dealing(claim, pvss.Recipients(job.recipients), 3, who.rng)


def test_bad_dealings_among_good_ones_are_named(who: Cast, table: Table) -> None:
    """One, two or all of them: each by its name, and no other."""
    good = _checks(table)
    bad = [_spoilt(dealing) for dealing in good]
    for mask in range(8):
        mixed = tuple(bad[i] if mask >> i & 1 else good[i] for i in range(3))
        names = {i: good[i].name for i in range(3)}
        expected = frozenset(names[i] for i in range(3) if mask >> i & 1)
        assert done(who, CheckJob(mixed)) == CheckResult(frozenset(names.values()) - expected, expected)


def _spoilt(dealing: UncheckedDealing) -> UncheckedDealing:
    """With another announcement in its proof."""
    encrypted = dealing.claim.encrypted
    announcements = replace(encrypted.announcements, base=encrypted.randomness[0])
    return replace(
        dealing, claim=replace(dealing.claim, encrypted=replace(encrypted, announcements=announcements))
    )


def test_dealings_to_different_recipients_are_verified_in_one_job(who: Cast, table: Table) -> None:
    """Those to the same ones together; a dealing is bound to its recipients, and to the threshold."""
    one, two, three = _checks(table)
    fewer = replace(two, recipients=two.recipients[:3])
    assert done(who, CheckJob((one, fewer, three))) == CheckResult(
        frozenset({one.name, three.name}), frozenset({two.name})
    )
    lower = replace(three, threshold=2)
    assert done(who, CheckJob((one, two, lower))) == CheckResult(
        frozenset({one.name, two.name}), frozenset({three.name})
    )
    assert done(who, CheckJob(())) == CheckResult(frozenset(), frozenset())


def test_a_rotation_dealing_is_verified_with_the_dealers_share(
    who: Cast, version: KeyVersion, table: Table
) -> None:
    """One with another constant term is invalid, whatever its proof says."""
    dealing, *_ = _checks(table)
    dealer = dealing.claim.context.dealer
    assert dealing.claim.constant == version.transcript.public_share(dealer)
    other = replace(dealing, claim=replace(dealing.claim, constant=version.transcript.mpk))
    assert done(who, CheckJob((other,))) == CheckResult(frozenset(), frozenset({dealing.name}))
    known = base_versions_of(table.seats[who.addresses[0]]).current.get(dealer)
    assert known is not None
    assert known.encrypted is not None
    with pytest.raises(ValueError, match="public share"):
        claim_of(known.header, known.encrypted, who.session.cluster, None)


def test_opened_shares_combine_to_the_share_of_the_version(
    who: Cast, version: KeyVersion, table: Table
) -> None:
    """Everybody's fit their public shares, and a threshold of them is the secret of the source."""
    made = table.certified()
    shares = {}
    for place, address in enumerate(who.addresses):
        result = done(who, _open(table, made, place))
        assert isinstance(result, OpenResult)
        assert result.version == made.hash
        assert result.share is not None
        assert public_share_of(result.share) == made.public_share(address)
        shares[address] = result.share
    assert secret_of(shares, 3) == secret_of(version.shares, 3)


def test_opened_shares_of_a_genesis_add_up(who: Cast) -> None:
    """All dealers' polynomials, with factors of one."""
    table = Table(who)
    table.start()
    made = table.certified()
    job = replace(_open(table, made), is_genesis=True)
    result = done(who, job)
    assert isinstance(result, OpenResult)
    assert result.share is not None
    assert public_share_of(result.share) == made.public_share(who.addresses[0])
    assert done(who, replace(job, is_genesis=False)) == OpenResult(made.hash, None), "that is another share"


def test_what_does_not_open_is_no_share(who: Cast, table: Table) -> None:
    """With the wrong key, with points that are none, and for another public share."""
    made = table.certified()
    job = _open(table, made)
    other = encryption_key(who, who.addresses[1], 100)
    dealer, share, rows = job.dealings[0]
    broken = replace(share, randomness=(b"\xff" * 48, *share.randomness[1:]))
    for wrong in (
        replace(job, key=other),
        replace(job, dealings=((dealer, broken, rows), *job.dealings[1:])),
        replace(job, public_share=made.mpk),
    ):
        assert done(who, wrong) == OpenResult(made.hash, None)


def test_jobs_and_results_print_no_secret(who: Cast, table: Table) -> None:
    """Neither polynomial, key nor share."""
    made = table.certified()
    job = _open(table, made)
    assert str(job.key.secret.value) not in repr(job)
    assert "4711" not in repr(OpenResult(made.hash, SecretScalar(4711)))
    (deal,) = [job for job in jobs_of(table.effects[who.addresses[0]]) if isinstance(job, DealJob)]
    assert "polynomial" not in repr(deal)
