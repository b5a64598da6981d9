"""The simulator can fail in rotations too: each planted fault is caught by the law, or the promise, that it breaks."""

from typing import Any

import pytest

from eigenkms.crypto.shamir import combine_shares
from eigenkms.protocols import agreement as agreement_module
from eigenkms.protocols import evidence_bundle as bundle_module
from eigenkms.protocols import resharing as resharing_module
from eigenkms.protocols import settlement as settlement_module
from eigenkms.protocols import settling as settling_module
from eigenkms.protocols.agreement import Agreement
from eigenkms.protocols.dealing import WrongConstantError, weights
from eigenkms.protocols.exchange import Exchange
from eigenkms.protocols.operator import Operator
from eigenkms.protocols.requests import Epoch, encode_settled
from eigenkms.protocols.session import Session
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.votes import Phase
from tests.sim import byzantine
from tests.sim import node as node_module
from tests.sim.byzantine import Byzantine
from tests.sim.laws import Laws
from tests.sim.planting import catches, lose_the_first_commits, sends_first
from tests.sim.story import Story
from tests.sim.world import Faults, Node, World

Patch = pytest.MonkeyPatch
PEACE = Faults(sync_seconds=0.1)


def _rotates(seed: int) -> None:
    """A random story, if it is one of rotations."""
    story = Story(seed)
    if story.plot == "rotation":
        story.tell()


def _founded(seed: int, n: int = 4, *, faults: Faults = PEACE) -> World:
    """Operators that hold a master key together, as settled as a genesis is."""
    world = World(n, seed, faults=faults)
    session = world.next_boundary(spread=0.01)
    assert world.run(10, until=lambda: world.is_shared(session))
    return world


def _rotated(world: World, seconds: float = 10) -> None:
    """One more boundary, and the promise of a network in which fewer than a third are faulty."""
    session = world.next_boundary(spread=0.01)
    assert world.run(seconds, until=lambda: world.is_certified(session)), "no rotation"


@pytest.mark.slow
def test_the_stories_are_clean_without_a_fault() -> None:
    """What the directed stories below find, they find because of the fault in them."""
    for act in (
        _forgets_its_lock,
        _crashes_while_dealing,
        _meets_a_wrong_constant,
        _meets_conspirators,
        _sees_two_blocks,
        _is_told_a_lie,
    ):
        for seed in range(3):
            act(seed)


def test_a_certificate_with_one_vote_too_few(monkeypatch: Patch) -> None:
    """The judge counts commit votes by its own arithmetic, also those of a rotation from a sound genesis."""
    honest = agreement_module.quorum

    def short(session: Session, phase: Phase, digest: bytes, *, rooted: bool = False) -> int:
        return honest(session, phase, digest, rooted=rooted) - (phase is Phase.COMMIT)

    def act(seed: int) -> None:
        world = _founded(seed)
        with monkeypatch.context() as patch:
            patch.setattr(agreement_module, "quorum", short)
            _rotated(world)

    catches("2 signers, 3 needed", range(5), act)


def test_a_settlement_with_one_confirm_too_few(monkeypatch: Patch) -> None:
    """And confirms: one less, and shares may be erased that the correct ones need."""
    honest = settlement_module.settlement_quorum
    for module in (settlement_module, settling_module):
        monkeypatch.setattr(module, "settlement_quorum", lambda n: max(1, honest(n) - 1))
    catches("confirms,", act=_rotates)


def _forgets_its_lock(seed: int) -> None:
    """All lock and commit, but no commit vote of view 0 arrives; who coordinates view 1 proposes another transcript, fresh."""
    world = _founded(seed)
    session = world.next_boundary(spread=0.01)
    Byzantine(world, world.nodes[session.coordinator(1)], byzantine.always_fresh)
    lose_the_first_commits(world, session)
    world.run(10)


def test_a_lock_that_is_forgotten(monkeypatch: Patch) -> None:
    """Having committed to one transcript, nobody prepares another one without proof that this is safe."""
    monkeypatch.setattr(Agreement, "_lock_allows", lambda _self, _hash, _justified: True)
    catches("votes for two certificates", range(5), _forgets_its_lock)


