"""The walk can fail: each fault planted in the machines is found by the law, or the promise, that it breaks."""

from collections.abc import Iterable

import pytest

from eigenkms.protocols.ceremony import floor
from eigenkms.protocols.ceremony.agreement import Agreement
from eigenkms.protocols.ceremony.base_versions import BaseVersions
from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.protocols.ceremony.effects import JournalRecord
from eigenkms.protocols.ceremony.participant import Participant
from eigenkms.protocols.ceremony.sharing import SharingPhase
from eigenkms.types import OperatorSet
from eigenkms.wire.messages import GENESIS, SourceRef, ref_of
from tests.sim.exhaustive.calm import find_stuck
from tests.sim.exhaustive.laws import LawBrokenError
from tests.sim.exhaustive.scene import Scene
from tests.sim.exhaustive.test_walks import scene
from tests.sim.exhaustive.walk import Bound, Walk

__all__ = ["scene"]

pytestmark = pytest.mark.slow
TWO_SESSIONS = Bound(views=(1, 1), stale=(), late=0)


def _finds(scene: Scene, bound: Bound, complaint: str) -> None:
    with pytest.raises(LawBrokenError, match=complaint):
        Walk(scene, bound).run()


def _is_stuck(scene: Scene, bound: Bound) -> bool:
    walk = Walk(scene, bound)
    _, stuck = find_stuck(walk, walk.run())
    return stuck is not None


def _forget_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Participant, "head", property(lambda self: self.certified))


def test_prepared_versions_that_are_not_dealt_from(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are locked on what nobody deals from: no fork, but with the liar gone they never certify again."""
    bound = Bound(views=(1,), stale=())
    assert not _is_stuck(scene, bound)
    _forget_heads(monkeypatch)
    assert _is_stuck(scene, bound)


def test_a_lock_that_does_not_bind_across_sessions(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads and locks guard the same thing. Where heads are forgotten, the lock alone keeps a version beside a certified one, of
    which keys are erased already, from being prepared.
    """
    _forget_heads(monkeypatch)
    Walk(scene, TWO_SESSIONS).run()
    honest = BaseVersions.__init__

    def unbound(self: BaseVersions, members: OperatorSet, _floor: SourceRef) -> None:
        honest(self, members, GENESIS)

    monkeypatch.setattr(BaseVersions, "__init__", unbound)
    monkeypatch.setattr(BaseVersions, "raise_floor", lambda _self, _floor: None)
    _finds(scene, TWO_SESSIONS, "loss: V2")


def test_a_vote_without_durable_dealings(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is absent, and the liar is a dealer. After a crash of the two that voted nobody has its dealing."""
    bound = Bound(views=(1,), stale=(), absences=1, late=0)
    Walk(scene, bound).run()
    monkeypatch.setattr(SharingPhase, "journal", lambda _self, _transcript: [])
    _finds(scene, bound, "loss: V1")


def test_a_lock_that_a_crash_forgets(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Having committed in view 0, an operator helps to certify another transcript in view 1."""
    honest = Agreement.restore

    def forgetful(self: Agreement, records: Iterable[JournalRecord], now: float) -> None:
        honest(self, [record for record in records if record.kind != "lock"], now)

    monkeypatch.setattr(Agreement, "restore", forgetful)
    _finds(scene, Bound(views=(2,), crashes=1, late=0), "one session has two certified transcripts")


def test_a_lock_that_never_gives_way(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is locked on what view 0 prepared and deals from what view 1 prepared: it never prepares again."""

    def unyielding(ceremony: Ceremony, _versions: object) -> SourceRef | None:
        return None if ceremony.locked is None else ref_of(ceremony.locked)

    monkeypatch.setattr(floor, "bound_by", unyielding)
    assert _is_stuck(scene, Bound(views=(2,)))
