"""One random story of protocol 2 from one seed; its plots and troubles are those of protocol 1 (tests/sim/story.py).

What is promised at the end: in a healed network in which fewer than a third of the members are faulty, within a few boundaries all
correct members know a version that was certified, with their shares of it, newcomers too; nobody keeps a share of an older one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

from eigenkms.protocols.session import Session
from tests.sim.story import INTERVAL, PATIENCE
from tests.sim.story import Ending as BaseEnding
from tests.sim.story import Story as BaseStory
from tests.sim.v2.byzantine import POSES, RANDOM_ATTACKS, random_liar
from tests.sim.v2.node import Node
from tests.sim.v2.world import World


@dataclass(frozen=True)
class Ending(BaseEnding):
    """``settled`` counts certified versions, ``keys`` the keys that were erased, ``lost`` is 1 if too few could have shares."""

    keys: int
    lost: int


class Story(BaseStory):
    """``tell`` runs it; a broken law or promise is an ``AssertionError`` that names the seed."""

    world_type = World
    sizes: ClassVar[Sequence[int]] = (1, 2, 3, 3, 4, 4, 4, 4, 4, 4, 5, 5, 6, 7, 7, 7, 10)
    world: World

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.is_lost = False
        """Whether members that were left out and faulty ones were too many for any promise."""
        self.world.cpu = self.random.choice([0.005, 0.02, 0.02, 0.2])

    def _ending(self) -> Ending:
        nodes = self.world.correct()
        versions = [version for node in nodes for version in node.disk.versions.values()]
        return Ending(
            plot=self.plot,
            n=len(self.addresses),
            liars=len(self.liars),
            versions=len(versions),
            settled=sum(version.is_certified for version in versions),
            erased=sum(version.erased for version in versions),
            closed=sum(len(node.disk.closed) for node in nodes),
            evidence=len(self.world.evidence()),
            crashes=sum(node.crashes for node in nodes),
            lost_disks=sum(node.has_lost_disk for node in nodes),
            events=self.world.events,
            keys=sum(len(node.disk.destroyed_keys) for node in nodes),
            lost=self.is_lost,
        )

    def _choose_liars(self, count: int) -> None:
        among = sorted(self.faulty) if self.faulty else self.addresses
        chosen = self.random.sample(among, min(count, len(among)))
        self.faulty |= frozenset(chosen)
        for address in chosen:
            attacks = self.random.sample(RANDOM_ATTACKS, self.random.randint(0, 3))
            poses = self.random.sample(POSES, self.random.randint(0 if attacks else 1, 2))
            self.liars.append(random_liar(self.world, self.world.node(address), attacks, poses))

    def _bound(self) -> list[Node]:  # type: ignore[override]
        return cast("list[Node]", super()._bound())

    def _rotates(self) -> None:
        """Within a few boundaries all correct members have their shares of a certified version."""
        world = self.world
        if world.is_orphaned:
            return  # nobody who comes later can check the version that is dealt from
        for _ in range(PATIENCE):
            session = world.next_boundary(members=self.members)
            if world.laws.is_out_of_reach:
                self.is_lost = True
                return
            if world.run(INTERVAL, until=lambda s=session: world.is_shared(s)):
                break
        else:
            raise AssertionError(world.story("no rotation in a healed network"))
        self._erases(session)

    def _holding_older(self, session: Session) -> list[Node]:  # type: ignore[override]
        return cast("list[Node]", super()._holding_older(session))
