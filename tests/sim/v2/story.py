"""One random story of protocol 2 from one seed; its plots and troubles are those of protocol 1 (tests/sim/story.py).

What is promised at the end: in a healed network in which fewer than a third of the members are faulty, within a few boundaries all
correct members know a version that was certified, with their shares of it, newcomers too; nobody keeps a share of an older one.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.session import Session
from eigenkms.types import OperatorAddress
from tests.sim.story import INTERVAL, PATIENCE
from tests.sim.story import Ending as BaseEnding
from tests.sim.story import Story as BaseStory
from tests.sim.v2.byzantine import DIVIDING_ATTACKS, DIVIDING_POSES, POSES, RANDOM_ATTACKS, random_liar
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
    sizes: ClassVar[Sequence[int]] = (1, 2, 3, 3, 4, 4, 4, 4, 4, 4, 5, 5, 6, 7, 7, 7, 8)
    world: World

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.is_lost = False
        """Whether members that were left out and faulty ones were too many for any promise."""
        apart = random.Random(f"{seed}/siege")
        self.is_siege = apart.random() < 0.3 and len(self.addresses) >= 4 and not self.quorum
        self.world.cpu = self.random.choice([0.005, 0.02, 0.02, 0.2])

    def tell(self) -> Ending:
        if not self.is_siege:
            return cast("Ending", super().tell())
        self.plot = "siege"
        self._tell_siege()
        return self._ending()

    def _tell_siege(self) -> None:
        """As many liars as may be try to divide the others, who are all members and keep their disks. Sessions are short, and of
        the votes and certificates of each some never arrive at some.
        """
        world, r = self.world, self.random
        self._found()
        self.faulty = frozenset(r.sample(self.addresses, (len(self.addresses) - 1) // 3))
        for address in sorted(self.faulty):
            attacks, poses = (
                r.sample(DIVIDING_ATTACKS, r.randint(1, 3)),
                r.sample(DIVIDING_POSES, r.randint(0, 2)),
            )
            self.liars.append(random_liar(world, world.node(address), attacks, poses))
        world.faults = replace(self._faults(), loss=0.0)
        for _ in range(r.randint(2, 6)):
            self._withhold(r.choice([0.0, 0.3, 0.6, 0.9]))
            world.next_boundary(spread=r.choice([0.05, 0.3, 1.0]))
            for _ in range(r.randint(1, 4)):
                world.run(r.choice([0.1, 0.3, 0.7, 1.5]))
                if r.random() < 0.3:
                    self._trouble()
        world.holds_back = lambda _frame, _to: False
        self._heal()
        self._rotates()

    def _withhold(self, share: float) -> None:
        """From now on so many of all votes and certificates do not arrive, the same ones whoever repeats them."""
        salt = self.random.randbytes(8)

        def holds_back(frame: Frame, to: OperatorAddress) -> bool:
            if frame.kind not in (Kind.VOTE, Kind.CERTIFICATE):
                return False
            what = frame.body[:2] if frame.kind is Kind.VOTE else []
            drawn = hashlib.sha256(salt + frame.session + to + repr((frame.sender, what)).encode()).digest()
            return drawn[0] < share * 256

        self.world.holds_back = holds_back

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
