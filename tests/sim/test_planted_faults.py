"""The simulator can fail: faults planted in the machines, or in the node around them, are caught by the law that they break."""

from typing import Any

import pytest

from eigenkms.crypto.shamir import combine_shares
from eigenkms.protocols import agreement as agreement_module
from eigenkms.protocols import evidence as evidence_module
from eigenkms.protocols.agreement import Agreement
from eigenkms.protocols.effects import Persist
from eigenkms.protocols.exchange import Exchange
from eigenkms.protocols.frames import Kind
from eigenkms.protocols.operator import Operator
from eigenkms.protocols.session import Session
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.views import Views
from eigenkms.protocols.voice import Voice
from eigenkms.protocols.votes import Phase
from tests.sim import byzantine
from tests.sim.byzantine import Byzantine
from tests.sim.planting import catches, lose_the_first_commits, sends_first
from tests.sim.world import Faults, Node, World

Patch = pytest.MonkeyPatch


def test_a_certificate_with_one_vote_too_few(monkeypatch: Patch) -> None:
    """The judge counts by its own arithmetic."""
    honest = agreement_module.quorum

    def short(session: Session, phase: Phase, digest: bytes, *, rooted: bool = False) -> int:
        return max(1, honest(session, phase, digest, rooted=rooted) - 1)

    monkeypatch.setattr(agreement_module, "quorum", short)
    catches("needed")


@pytest.mark.slow
def test_sending_before_the_disk_has_it(monkeypatch: Patch) -> None:
    """A node that sends first, and loses the step's records in a crash, says something else in its next life."""
    sends_first(monkeypatch)
    catches("said twice, differently")


def test_frames_left_out_of_the_journal(monkeypatch: Patch) -> None:
    """Without its own words an operator says something else after a restart."""
    honest = Voice.say

    def forgetful(self: Voice, *args: Any) -> list[Any]:
        return [effect for effect in honest(self, *args) if not isinstance(effect, Persist)]

    monkeypatch.setattr(Voice, "say", forgetful)
    catches("said twice, differently")


def test_the_share_left_out_of_the_journal(monkeypatch: Patch) -> None:
    """A prepare vote says that the voter keeps its share."""
    monkeypatch.setattr(Agreement, "_journal_prepared", lambda _self, _transcript: [])
    catches("share is not durable", range(5))


def _leaves_a_view(seed: int) -> None:
    """An operator that hears no proposal leaves view 0, crashes, comes back, and then hears the proposal of view 0."""
    world = World(4, seed, faults=Faults(sync_seconds=0.05))
    session = world.next_boundary(spread=0.01)
    victim = world.nodes[session.coordinator(2)]
    world.holds_back = lambda frame, to: frame.kind is Kind.PROPOSAL and to == victim.address
    world.run(5, until=lambda: any(c.status().view > 0 for c in victim.operator.live))  # type: ignore[union-attr]
    victim.crash()
    world.restart(victim)
    world.holds_back = lambda frame, to: frame.kind is Kind.VIEW_CHANGE and to == victim.address
    world.run(5)


def test_a_view_forgotten_in_a_crash(monkeypatch: Patch) -> None:
    """Having entered a view, an operator votes in no lower one, in its next life either."""
    _leaves_a_view(1)
    monkeypatch.setattr(Views, "restart", lambda _self, _view, _now: None)
    catches("after entering", range(10), _leaves_a_view)


def test_a_second_genesis_beside_the_first(monkeypatch: Patch) -> None:
    """Bound to one genesis, an operator begins no other."""
    monkeypatch.setattr(Operator, "binding", None)
    catches("while bound", likely=[24])


def test_two_blocks_at_one_boundary_number(monkeypatch: Patch) -> None:
    """A boundary that is reorged into another with the same number is not voted in again."""
    monkeypatch.setattr(Node, "_may_join", lambda _self, operator, _session: operator.binding is None)
    monkeypatch.setattr(
        Operator, "may_join", lambda self, session: session.recipients.get(self.me) is not None
    )
    catches("joined twice", range(60))


def test_shares_combined_from_the_local_set_of_dealers(monkeypatch: Patch) -> None:
    """Whoever adds up what *it* holds, and not what was agreed on, is off the certified polynomial."""

    def local(self: Exchange, _transcript: Transcript) -> Any:
        shares = [self._shares[d] for d in sorted(self._shares)]
        return combine_shares([1] * len(shares), shares) if shares else None

    monkeypatch.setattr(Exchange, "combined_share", local)

    def act(seed: int) -> None:
        world = World(4, seed, quorum=3)
        liar = world.nodes[world.next_boundary().coordinator(3)]
        Byzantine(world, liar, byzantine.late([Kind.HASH], 0.6))
        world.run(10, until=world.all_certified)

    catches("off the certified vector", range(20), act)


def test_an_honest_dealer_accused(monkeypatch: Patch) -> None:
    """Evidence that forgets to which key an answer was sealed can be made against anybody."""

    def careless(evidence: Any, session: Session) -> bool:
        answer, opening = evidence.frames
        body = evidence_module.read_answer(answer)
        key = evidence_module.read_opening(opening).private_key
        return evidence_module.open_answer(body, key, session, evidence.accused) is None

    monkeypatch.setitem(evidence_module._PROOFS, evidence_module.Fault.BAD_ANSWER, careless)

    def act(seed: int) -> None:
        world = World(4, seed)
        liar = world.nodes[world.next_boundary().coordinator(3)]
        Byzantine(world, liar, byzantine.two_complaints)
        world.run(10, until=world.all_certified)

    catches("accuses an honest operator", range(10), act)


def _unlocking(seed: int) -> None:
    """All prepare, lock and commit, but no commit vote arrives; the next boundary comes; a liar coordinates view 1 and proposes ∅.
    Operators that respect their locks carry the key over; such as do not help to close a session that may have a key.
    """
    world = World(4, seed)
    session = world.next_boundary(spread=0.01)
    Byzantine(world, world.nodes[session.coordinator(1)], byzantine.always_void)
    lose_the_first_commits(world, session)
    world.run(0.4)
    world.next_boundary(spread=0.01)
    world.run(10)


def test_a_lock_that_is_forgotten(monkeypatch: Patch) -> None:
    """Having committed to a key in one view, an operator prepares ∅ in no later one without proof that this is safe."""
    for seed in range(5):
        _unlocking(seed)
    monkeypatch.setattr(Agreement, "_lock_allows", lambda _self, _hash, _justified: True)
    catches("votes for two certificates", range(5), _unlocking)


def test_all_must_prepare_again_in_every_view(monkeypatch: Patch) -> None:
    """If a key needed all n in every view, one liar that prepares once and then falls silent would bind all others for ever."""
    monkeypatch.setattr(Agreement, "_is_root", lambda _self, _certificate: False)
    monkeypatch.setattr(Agreement, "_root_of", lambda _self, _certificate: None)

    def act(seed: int) -> None:
        world = World(4, seed)
        session = world.next_boundary(spread=0.01)
        liar = world.nodes[session.coordinator(3)]
        Byzantine(world, liar, byzantine.falls_silent)
        world.holds_back = lambda frame, _to: frame.kind is Kind.VOTE and frame.body[:2] == [0, Phase.COMMIT]
        world.run(0.4)
        world.next_boundary(spread=0.01)
        held = world.run(
            30, until=lambda: all(n.operator and not n.operator.binding for n in world.correct())
        )
        assert held, "bound for ever"

    catches("bound for ever", range(3), act)
    monkeypatch.undo()
    for seed in range(3):
        act(seed)
