"""The simulator can fail: each fault planted in the machines is caught by the law, or the promise, that it breaks."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from eigenkms.protocols.ceremony import early_frames, transcript_pool
from eigenkms.protocols.ceremony import forgeries as forgeries_module
from eigenkms.protocols.ceremony import frame_log as frame_log_module
from eigenkms.protocols.ceremony import holdings as holdings_module
from eigenkms.protocols.ceremony.base_versions import BaseVersions
from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.protocols.ceremony.dealing_pool import DealingPool
from eigenkms.protocols.ceremony.drafter import TranscriptDrafter
from eigenkms.protocols.ceremony.early_frames import EarlyFrames
from eigenkms.protocols.ceremony.effects import Broadcast, JournalRecord, KeepKey, Persist
from eigenkms.protocols.ceremony.forgeries import Forgeries
from eigenkms.protocols.ceremony.frame_log import FrameLog
from eigenkms.protocols.ceremony.genesis import GenesisSharingPhase
from eigenkms.protocols.ceremony.holdings import Holdings, KnownVersion
from eigenkms.protocols.ceremony.pacemaker import Pacemaker
from eigenkms.protocols.ceremony.participant import Participant, SessionEffect
from eigenkms.protocols.ceremony.sharing import SharingPhase
from eigenkms.protocols.ceremony.signer import SlotSigner
from eigenkms.protocols.ceremony.vote_lock import VoteLock
from eigenkms.protocols.ceremony.vote_pool import VotePool
from eigenkms.protocols.records import fault_proofs
from eigenkms.protocols.records.evidence import Fault
from eigenkms.types import OperatorAddress
from eigenkms.wire.dealing import claim_of
from eigenkms.wire.dealing_terms import DealingTerms
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import GENESIS
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import ListedKey
from eigenkms.wire.votes import Phase
from tests.sim import byzantine as b
from tests.sim.byzantine import Byzantine
from tests.sim.laws import Laws
from tests.sim.node import Node
from tests.sim.staging import (
    QUICK,
    founded,
    know,
    led_by_liars,
    lose_the_first_commits,
    nodes,
    rotated,
    split_by_a_late_newcomer,
    withhold_certificates,
)
from tests.sim.world import World

pytestmark = pytest.mark.slow

Patch = pytest.MonkeyPatch
FEW = range(3)


def catches(complaint: str, act: Callable[[int], None], seeds: Sequence[int] = FEW) -> None:
    """The story of some seed ends with ``complaint``; the rest may end otherwise."""
    for seed in seeds:
        try:
            act(seed)
        except AssertionError as error:
            if complaint in str(error):
                return
    pytest.fail(f"nobody noticed: {complaint}")


# -- directed stories ------------------------------------------------------------------------------------------


def _rotates(seed: int) -> None:
    world = founded(4, seed)
    for _ in range(2):
        rotated(world)


def _crashes_often(seed: int) -> None:
    """One operator crashes in the midst of each session, and comes back."""
    world = founded(4, seed)
    victim = nodes(world)[0]
    for after in (2, 4, 6):
        victim.crash_after = victim.persisted + after
        session = world.next_boundary(spread=0.01)
        world.run(1)
        if victim.operator is None:
            world.restart(victim)
        world.run(10, until=lambda s=session: world.is_shared(s))


def _loses_the_first_commits(seed: int) -> None:
    """All lock and commit, but no commit vote of view 0 arrives; who leads view 1 proposes another transcript, fresh."""
    world = founded(4, seed)
    session, leaders = led_by_liars(world, count=0)
    Byzantine(world, leaders[1], b.always_fresh)
    lose_the_first_commits(world, session)
    world.run(10)


def _leaves_a_view(seed: int) -> None:
    """An operator that saw no proposal leaves view 0, crashes, comes back, and then sees the proposal of view 0."""
    world = founded(4, seed)
    session, leaders = led_by_liars(world, count=0)
    victim = leaders[2]
    withheld = {FrameKind.PROPOSAL, FrameKind.CERTIFICATE, FrameKind.VOTE}
    world.holds_back = lambda frame, to: frame.kind in withheld and to == victim.address

    def has_left() -> bool:
        ceremony = victim.operator.ceremony(session.id)  # type: ignore[union-attr]
        return ceremony is not None and ceremony.view > 0

    assert world.run(5, until=has_left)
    victim.crash()
    world.restart(victim)
    withheld.remove(FrameKind.PROPOSAL)
    world.run(5)


def _withholds(seed: int) -> None:
    """All commit, nobody sees a certificate, and the next boundary comes."""
    world = founded(4, seed)
    session = world.next_boundary(spread=0.01)
    withhold_certificates(world, session, set())
    world.run(0.5)
    following = world.next_boundary(spread=0.01)
    world.run(10, until=lambda: world.is_shared(following))


def _drops_keys(seed: int) -> None:
    world = founded(4, seed)
    _, leaders = led_by_liars(world, b.leaves_keys_out)
    leaders[3].crash()
    world.run(5)


def _ages_keys(seed: int) -> None:
    world = founded(4, seed)
    rotated(world)
    led_by_liars(world, b.wrong_transcript(b.WRONG_TRANSCRIPTS["older numbers"]))
    world.run(5)


def _is_left_out(seed: int) -> None:
    """The first leader and dealer leaves a newcomer out, and waits for nobody."""
    world = founded(5, seed, members=4)
    session, _ = led_by_liars(world, b.counts_itself, poses=(b.without_newcomers, b.hastens))
    assert world.run(19, until=lambda: world.is_shared(session)), world.story("the newcomer has no share")


def _is_mostly_absent(seed: int) -> None:
    """Three newcomers of seven are absent."""
    world = founded(7, seed, members=4)
    for node in nodes(world)[4:]:
        node.crash()
    world.next_boundary(spread=0.01)
    world.run(10)


def _sees_two_blocks(seed: int) -> None:
    world = founded(4, seed)
    world.next_boundary(spread=0.01)
    world.run(0.3)
    world.reorg_boundary(spread=0.01)
    world.run(5)


def _recovers(seed: int) -> None:
    """All are restarted after a certificate that one of them missed."""
    world = founded(4, seed)
    away, *others = nodes(world)
    away.crash()
    session = world.next_boundary(spread=0.01)
    assert world.run(10, until=know(session, others)), world.story("no rotation")
    for node in others:
        node.crash()
        world.restart(node)
    world.restart(away)
    assert world.run(5, until=lambda: world.is_shared(session)), world.story("no rotation: not shared")


def _deals_wrongly(seed: int) -> None:
    world = founded(4, seed)
    session, _ = led_by_liars(world, poses=(b.wrong_constant,))
    assert world.run(10, until=lambda: world.is_shared(session)), world.story("no rotation")


def _is_flooded(seed: int) -> None:
    """The first leader says more than anybody may, in a session that does not end; the next boundary comes."""
    world = founded(4, seed)
    session, _ = led_by_liars(world, b.flood)
    withhold_certificates(world, session, set())
    world.run(10)
    world.next_boundary(spread=0.01)
    world.run(1)


def _is_forged(seed: int) -> None:
    """The first leader speaks in the names of others."""
    world = founded(4, seed)
    led_by_liars(world, b.forge)
    world.run(3)


def _deals_twice(seed: int) -> None:
    world = founded(4, seed)
    led_by_liars(world, b.two_dealings, poses=(b.remembers_jobs,))
    world.run(3)


def _goes_on(seed: int) -> None:
    world = founded(4, seed)
    for _ in range(8):
        rotated(world)


DIRECTED = (
    _rotates,
    _crashes_often,
    _loses_the_first_commits,
    _leaves_a_view,
    _withholds,
    _drops_keys,
    _ages_keys,
    _is_left_out,
    _is_mostly_absent,
    _sees_two_blocks,
    _recovers,
    _deals_wrongly,
    _is_flooded,
    _is_forged,
    _deals_twice,
    _goes_on,
)


@pytest.mark.parametrize("act", DIRECTED)
def test_the_directed_stories_are_clean_without_a_fault(act: Callable[[int], None]) -> None:
    """What they find below, they find because of the fault."""
    act(0)


# -- votes and words -------------------------------------------------------------------------------------------


def test_a_certificate_with_one_vote_too_few(monkeypatch: Patch) -> None:
    """The judge counts by its own arithmetic."""
    honest = VotePool.count
    monkeypatch.setattr(VotePool, "count", lambda self, ballot: honest(self, ballot) + 1)
    monkeypatch.setattr(transcript_pool, "check_certificate", lambda _certificate, _session: None)
    catches("needed", _rotates)


def test_frames_left_out_of_the_journal(monkeypatch: Patch) -> None:
    """Without its own words an operator says something else after a restart."""
    honest = SlotSigner.sign_once

    def forgetful(self: SlotSigner, *args: Any) -> list[Any]:
        return [effect for effect in honest(self, *args) if not isinstance(effect, Persist)]

    monkeypatch.setattr(SlotSigner, "sign_once", forgetful)
    catches("said twice, differently", _crashes_often)


def test_sending_before_the_disk_has_it(monkeypatch: Patch) -> None:
    """A step that is sent first, and lost in a crash, is another one in the next life."""
    honest = Node.carry_out

    def hasty(self: Node, effects: Sequence[SessionEffect]) -> None:
        for item in effects:
            if isinstance(item.effect, Broadcast):
                self.say(item.effect.frame)
        honest(self, effects)

    monkeypatch.setattr(Node, "carry_out", hasty)
    catches("that is not durable", _rotates)


def test_a_key_published_and_not_kept(monkeypatch: Patch) -> None:
    """What is dealt to it could be decrypted by nobody after a crash."""
    honest = Participant._join

    def forgetful(self: Participant, *args: Any, **options: Any) -> list[SessionEffect]:
        return [e for e in honest(self, *args, **options) if not isinstance(e.effect, KeepKey)]

    monkeypatch.setattr(Participant, "_join", forgetful)
    catches("an encryption key was published that is not durable", _rotates)


def test_a_lock_that_is_forgotten(monkeypatch: Patch) -> None:
    """Having committed to one transcript, nobody prepares another one of the session without proof that this is safe."""
    monkeypatch.setattr(VoteLock, "allows", lambda _self, _hash, _justified: True)
    catches("votes for two certificates", _loses_the_first_commits, range(8))


def test_a_view_forgotten_in_a_crash(monkeypatch: Patch) -> None:
    """Having entered a view, an operator votes in no lower one, in its next life either."""
    monkeypatch.setattr(Pacemaker, "restart", lambda _self, _view, _now: None)
    catches("after entering", _leaves_a_view, range(10))


def test_two_blocks_at_one_boundary_number(monkeypatch: Patch) -> None:
    """A boundary that is reorged into another with the same number is not voted in again."""
    honest = Node._may_join

    def again(self: Node, operator: Participant, session: Session) -> bool:
        if not operator.has_version:
            return honest(self, operator, session)
        return operator.ceremony(session.id) is None

    monkeypatch.setattr(Node, "_may_join", again)
    catches("joined twice", _sees_two_blocks)


def _prepares_before_a_reorg(seed: int) -> None:
    """All prepare in the session of a block, no vote arrives, and another block takes its place."""
    world = founded(4, seed)
    world.holds_back = lambda frame, _to: frame.kind is FrameKind.VOTE
    world.next_boundary(spread=0.01)
    world.run(0.3)
    world.reorg_boundary(spread=0.01)
    world.run(5)


def test_two_votes_at_one_boundary_number(monkeypatch: Patch) -> None:
    """The judge of votes needs no judge of joining to see it."""
    _prepares_before_a_reorg(0)
    monkeypatch.setattr(Node, "_may_join", lambda _self, operator, session: operator.may_join(session))
    monkeypatch.setattr(Participant, "may_join", lambda self, session: self.ceremony(session.id) is None)
    monkeypatch.setattr(Laws, "joins", lambda _self, _node, _session: None)
    catches("two votes at one boundary number", _prepares_before_a_reorg)


def test_an_honest_operator_accused(monkeypatch: Patch) -> None:
    """Whoever prepares and then commits says two things in one view, and may."""
    honest = FrameLog.add

    def careless(self: FrameLog, frame: Frame) -> tuple[Frame, Frame] | None:
        found = honest(self, frame)
        if found is None and frame.kind is FrameKind.VOTE:
            view, phase = frame.body[:2]
            first = self.get(frame.sender, (FrameKind.VOTE, view, int(Phase.PREPARE)))
            if first is not None and phase == Phase.COMMIT:
                return first, frame
        return found

    monkeypatch.setattr(FrameLog, "add", careless)
    catches("accuses an honest operator", _rotates)


def test_evidence_that_nobody_believes(monkeypatch: Patch) -> None:
    """What a node holds against somebody is worth what a third party makes of it."""

    def act(seed: int) -> None:
        world = founded(4, seed)
        led_by_liars(world, b.double_vote)
        world.run(5)
        assert world.accused(), "nobody is accused"

    act(0)
    proofs = {**fault_proofs._PROOFS, Fault.EQUIVOCATION: lambda _evidence, _session: False}
    monkeypatch.setattr(fault_proofs, "_PROOFS", proofs)
    catches("evidence that convinces nobody", act)


def test_a_second_genesis_beside_the_first(monkeypatch: Patch) -> None:
    """Bound to one genesis, an operator begins no other."""

    def act(seed: int) -> None:
        world = World(4, seed, faults=QUICK)
        session = world.next_boundary(spread=0.01)
        withhold_certificates(world, session, set())
        world.run(0.6)
        world.next_boundary(spread=0.01)
        world.run(3)

    act(0)
    monkeypatch.setattr(Participant, "binding_session", None)
    catches("while bound", act)


# -- no fork ---------------------------------------------------------------------------------------------------


def _forgets_what_was_prepared(monkeypatch: Patch) -> None:
    """The next session deals from the highest version that is known to be certified."""
    monkeypatch.setattr(Participant, "head", property(lambda self: self.certified))


def test_a_floor_that_is_forgotten_with_the_head(monkeypatch: Patch) -> None:
    """Two things keep a version that may have been certified from being forked: it is dealt from, and the lock on it."""
    _forgets_what_was_prepared(monkeypatch)
    monkeypatch.setattr(BaseVersions, "raise_floor", lambda _self, _version: None)
    honest = BaseVersions.__init__
    monkeypatch.setattr(
        BaseVersions, "__init__", lambda self, members, _floor: honest(self, members, GENESIS)
    )
    catches("two versions on different branches", _withholds)


def test_a_floor_that_holds_where_the_head_is_forgotten(monkeypatch: Patch) -> None:
    """The lock alone forks nothing either: the rotation does not come."""
    _forgets_what_was_prepared(monkeypatch)
    _withholds(0)


def test_the_first_of_two_transcripts_dealt_from(monkeypatch: Patch) -> None:
    """Of two that one session prepared, only the later one can be certified."""
    monkeypatch.setattr(KnownVersion, "rank", property(lambda self: (int(self.transcript.version),)))

    def act(seed: int) -> None:
        world = founded(4, seed)
        session, leaders = led_by_liars(world, count=0)
        Byzantine(world, leaders[1], b.always_fresh)

        def holds_back(frame: Frame, to: OperatorAddress) -> bool:
            return frame.kind is FrameKind.VOTE and frame.body[0] == 0 and to != leaders[2].address

        world.holds_back = holds_back
        assert world.run(10, until=know(session, leaders[2:]))
        for _ in range(2):
            world.next_boundary(spread=0.01)
            world.run(15)

    honest = Holdings._is_superseded
    monkeypatch.setattr(
        Holdings,
        "_is_superseded",
        lambda self, t: honest(self, t) and t.version < self.certified.transcript.version,
    )
    catches("keeps a share of an older version", act, range(5))


# -- what certified means --------------------------------------------------------------------------------------


def test_dealings_left_out_of_the_journal(monkeypatch: Patch) -> None:
    """A prepare vote says that the voter keeps what the version is made of."""
    monkeypatch.setattr(SharingPhase, "journal", lambda _self, _transcript: [])
    catches("lacks a dealing on disk", _rotates)


def test_a_prepare_vote_without_the_dealings(monkeypatch: Patch) -> None:
    """Who has not all dealings does not vote for what they make."""
    monkeypatch.setattr(SharingPhase, "holds", lambda _self, _transcript: True)
    monkeypatch.setattr(SharingPhase, "supports", lambda _self, _transcript, _keys, _now: True)

    def journal(self: SharingPhase, transcript: Any) -> list[Any]:
        kept = [known for d, _ in transcript.dealers if (known := self.get(d)) is not None]
        return [Persist(JournalRecord("dealing", known.frame.encoded)) for known in kept]

    monkeypatch.setattr(SharingPhase, "journal", journal)

    def act(seed: int) -> None:
        world = founded(4, seed)
        led_by_liars(world, poses=(b.serves_some,), count=1)
        world.run(5)

    catches("lacks a dealing on disk", act)


def test_a_version_that_serves_too_few(monkeypatch: Patch) -> None:
    """Those whom it leaves out count like faulty ones."""
    monkeypatch.setattr(DealingTerms, "served_needed", 1)
    catches("a vote for a transcript that serves", _is_mostly_absent)


def test_a_newcomer_that_is_left_out(monkeypatch: Patch) -> None:
    """A leader in haste leaves out who is there, if nobody minds."""
    honest = SharingPhase.supports

    def careless(self: SharingPhase, *args: Any) -> bool:
        with monkeypatch.context() as patch:
            patch.setattr(TranscriptDrafter, "_newcomers", ())
            return honest(self, *args)

    monkeypatch.setattr(SharingPhase, "supports", careless)
    catches("the newcomer has no share", _is_left_out)


def test_a_share_erased_when_its_successor_is_only_prepared(monkeypatch: Patch) -> None:
    """What is prepared may never be certified."""
    monkeypatch.setattr(Holdings, "certified", property(lambda self: self.head))
    catches("erased before a higher version is certified", _rotates)


def test_dealings_that_a_restart_forgets(monkeypatch: Patch) -> None:
    """A version of the past is needed to read the dealings that were made from it."""
    honest = Participant.restore

    def forgetful(self: Participant, session: Session, records: Any, *args: Any, **options: Any) -> Any:
        left = [r for r in records if r.kind != "source"]
        return honest(self, session, left or records, *args, **options)

    monkeypatch.setattr(Participant, "restore", forgetful)

    catches("a genesis dealing announced with a key in hand", _recovers)


def test_a_wrong_constant_that_is_accepted(monkeypatch: Patch) -> None:
    """What it makes has another master key, which nobody prepares."""
    constant = DealingTerms.constant
    monkeypatch.setattr(DealingTerms, "constant", lambda _self, _dealer: None)
    monkeypatch.setattr(
        DealingTerms,
        "claim",
        lambda self, header, encrypted: claim_of(
            header, encrypted, self.session.cluster, constant(self, header.dealer) and header.commitments[0]
        ),
    )
    catches("no rotation", _deals_wrongly)


# -- the life of keys ------------------------------------------------------------------------------------------


def test_a_key_erased_before_its_share_is_durable(monkeypatch: Patch) -> None:
    """The share of the newest version is encrypted to it."""
    honest = holdings_module.needed_numbers

    def hasty(held: Any, me: Any, version: Any, _used: Any, *, has_share: bool) -> frozenset[int]:
        del has_share
        return honest(held, me, version, None, has_share=True)

    monkeypatch.setattr(holdings_module, "needed_numbers", hasty)
    catches("its key 10 is gone", _rotates)


def test_a_listed_key_that_is_erased(monkeypatch: Patch) -> None:
    """An absent member's share of the next version is encrypted to the key that this one lists."""
    honest = holdings_module.needed_numbers

    def blind(held: Any, me: Any, version: Any, used: Any, *, has_share: bool) -> frozenset[int]:
        listed = version.key_of(me)
        kept = honest(held, me, version, used, has_share=has_share)
        return kept - ({listed.number} if listed is not None and has_share else set())

    monkeypatch.setattr(holdings_module, "needed_numbers", blind)
    catches("cannot get its share of the highest version", _rotates)


