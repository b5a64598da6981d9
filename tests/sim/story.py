"""One random story from one seed: a network, its troubles, its liars, and what must be true at the end.

Troubles come first: messages are lost, doubled and delayed, operators crash at random persistence points and in the midst of
sending, partitions come and go, clocks are wrong, boundaries are seen late, never, or in two versions, operators join the set.
The laws (laws.py) are checked all along. Then everything heals, and what docs/protocol.md promises of a healed network must
come true.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from eigenkms.crypto.scalars import threshold
from eigenkms.protocols.session import Session
from eigenkms.types import OperatorAddress
from tests.sim.byzantine import RANDOM_ATTACKS, Byzantine
from tests.sim.clock import Skew
from tests.sim.world import Faults, Node, World

SIZES = (1, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 5, 5, 6, 7, 7, 7, 8, 9, 10, 11, 12, 13)


@dataclass
class Ending:
    """What a story came to."""

    n: int
    liars: int
    certified: int
    closed: int
    crashes: int
    events: int

    def counts(self) -> dict[str, int]:
        """What can be added up over many stories."""
        return {
            "liars": self.liars,
            "certified": self.certified,
            "closed without a key": self.closed,
            "crashes": self.crashes,
            "events": self.events,
        }


class Story:
    """``tell`` runs it; a broken law or promise is an ``AssertionError`` that names the seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(f"story {seed}")
        n = self.random.choice(SIZES)
        quorum = self.random.choice([0, 0, 0, self.random.randint(threshold(n), n)])
        self.world = World(n, seed, faults=self._faults(), quorum=quorum)
        self.quorum = quorum
        addresses = list(self.world.nodes)
        self.grows = grows = not quorum and self.random.random() < 0.15
        self.members = self.random.sample(addresses, self.random.randint(1, n)) if grows else addresses
        liars = self.random.choice([0, 1, (n - 1) // 3]) if n > 3 and not grows else 0
        self.liars = [
            Byzantine(self.world, node, *self.random.sample(RANDOM_ATTACKS, self.random.randint(1, 3)))
            for node in self.random.sample(list(self.world.nodes.values()), min(liars, (n - 1) // 3))
        ]

    def _faults(self) -> Faults:
        r = self.random
        return Faults(
            loss=r.choice([0, 0.05, 0.2, 0.35]),
            duplicate=r.choice([0, 0.2]),
            max_delay=r.choice([0.02, 0.1, 0.4]),
            sync_seconds=r.choice([0.25, 0.6]),
            skew=r.choice([Skew(), Skew(), Skew(0.001, 0.5), Skew(0.1, 5.0)]),
        )

    def tell(self) -> Ending:
        if self.random.random() < 0.3:
            self._chains()
        for _ in range(self.random.randint(1, 4)):
            self._boundary()
            for _ in range(self.random.randint(1, 8)):
                self._trouble()
                self.world.run(self.random.choice([0.05, 0.2, 0.7, 2.0, 4.0]))
        self._heal()
        self._come_true()
        world = self.world
        return Ending(
            len(world.nodes),
            len(self.liars),
            len(world.certified()),
            sum(len(node.disk.closed) for node in world.nodes.values()),
            sum(node.crashes for node in world.nodes.values()),
            world.events,
        )

    # -- troubles ----------------------------------------------------------------------------------------------

    def _boundary(self) -> None:
        addresses = list(self.world.nodes)
        only = None
        if self.random.random() < 0.15:
            only = self.random.sample(addresses, self.random.randint(1, len(addresses)))
        newcomers = [a for a in addresses if a not in self.members]
        self.members = self.members + newcomers[: self.random.randint(0, len(newcomers))]
        spread = self.random.choice([0.05, 0.3, 1.5])
        forks = self.random.random() < 0.15
        if forks:  # some see another block first, or it alone
            orphaned = self.random.sample(addresses, self.random.randint(1, len(addresses)))
            self.world.next_boundary(only=orphaned, spread=spread, members=self.members)
            self.world.reorg_boundary(only=only, spread=spread, members=self.members)
        else:
            self.world.next_boundary(only=only, spread=spread, members=self.members)

    def _chains(self) -> None:
        """Some chains lag behind, some show nothing for a while."""
        for node in self.world.nodes.values():
            node.chain_lag = self.random.choice([0.0, 0.0, 0.0, 0.5, 2.0])
            node.sees_chain = self.random.random() < 0.95

    def _trouble(self) -> None:
        node = self.random.choice(list(self.world.nodes.values()))
        match self.random.randrange(8):
            case 0:
                node.crash_after = node.persisted + self.random.randint(1, 10)
            case 1:
                node.crash_after_sending = self.random.randint(1, 3 * len(self.world.nodes))
            case 2 if node.operator is not None:
                node.crash()
            case 3:
                self._restart(self.random.random() < 0.5)
            case 4:
                self._partition()
            case 5 | 6:
                self.world.partition = lambda _a, _b: False
                self._restart(everybody=False)
            case _:
                pass

    def _restart(self, everybody: bool) -> None:
        down = [node for node in self.world.nodes.values() if node.operator is None]
        for node in down if everybody else down[:1]:
            self.world.restart(node)

    def _partition(self) -> None:
        island = frozenset(self._sample())
        if self.random.random() < 0.3:
            self.world.partition = lambda a, b: a in island and b not in island  # heard by nobody, hears all
        else:
            self.world.partition = lambda a, b: (a in island) != (b in island)

    def _sample(self) -> Sequence[OperatorAddress]:
        addresses = list(self.world.nodes)
        return self.random.sample(addresses, self.random.randint(0, len(addresses)))

    # -- the end -----------------------------------------------------------------------------------------------

    def _heal(self) -> None:
        world = self.world
        world.partition = lambda _a, _b: False
        world.faults = replace(world.faults, loss=self.random.choice([0, 0.1]), duplicate=0.0, max_delay=0.05)
        for node in world.nodes.values():
            node.crash_after = node.crash_after_sending = None
            node.chain_lag, node.sees_chain = 0.0, True
            if node.operator is None:
                world.restart(node)

    def _come_true(self) -> None:
        """All correct: a key, and everybody's share of it. With liars: nobody stays bound to a session left behind that enough
        correct operators were in.
        """
        world = self.world
        if not self.liars:
            everybody = not self.quorum and not self.grows
            self._until(world.all_hold_shares if everybody else self._has_key, "no key in the end")
        else:
            world.next_boundary()
            self._until(lambda: not self._bound(), "somebody stays bound to an old session", new=False)

    def _until(self, holds, complaint: str, *, new: bool = True) -> None:  # type: ignore[no-untyped-def]
        for _ in range(12):
            if new:
                self.world.next_boundary()
            if self.world.run(25, until=holds):
                return
        raise AssertionError(self.world.story(complaint))

    def _has_key(self) -> bool:
        """Somebody may have missed the boundary of the key, or joined the set later; all who were there must have it."""
        decided = {v.transcript.session for n in self.world.certified() for v in n.disk.held}
        there = [node for node in self.world.nodes.values() if decided & set(node.disk.sessions)]
        return bool(decided) and all(node.disk.versions for node in there)

    def _bound(self) -> list[Node]:
        newest = self.world.sessions[-1].boundary.number
        return [
            node
            for node in self.world.correct()
            if node.operator is not None
            and (session := node.operator.binding) is not None
            and session.boundary.number < newest
            and self._were_in(session) >= session.threshold
        ]

    def _were_in(self, session: Session) -> int:
        return sum(1 for node in self.world.correct() if session.id in node.disk.sessions)


def tell(seed: int) -> Ending:
    return Story(seed).tell()
