"""Each attack that docs/protocol.md names, as far as it concerns genesis, by as many liars as it tolerates.

The laws (tests/sim/laws.py) are checked at every step: one certificate, one key, no honest operator accused, every piece of
evidence checked by a third party. What is asserted here besides: who is accused of what, and whether a key comes of it. The
liars coordinate the first views. A faulty *dealer* means no key while all n must deal; with a lowered genesis quorum the
others go on without it.
"""

from dataclasses import dataclass

import pytest

from eigenkms.protocols.evidence import Fault
from eigenkms.protocols.frames import Kind
from eigenkms.types import OperatorAddress
from tests.sim import byzantine as b
from tests.sim.byzantine import Attack, Byzantine
from tests.sim.world import World


@dataclass(frozen=True)
class Case:
    """``faults`` are the accusations that must come, ``others`` those that may; ``key`` whether all n come to a key anyway."""

    attacks: tuple[Attack, ...]
    faults: frozenset[Fault] = frozenset()
    key: bool = True
    others: frozenset[Fault] = frozenset()


def _case(
    *attacks: Attack, faults: Fault | None = None, key: bool = True, others: Fault | None = None
) -> Case:
    return Case(
        attacks,
        frozenset() if faults is None else frozenset({faults}),
        key,
        frozenset() if others is None else frozenset({others}),
    )


BAD_DEALINGS = {
    "too few commitments": b.too_few_commitments,
    "too many commitments": b.too_many_commitments,
    "bad proof of knowledge": b.bad_proof,
    "no proof of knowledge": b.no_proof,
    "a commitment at infinity": b.infinite_commitment,
    "a commitment that is no point": b.garbage_commitment,
    "a dealing of another session": b.other_session_dealing,
    "a dealing that names a source": b.other_source_dealing,
    "copied C_0 and proof (rogue key)": b.copied_constant,
}
CASES: dict[str, Case] = {
    "silent": _case(b.silent, key=False),
    "no hash to some": _case(b.mute_to_some([Kind.HASH])),
    "no dealing to anybody": _case(b.mute([Kind.DEALING])),
    "no share to some": _case(b.mute_to_some([Kind.SHARE])),
    "no share and no answer": _case(b.mute([Kind.SHARE, Kind.ANSWER]), key=False),
    "wrong shares to some": _case(b.wrong_share, faults=Fault.BAD_SHARE),
    "shares of an unknown dealing": _case(b.foreign_share),
    "two dealings": _case(b.two_dealings, faults=Fault.EQUIVOCATION, others=Fault.BAD_DEALING, key=False),
    "two hashes": _case(b.two_hashes, faults=Fault.EQUIVOCATION, others=Fault.BAD_DEALING, key=False),
    "a dealing that is not the announced one": _case(b.hash_mismatch, faults=Fault.BAD_DEALING),
    "bytes that are no dealing": _case(b.not_a_dealing, faults=Fault.BAD_DEALING, key=False),
    "false complaints": _case(b.false_complaint),
    "false complaints, answers opened": _case(b.open_good_answers),
    "different complaints to different operators": _case(b.two_complaints, faults=Fault.EQUIVOCATION),
    "lying openings": _case(b.lying_openings, others=Fault.EQUIVOCATION),
    "bad answers": _case(b.mute_to_some([Kind.SHARE]), b.bad_answer, faults=Fault.BAD_ANSWER, key=False),
    "answers to other keys": _case(b.mute_to_some([Kind.SHARE]), b.answer_other_key, key=False),
    "answers with another dealing": _case(
        b.mute_to_some([Kind.SHARE]), b.answer_other_dealing, faults=Fault.BAD_DEALING, key=False
    ),
    "reports late for some": _case(b.late([Kind.REPORT], 2.0)),
    "silent coordinator": _case(b.mute([Kind.PROPOSAL])),
    "late coordinator": _case(b.late([Kind.PROPOSAL], 0.45)),
    "two transcripts": _case(b.two_transcripts, others=Fault.EQUIVOCATION),
    "a transcript or ∅": _case(b.transcript_or_void, others=Fault.EQUIVOCATION),
    "double votes": _case(b.double_vote, others=Fault.EQUIVOCATION),
    "split votes": _case(b.split_vote, others=Fault.EQUIVOCATION),
    "votes without a proposal": _case(b.eager_commit, others=Fault.EQUIVOCATION),
    "bad votes in good frames": _case(b.bad_vote, others=Fault.BAD_VOTE),
    "no votes": _case(b.mute([Kind.VOTE])),
    "votes held back": _case(b.late([Kind.VOTE], 0.7)),
    "votes to some": _case(b.mute_to_some([Kind.VOTE])),
    "a storm of view changes": _case(b.storm, others=Fault.EQUIVOCATION),
    "certificates that prove nothing": _case(b.forged_certificates, others=Fault.EQUIVOCATION),
    "a flood": _case(b.flood),
    "frames for elsewhere": _case(b.misdirected),
    "replays": _case(b.replay),
}
CASES |= {
    name: _case(b.bad_dealing(change), faults=Fault.BAD_DEALING, key=False)
    for name, change in BAD_DEALINGS.items()
}
CASES |= {
    f"a transcript with {name}": _case(b.wrong_transcript(change))
    for name, change in b.WRONG_TRANSCRIPTS.items()
}


def _attacked(n: int, quorum: int, case: Case, seed: int) -> tuple[World, set[OperatorAddress]]:
    """A world in its first session, the first coordinators of which are liars."""
    world = World(n, seed, quorum=quorum)
    session = world.next_boundary()
    liars = session.coordinators[: (n - 1) // 3]
    for liar in liars:
        Byzantine(world, world.nodes[liar], *case.attacks)
    return world, set(liars)


@pytest.mark.parametrize("name", CASES)
def test_all_must_deal(name: str) -> None:
    """A faulty dealer means no key, anything else costs time only; the liar and nobody else is accused."""
    case = CASES[name]
    world, liars = _attacked(4, 0, case, seed=4)
    for _ in range(2):
        if world.run(9, until=world.all_hold_shares):
            break
        world.next_boundary()
    assert bool(world.certified()) == case.key, world.story("certified" if world.certified() else "no key")
    assert not case.key or world.all_hold_shares(), world.story("a correct operator has no share")
    _check_accusations(world, liars, case)


@pytest.mark.parametrize("n", [4, 7])
@pytest.mark.parametrize("name", CASES)
def test_a_lowered_quorum_goes_on_without_the_liars(n: int, name: str) -> None:
    """N − f dealers are enough: the others come to a key in the first session whatever the liars do."""
    case = CASES[name]
    world, liars = _attacked(n, n - (n - 1) // 3, case, seed=n)
    assert world.run(20, until=world.all_certified), world.story("no key")
    _check_accusations(world, liars, case)


def _check_accusations(world: World, liars: set[OperatorAddress], case: Case) -> None:
    accused = world.accused()
    assert set(accused) <= liars
    for liar in liars if case.faults else ():
        assert case.faults <= accused.get(liar, set()), world.story("a liar got away")
    for faults in accused.values():
        assert faults <= case.faults | case.others, world.story(f"accused of {faults}")