def test_keys_that_are_never_erased(monkeypatch: Patch) -> None:
    """With recorded dealings and the disk of a later day, they are the shares of every version."""
    monkeypatch.setattr(holdings_module, "needed_numbers", lambda held, *_args, **_options: frozenset(held))
    catches("that nothing needs", _rotates)


def test_shares_that_are_never_erased(monkeypatch: Patch) -> None:
    """A certified version leaves no share of an older one."""
    monkeypatch.setattr(Participant, "_erase", lambda _self: [])
    catches("keeps a share of an older version", _rotates)


def test_a_polynomial_that_outlives_its_dealing(monkeypatch: Patch) -> None:
    """All of them together are the master key."""
    monkeypatch.setattr(GenesisSharingPhase, "forget_secrets", lambda _self: [])
    catches("keeps a polynomial", _rotates)


def test_an_older_key_that_is_listed(monkeypatch: Patch) -> None:
    """It may be erased, and is no key of this session."""
    monkeypatch.setattr(TranscriptDrafter, "_keys_are_right", lambda _self, _transcript, _keys: True)
    catches("lists an older key than its source", _ages_keys)


def test_a_key_that_is_left_out(monkeypatch: Patch) -> None:
    """Its owner would be a newcomer to the next session, which serves it only if it is there."""
    honest = TranscriptDrafter._keys_are_right

    def forgiving(self: TranscriptDrafter, transcript: Any, keys: Any) -> bool:
        filled: list[ListedKey | None] = [
            key or self._terms.listed(a)
            for a, key in zip(transcript.recipients.addresses, transcript.keys, strict=True)
        ]
        return honest(self, replace(transcript, keys=tuple(filled)), keys)

    monkeypatch.setattr(TranscriptDrafter, "_keys_are_right", forgiving)
    catches("lists an older key than its source", _drops_keys)


