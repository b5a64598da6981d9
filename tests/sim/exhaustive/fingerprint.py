"""What of one operator's life can still matter: two lives with the same fingerprint go on alike.

Left out: the clock (a step lets all timers fire or none), who signed a certificate, the order of dealings, bytes that are
functions of what is kept, and what was said in sessions and views that this operator left: it votes there no more, and the walk
keeps which certificates can be made of it. ``Table`` can check this claim: it repeats moves from a second life with the same
fingerprint and compares. All in it is tuples, frozen sets and values, so that operators can be renamed in it (``Scene.renamed``).
"""

from functools import cache
from typing import Any, TypeAlias

from eigenkms.protocols.ceremony.agreement import Agreement
from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.protocols.ceremony.dealing_pool import DealingStage
from eigenkms.protocols.ceremony.effects import JournalRecord
from eigenkms.protocols.ceremony.session_state import PAST
from eigenkms.protocols.ceremony.sharing import SharingPhase
from eigenkms.types import SessionId
from eigenkms.wire.dealing_header import decode_header
from eigenkms.wire.frames import Frame, FrameKind, decode_frame
from eigenkms.wire.messages import Proposal, read_dealing, read_view_change, read_vote, slot_of
from eigenkms.wire.transcript import decode_transcript
from eigenkms.wire.votes import Certificate, Phase, decode_certificate
from tests.sim.exhaustive.life import Life

Fingerprint: TypeAlias = tuple[Any, ...]
_OF_VIEWS = frozenset({FrameKind.VOTE, FrameKind.VIEW_CHANGE})
_OF_ENDED = frozenset({FrameKind.VOTE, FrameKind.VIEW_CHANGE, FrameKind.KEY})
"""Frames that are left out once their session ended here."""


def fingerprint(life: Life, *, keep_votes: bool = False) -> Fingerprint:
    """See the module's docstring; ``keep_votes`` of the views that were left, too."""
    operator = life.operator
    on = operator.newest
    current = None if on is None else on.session.id
    view = 0 if on is None or keep_votes else on.view
    versions = tuple((v.transcript.hash, _of(v.certificate), v.share is not None) for v in operator.versions)
    recoveries = frozenset(
        (name, frozenset(r._numbers.items()), len(r._rows), r._is_opening)
        for name, r in operator._holdings._recoveries.items()
    )
    return (
        operator.me,
        current,
        versions,
        operator.key_numbers,
        operator._floor.hash,
        recoveries,
        tuple(_ceremony(c, ended=c is not on) for c in operator._all),
        _disk(life, current, view),
        frozenset(_said(f) for f in life.said.values() if f.session == current and not _is_left(f, view)),
        bool(life.equivocated),
    )


def _of(certificate: Certificate | None) -> tuple[int, int, bytes] | None:
    """Of a commit certificate the view does not matter."""
    if certificate is None:
        return None
    view = certificate.view if certificate.phase is Phase.PREPARE else -1
    return (int(certificate.phase), view, certificate.hash)


def _is_left(frame: Frame, view: int) -> bool:
    """Whether a frame belongs to a view below this one."""
    return frame.kind in _OF_VIEWS and slot_of(frame)[1] < view


def _said(frame: Frame) -> Fingerprint:
    match frame.kind:
        case FrameKind.VOTE:
            vote = read_vote(frame)
            return (frame.kind, vote.view, int(vote.phase), vote.hash)
        case FrameKind.VIEW_CHANGE:
            change = read_view_change(frame)
            return (frame.kind, change.view, _of(change.prepared))
        case FrameKind.DEALING:
            return (frame.kind, decode_header(read_dealing(frame).header).name)
        case _:
            return (frame.kind, slot_of(frame))


def _ceremony(ceremony: Ceremony, *, ended: bool) -> Fingerprint:
    agreement, locked = ceremony._agreement, ceremony.locked
    told = None if ceremony.decided else ceremony._reported_prepare
    common = (
        ceremony.session.id,
        ceremony._is_silent,
        ceremony.state in PAST,
        agreement._transcripts.is_decision_restored,
        None if told is None else _of(decode_certificate(told)),
        tuple(source.hash for source in ceremony.sources),
        None if locked is None else (locked.hash, ceremony.locked_in),
        None if ceremony.decided else _of(agreement._transcripts.highest),
        None if agreement.decision is None else agreement.decision.certificate.hash,
        tuple(_dealings(d, ended=ended) for d in ceremony._sources),
        agreement._transcripts.is_genesis,
    )
    return common if ended else (*common, ceremony._sources.floor.hash, _progress(agreement))


def _progress(agreement: Agreement) -> Fingerprint:
    views = agreement._pacemaker
    made = sorted((v, made) for v, made in agreement._proposals.items() if v >= views.view)
    proposals = ((view, tuple(_proposal(proposal) for proposal in found)) for view, found in made)
    return (
        _of(agreement._lock.certificate),
        frozenset(agreement._transcripts),
        agreement._is_stopped,
        views.view,
        views.entered_at is not None,
        views._quorum_seen_at is not None,
        frozenset(views._members.items()),
        tuple(proposals),
        frozenset(agreement._transcripts._durable),
    )


def _proposal(proposal: Proposal) -> Fingerprint:
    return (proposal.source.hash, proposal.transcript, _of(proposal.justification))


def _dealings(dealings: SharingPhase, *, ended: bool) -> Fingerprint:
    pool = dealings._pool
    known = pool._by_dealer.values()
    valid = frozenset(k.header.name for k in known if k.stage is DealingStage.VALID)
    common = (dealings.ref.hash, valid, frozenset(pool._durable))
    if ended:
        return common
    other = frozenset((k.header.name, k.stage) for k in known)
    return (*common, other, pool.barred, dealings._is_dealing, dealings._share is not None)


def _disk(life: Life, current: SessionId | None, view: int) -> Fingerprint:
    disk = life.disk
    journal = []
    for session, records in disk.journals.items():
        left = view if session == current else None
        locks = [record.body for record in records if record.kind == "lock"]
        kept = frozenset(found for record in records if (found := _record(record, left)) is not None)
        journal.append((session, kept, _of(decode_certificate(locks[-1])) if locks else None))
    versions = ((name, _of(row.certificate), row.share is not None) for name, row in disk.versions.items())
    return (tuple(journal), frozenset(versions), frozenset(disk.keys))


@cache
def _record(record: JournalRecord, view: int | None) -> Fingerprint | None:
    """``view`` is the one that the operator is in, ``None`` if the session ended."""
    match record.kind:
        case "frame" | "dealing":
            frame = decode_frame(record.body)
            left = frame.kind in _OF_ENDED if view is None else _is_left(frame, view)
            return None if left else (record.kind, _said(frame), frame.sender)
        case "lock":  # the last one counts
            return None
        case "certificate":
            return (record.kind, _of(decode_certificate(record.body)))
        case "transcript":  # of a session that ended, only those that go with a lock or a certificate count
            return None if view is None else (record.kind, decode_transcript(record.body).hash)
        case "body":
            return (record.kind, record.body[:32])
        case _:
            return (record.kind, record.body)