def test_shares_combined_from_the_local_set_of_dealers(monkeypatch: Patch) -> None:
    """Whoever combines what *it* holds, and not what was agreed on, is off the certified polynomial."""

    def local(self: Exchange, _transcript: Transcript) -> Any:
        dealers = sorted(self._shares)
        return combine_shares(weights(dealers, self.source), [self._shares[d] for d in dealers])

    monkeypatch.setattr(Exchange, "combined_share", local)
    catches("off the certified vector", act=_rotates)


def test_a_share_erased_when_its_successor_is_only_certified(monkeypatch: Patch) -> None:
    """The old shares are what a network falls back on until enough hold their new ones."""
    honest = Operator._note_version

    def eager(self: Operator, transcript: Transcript, share: Any, *, settled: bool) -> None:
        del settled
        honest(self, transcript, share, settled=True)

    monkeypatch.setattr(Operator, "_note_version", eager)
    catches("erased before a higher version is settled", act=_rotates)


def test_polynomials_that_outlive_the_shares_they_determine(monkeypatch: Patch) -> None:
    """An erased share can be computed from the polynomial whose constant term it was."""
    monkeypatch.setattr(Operator, "_shred_below", lambda _self, _floor: [])
    catches("an erased share is still there: the polynomial", act=_rotates)


def test_nothing_is_ever_erased(monkeypatch: Patch) -> None:
    """Where nobody is faulty, a settled version leaves no share of an older one."""
    monkeypatch.setattr(Operator, "_erase_below", lambda _self, _floor: [])
    catches("did not erase what is older", act=_rotates)


def test_a_rotation_from_an_old_source(monkeypatch: Patch) -> None:
    """Dealing from the lowest version that is settled, instead of the highest, keeps its shares for ever."""

    def lowest(self: Operator) -> Any:
        settled = [v for v in self._versions.values() if v.settled]
        return min(settled, key=lambda v: v.transcript.version, default=None)

    monkeypatch.setattr(Operator, "source", property(lowest))
    catches("from an old source", act=_rotates)


def test_a_rotation_from_a_version_that_is_not_settled(monkeypatch: Patch) -> None:
    """A version that only some hold shares of is dealt from: it may be lost with them."""
    honest = Operator._sources_of

    def newest(self: Operator, session: Session) -> Any:
        certified = [
            v for v in self._versions.values() if v.transcript.boundary.number < session.boundary.number
        ]
        if not certified:
            return honest(self, session)
        return [self._held(max(certified, key=lambda v: v.transcript.version))]

    monkeypatch.setattr(Operator, "_sources_of", newest)
    catches("not settled", range(80), _rotates, likely=[65])


def _crashes_while_dealing(seed: int) -> None:
    """One operator crashes when the first step of its session becomes durable, and comes back."""
    world = _founded(seed)
    victim = next(iter(world.nodes.values()))
    victim.crash_after = victim.persisted + 2
    session = world.next_boundary(spread=0.01)
    world.run(1)
    if victim.operator is None:
        world.restart(victim)
    world.run(10, until=lambda: world.is_certified(session))


def test_sending_before_the_disk_has_it(monkeypatch: Patch) -> None:
    """A dealing that is sent first, and lost in a crash, is another one in the next life."""
    sends_first(monkeypatch)
    catches("said twice, differently", range(20), _crashes_while_dealing)


def _meets_a_wrong_constant(seed: int) -> None:
    """One holder deals something else than its share."""
    world = _founded(seed)
    Byzantine(world, world.nodes[world.sessions[-1].coordinator(2)], byzantine.wrong_constant)
    _rotated(world)


def _believes_any_constant(monkeypatch: Patch) -> None:
    honest = resharing_module.check_dealing

    def careless(*args: Any) -> None:
        try:
            honest(*args)
        except WrongConstantError:
            return

    monkeypatch.setattr(resharing_module, "check_dealing", careless)