def test_newcomers_that_are_counted_by_address(monkeypatch: Patch) -> None:
    """One that lies and comes late keeps those that were there in time from their shares."""
    monkeypatch.setattr(TranscriptDrafter, "_timely", frozenset())
    monkeypatch.setattr(
        TranscriptDrafter,
        "_keyed_at",
        property(lambda _self: {}, lambda _self, _moments: None),
        raising=False,
    )
    catches("newcomers have no share", split_by_a_late_newcomer)


def test_a_result_taken_in_the_wrong_session(monkeypatch: Patch) -> None:
    """A dealing that took longer than its session is none of the next one."""

    def act(seed: int) -> None:
        world = founded(4, seed)
        world.cpu = 0.5
        world.next_boundary(spread=0.01)
        world.run(0.2)
        world.cpu = 2.0
        session = world.next_boundary(spread=0.01)
        assert world.run(15, until=lambda: world.is_shared(session)), world.story("no rotation")

    honest = SharingPhase.take_deal_result
    monkeypatch.setattr(
        SharingPhase,
        "take_deal_result",
        lambda self, dealt: honest(
            self, replace(dealt, job=replace(dealt.job, context=self._context(self.me)))
        ),
    )
    catches("bad-dealing accuses an honest operator", act)


# -- evidence ----------------------------------------------------------------------------------------------------


