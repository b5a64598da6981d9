"""Liars are convicted of what they signed, and in an honest network nobody is accused of anything.

Each accusation is held against its bytes by the laws (``Laws.accuses``): it convinces whoever has nothing else.
"""

import pytest

from eigenkms.protocols.records.evidence import Fault
from tests.sim import byzantine as b
from tests.sim.byzantine import Attack, Pose
from tests.sim.staging import QUICK, founded, led_by_liars, nodes
from tests.sim.world import Faults, World

LIES: dict[str, tuple[tuple[Attack, ...], tuple[Pose, ...], Fault]] = {
    "two dealings": ((b.two_dealings,), (b.remembers_jobs,), Fault.EQUIVOCATION),
    "two keys": ((b.two_keys,), (), Fault.EQUIVOCATION),
    "two transcripts": ((b.two_transcripts,), (), Fault.EQUIVOCATION),
    "votes for two": ((b.double_vote,), (), Fault.EQUIVOCATION),
    "a key without proof": ((b.unproved_key,), (), Fault.BAD_KEY),
    "wrong shares": ((), (b.wrong_shares,), Fault.BAD_DEALING),
    "another secret": ((), (b.wrong_constant,), Fault.BAD_DEALING),
    "a header": ((b.bad_header(b.BAD_HEADERS["other numbers"]),), (), Fault.BAD_DEALING),
    "garbage for a commitment": (
        (b.bad_header(b.BAD_HEADERS["garbage for a commitment"]),),
        (),
        Fault.BAD_DEALING,
    ),
    "bad votes": ((b.bad_vote,), (), Fault.BAD_VOTE),
    "a transcript": (
        (b.wrong_transcript(b.WRONG_TRANSCRIPTS["MPK is not A_0"]),),
        (),
        Fault.BAD_PROPOSAL,
    ),
    "forged certificates": ((b.forged_certificates,), (), Fault.BAD_CERTIFICATE),
}


@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES)
def test_a_liar_is_convicted(lie: str) -> None:
    """Of its fault, by somebody correct, in a rotation that it leads; and nobody else of anything. Two frames in one slot show it
    once one operator hears both, so not in each story.
    """
    attacks, poses, fault = LIES[lie]
    found = set()
    for seed in range(4):
        world = founded(4, seed)
        _, (liar, *_) = led_by_liars(world, *attacks, poses=poses)
        world.run(5)
        assert set(world.accused()) <= {liar.address}
        found |= world.accused().get(liar.address, set())
    assert fault in found


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 4, 7])
def test_nobody_is_accused_in_an_honest_network_however_bad_it_is(n: int) -> None:
    """Frames are lost, doubled and overtaken, operators crash in the midst of steps, boundaries come early, blocks change."""
    for seed in range(3):
        world = World(n, seed, faults=Faults(loss=0.15, duplicate=0.2, max_delay=0.4, sync_seconds=0.3))
        for round_ in range(4):
            victim = nodes(world)[(seed + round_) % n]
            victim.crash_after = victim.persisted + 3 + round_
            world.next_boundary(spread=0.5)
            world.run(2.5)
            if victim.operator is None:
                world.restart(victim)
            if round_ == 2:
                world.reorg_boundary(spread=0.5)
            world.run(2.5)
        assert world.accused() == {}
        assert any(node.disk.versions for node in nodes(world)), "something was signed"


def test_a_restored_disk_accuses_nobody_and_is_not_accused() -> None:
    """It falls silent where it may have spoken."""
    world = World(4, 1, faults=QUICK)
    world.next_boundary(spread=0.01)
    world.run(3)
    victim = nodes(world)[0]
    victim.back_up()
    world.next_boundary(spread=0.01)
    world.run(1)
    victim.lose_disk()
    world.restart(victim)
    world.run(3)
    assert world.accused() == {}
