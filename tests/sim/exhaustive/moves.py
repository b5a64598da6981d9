"""What can happen to one operator, and how it is done to its real machines.

A vote changes nothing below a quorum, so votes come a quorum at a time: ``Learn``. Who signed a certificate decides nothing, so two
certificates of the same votes' content are the same here; the signers that a move names have all voted so, or are the liar.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from eigenkms.wire.frames import Frame
from eigenkms.wire.votes import Phase
from tests.protocols.support import CrashError
from tests.sim.exhaustive.life import Life
from tests.sim.exhaustive.scene import Scene


@dataclass(frozen=True)
class Join:
    """The boundary of a session is seen; the session before is over."""

    number: int


@dataclass(frozen=True)
class Back:
    """A proposal arrives, and before it every dealing that it names.

    ``justified`` is the view of the prepare certificate that comes with it.
    """

    view: int
    transcript: bytes
    justified: int | None
    signers: tuple[int, ...] = field(compare=False, default=())


@dataclass(frozen=True)
class Learn:
    """A certificate arrives with its transcript; with ``rows`` somebody serves whatever is lacking of the share."""

    phase: Phase
    view: int
    transcript: bytes
    rows: bool
    signers: tuple[int, ...] = field(compare=False, default=())


@dataclass(frozen=True)
class Next:
    """Timers fire until the operator is in the next view.

    A view above 0 ends only once t' members are in it: the liar, and another one, of which ``heard`` is the view change: its
    prepare certificate's view and hash, and the frame.
    """

    view: int
    heard: tuple[int, bytes] | None = None
    frame: Frame | None = field(compare=False, default=None)


@dataclass(frozen=True)
class Crash:
    """The process dies between two steps and starts again from its disk."""


Whole: TypeAlias = Join | Back | Learn | Next


@dataclass(frozen=True)
class Torn:
    """The process dies in the midst of a move, after so many durable writes, and starts again from its disk."""

    move: Whole
    writes: int


Move: TypeAlias = Whole | Crash | Torn


def carry_out(life: Life, move: Move) -> int:
    """Do it to this life; returns how much was written."""
    disk = life.disk
    if isinstance(move, Crash):
        life.restart()
        return 0
    before, disk.room = disk.written, move.writes if isinstance(move, Torn) else None
    try:
        _carry_out_whole(life, move.move if isinstance(move, Torn) else move)
        disk.room = None
    except CrashError:
        disk.room = None
        life.restart()
    return disk.written - before


def _carry_out_whole(life: Life, move: Whole) -> None:
    match move:
        case Join(number):
            life.join(life.scene.session(number))
        case Back():
            _back(life, move)
        case Learn():
            _learn(life, move)
        case Next():
            _next(life, move)


def _back(life: Life, move: Back) -> None:
    scene = life.scene
    transcript = scene.transcripts[move.transcript]
    for dealer, _ in transcript.dealers:
        index, number = scene.addresses.index(dealer), scene.number_of(transcript)
        frame, name, body = scene.dealing_frame(index, number, transcript.source_hash)
        life.hear(frame)
        life.take_body(name, body)
    justification = None
    if move.justified is not None:
        justification = scene.certificate(move.justified, Phase.PREPARE, transcript.hash, move.signers)
    life.hear(scene.proposal(move.view, transcript, justification))


def _learn(life: Life, move: Learn) -> None:
    """As votes, or else as a certificate frame, if the session is on here; from an older session, as a version."""
    scene = life.scene
    transcript = scene.transcripts[move.transcript]
    certificate = scene.certificate(move.view, move.phase, transcript.hash, move.signers)
    newest = life.operator.newest
    if newest is None or newest.session.id != transcript.session:
        life.step(lambda o: o.adopt(transcript, certificate, life.now))
    else:
        _begin_view(life)
        number = scene.number_of(transcript)
        others = (i for i in move.signers if i != life.index)
        life.hear(*(scene.vote(i, number, move.view, move.phase, transcript.hash) for i in others))
        if not _has_learnt(life, move):
            life.hear(scene.announcement(transcript, certificate))
    if move.rows:
        life.take_rows()


def _has_learnt(life: Life, move: Learn) -> bool:
    known = life.operator.newest
    assert known is not None
    if known.decided:
        return True
    prepared = known._agreement.prepared
    return move.phase is Phase.PREPARE and prepared is not None and prepared[1].view >= move.view


def _next(life: Life, move: Next) -> None:
    newest = life.operator.newest
    assert newest is not None
    if move.view > 0:
        assert move.frame is not None
        life.hear(life.scene.view_change(life.scene.number_of(newest.session), move.view), move.frame)
    _begin_view(life)
    life.wait()


def _begin_view(life: Life) -> None:
    """An operator that heard no proposal in its first view is not in it yet: the liar sends one."""
    newest = life.operator.newest
    if newest is not None and not newest._agreement.started and newest.sources:
        number = life.scene.number_of(newest.session)
        life.hear(life.scene.dud(number, newest.view, newest.sources[-1].hash))


def describe(scene: Scene, move: Move) -> str:
    """One line of a schedule."""
    match move:
        case Join(number):
            return f"joins session {number}"
        case Back(view, transcript, justified):
            by = "" if justified is None else f", justified by view {justified}"
            return f"gets in view {view} the proposal of {scene.labels[transcript]}{by}"
        case Learn(phase, view, transcript, rows):
            also = " and rows" if rows else ""
            return f"gets the {phase.name.lower()} certificate of view {view} for {scene.labels[transcript]}{also}"
        case Next(view, heard):
            return f"leaves view {view}{'' if heard is None else f', having heard of view {heard[0]}'}"
        case Crash():
            return "crashes and starts again"
        case Torn(inner, writes):
            return f"{describe(scene, inner)}, crashes after {writes} writes and starts again"