def test_evidence_that_lacks_the_body(monkeypatch: Patch) -> None:
    """It convinces nobody who has nothing else."""
    honest = DealingPool.bar

    def bare(self: DealingPool, reason: str, *frames: Frame, body: bytes | None = None) -> Any:
        del body
        return honest(self, reason, *frames)

    monkeypatch.setattr(DealingPool, "bar", bare)

    def act(seed: int) -> None:
        world = founded(4, seed)
        led_by_liars(world, poses=(b.wrong_shares,))
        world.run(3)

    catches("evidence that convinces nobody", act)


def test_a_dealer_accused_of_a_header_that_keeps_the_terms(monkeypatch: Patch) -> None:
    """Whoever counts recipients in another way accuses everybody."""
    monkeypatch.setattr(DealingTerms, "served_needed", 5)
    catches("accuses an honest operator", _rotates)


def test_a_certificate_that_a_genesis_drops(monkeypatch: Patch) -> None:
    """An operator that began a genesis where the others rotated learns of the version all the same."""

    def act(seed: int) -> None:
        world = World(5, seed, faults=QUICK)
        newcomer, *others = nodes(world)
        first = world.next_boundary(spread=0.01, members=[n.address for n in others])
        assert world.run(10, until=lambda: world.is_shared(first))
        world.partition = lambda x, y: newcomer.address in (x, y)
        session = world.next_boundary(spread=0.01)
        assert world.run(10, until=know(session, others))
        world.partition = lambda _x, _y: False
        assert world.run(5, until=know(session, [newcomer])), world.story("no version")

    act(0)
    honest = Participant.adopt

    def drops(self: Participant, transcript: Any, certificate: Any, now: float) -> list[SessionEffect]:
        maker: Ceremony | None = self._ceremonies.get(transcript.session)
        if maker is not None and not maker.is_rotation:
            return []
        return honest(self, transcript, certificate, now)

    monkeypatch.setattr(Participant, "adopt", drops)
    catches("no version", act)


