"""The dealings that make a master key: announced before any is seen, by all or by a lowered quorum."""

from dataclasses import replace

import pytest

from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.v2.dealing import build_dealing, encode_body
from eigenkms.protocols.v2.dealing_header import DealingHeader, decode_header
from eigenkms.protocols.v2.dealings import PATIENCE_WINDOWS
from eigenkms.protocols.v2.jobs import Deal, Dealt
from eigenkms.protocols.v2.messages import GENESIS, dealing_body, read_dealing
from eigenkms.types import OperatorAddress
from tests.protocols.support import Cast, cast, journal
from tests.protocols.v2.support import Table, done, jobs_of

PATIENCE = PATIENCE_WINDOWS
"""Seconds, as a window is one."""


@pytest.fixture
def who() -> Cast:
    return cast(4)


def _header(frame: Frame) -> DealingHeader:
    return decode_header(read_dealing(frame).header)


def test_the_next_life_deals_to_all_and_not_only_to_those_whose_keys_are_back(who: Cast) -> None:
    """Who counts was fixed and journaled, the keys of the others were not: they are pulled first."""
    me = who.addresses[1]
    table = Table(who, works=lambda operator, job: operator != me or not isinstance(job, Deal))
    table.start()
    assert [r.kind for r in journal(table.effects[me])][-1] == "revealed"
    table.works = lambda _operator, _job: True
    table.restart(me)
    assert not table.said(me, Kind.DEALING)
    table.pull(me)
    (frame,) = table.said(me, Kind.DEALING)
    assert _header(frame).rows == 4
    assert len(table.decided()) == 4


# -- a lowered quorum --------------------------------------------------------------------------------------------


# -- what is taken in --------------------------------------------------------------------------------------------


def _other_dealing(table: Table, dealer: OperatorAddress) -> tuple[Frame, bytes]:
    """A good dealing of ``dealer`` with another polynomial than it announced."""
    job = next(job for job in jobs_of(table.effects[dealer]) if isinstance(job, Deal))
    other = replace(job, polynomial=Polynomial.random(job.polynomial.threshold, table.cast.rng))
    result = done(table.cast, other)
    assert isinstance(result, Dealt)
    numbers = (table.cast.session.boundary.number,) * len(job.recipients)
    commitments = other.polynomial.commitments()
    header = build_dealing(job.context, 0, commitments, result.encrypted, numbers, job.newcomers)
    frame = table.cast.frame(dealer, Kind.DEALING, dealing_body(GENESIS, header.encoded))
    return frame, encode_body(result.encrypted)