def test_a_wrong_constant_term_that_is_accepted(monkeypatch: Patch) -> None:
    """What is proposed then has another master key, which nobody prepares: the rotation never comes."""
    _believes_any_constant(monkeypatch)
    catches("no rotation", range(3), _meets_a_wrong_constant)


def test_a_wrong_constant_term_in_a_master_key_that_nobody_compares(monkeypatch: Patch) -> None:
    """Without the second line of defence too, the key is lost, and the judge sees it before anybody has the new one."""
    _believes_any_constant(monkeypatch)
    monkeypatch.setattr(Agreement, "_is_of_this_kind", lambda _self, _transcript: True)
    catches("votes for two master keys", range(3), _meets_a_wrong_constant)


def _meets_conspirators(seed: int) -> None:
    """Two of seven, each of whom shows its fault to another victim."""
    world = _founded(seed, 7)
    liars = [Byzantine(world, node) for node in list(world.nodes.values())[:2]]
    byzantine.conspire(liars, list(world.nodes)[2:])
    _rotated(world)


def test_what_one_member_knows_divides_all(monkeypatch: Patch) -> None:
    """An operator that never prepares what it would not propose can be set against every other one."""
    honest = Exchange.supports
    monkeypatch.setattr(
        Exchange, "supports", lambda self, transcript, *, strictly: honest(self, transcript, strictly=True)
    )
    catches("no rotation", range(3), _meets_conspirators)


def _joins_again(monkeypatch: Patch) -> None:
    """Whoever comes back, or sees another block of the same number, joins its session whatever it did before."""
    at_genesis = Node._may_join

    def again(self: Node, operator: Operator, session: Session) -> bool:
        if not operator.has_source:
            return at_genesis(self, operator, session)
        return session.recipients.get(self.address) is not None and operator.ceremony(session.id) is None

    monkeypatch.setattr(Node, "_may_join", again)


def test_a_boundary_that_is_joined_twice(monkeypatch: Patch) -> None:
    """A session whose secrets are gone is not begun again with others."""
    _joins_again(monkeypatch)
    catches("joined twice", act=_rotates)


def _sees_two_blocks(seed: int) -> None:
    """The boundary's block is replaced by another one with its number while its session runs."""
    world = _founded(seed)
    world.next_boundary(spread=0.01)
    world.run(0.3)
    world.reorg_boundary(spread=0.01)
    world.run(5)


def test_two_votes_at_one_boundary_number(monkeypatch: Patch) -> None:
    """The judge of votes needs no judge of joining to see it."""
    honest = Operator.may_join
    _joins_again(monkeypatch)
    monkeypatch.setattr(Operator, "may_join", lambda self, session: self.has_source or honest(self, session))
    monkeypatch.setattr(Laws, "joins", lambda _self, _node, _session: None)
    catches("two votes at one boundary number", range(5), _sees_two_blocks)


def _is_told_a_lie(seed: int) -> None:
    """One missed a rotation that not all confirmed, and is told that it is settled, with a proof that was made up."""
    world = _founded(seed)
    away, other = list(world.nodes.values())[:2]
    away.crash()
    session = world.next_boundary(spread=0.01)
    assert world.run(10, until=lambda: world.version_of(other, session) is not None)
    world.restart(away)
    newest = other.disk.held[-1]
    truth = encode_settled(Epoch(newest.transcript, newest.certificate), None)
    lie = byzantine.forged(Byzantine(world, other), truth)
    assert lie is not None
    away.told_settled(lie)
    _rotated(world)


def test_a_settled_version_that_is_believed_without_a_proof(monkeypatch: Patch) -> None:
    """Whoever answers may have made up the proof that a version is settled."""
    monkeypatch.setattr(node_module, "check_settled", lambda _epoch, _proof: None)
    catches("settled by", range(10), _is_told_a_lie)


def test_evidence_that_loses_its_source(monkeypatch: Patch) -> None:
    """What a node holds against somebody is worth what is left of it when it was written down and read."""
    monkeypatch.setattr(bundle_module, "_read_source", lambda _transcript, _certificate: None)
    catches("evidence that convinces nobody", range(3), _meets_a_wrong_constant)