# -- budgets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "here"), [("MAX_EARLY_FRAMES", 16), ("MAX_EARLY_BYTES", 4096)])
def test_early_frames_without_bound(limit: str, here: int, monkeypatch: Patch) -> None:
    """Of boundaries that are not seen, so many frames of a sender are kept, and so many bytes; fewer here."""
    monkeypatch.setattr(early_frames, limit, here)
    _is_flooded(0)
    honest = EarlyFrames.has_room

    def careless(self: EarlyFrames, frame: Frame) -> bool:
        with monkeypatch.context() as patch:
            patch.setattr(early_frames, limit, 2**30)
            return honest(self, frame)

    monkeypatch.setattr(EarlyFrames, "has_room", careless)
    catches("early frames", _is_flooded)


def test_slots_without_bound(monkeypatch: Patch) -> None:
    """A sender's newer views displace its older ones."""
    monkeypatch.setattr(FrameLog, "_evict_old_views", lambda _self, _sender, _kind: None)
    catches("frames of one sender and session", _is_flooded)


def test_frames_without_end_from_one_sender(monkeypatch: Patch) -> None:
    """What displaces what it said before is verified as well, up to a bound, which is lower here."""
    monkeypatch.setattr(frame_log_module, "MAX_TAKEN", 30)
    _is_flooded(0)
    monkeypatch.setattr(FrameLog, "accepts", FrameLog._has_room)
    catches("signatures of one sender verified", _is_flooded)


def test_bad_signatures_without_end(monkeypatch: Patch) -> None:
    """Who hands them over pays for them, in whoever's name they are; the bound is lower here."""
    monkeypatch.setattr(forgeries_module, "MAX_FORGERIES", 6)
    _is_forged(0)
    monkeypatch.setattr(Forgeries, "is_spent", lambda _self, _source: False)
    catches("bad signatures of one source", _is_forged)


def test_a_dealer_without_a_slot(monkeypatch: Patch) -> None:
    """A second dealing convicts its dealer, and is not verified."""
    add, receive = FrameLog.add, SharingPhase.receive

    def adds(self: FrameLog, frame: Frame) -> tuple[Frame, Frame] | None:
        found = add(self, frame)
        if found is None or frame.kind is not FrameKind.DEALING:
            return found
        self._by_key[frame.key] = frame
        return None

    def receives(self: SharingPhase, frame: Frame) -> list[Any]:
        self._pool._by_dealer.pop(frame.sender, None)
        return receive(self, frame)

    monkeypatch.setattr(FrameLog, "add", adds)
    monkeypatch.setattr(SharingPhase, "receive", receives)
    catches("two dealings of one slot verified", _deals_twice)


def test_sessions_that_are_never_forgotten(monkeypatch: Patch) -> None:
    """What a sender may fill in one session, it may fill in all that are kept."""
    monkeypatch.setattr(Participant, "prune", lambda _self: [])
    catches("sessions", _goes_on)
