"""One random story from one seed: a network, its troubles, its liars, and what must be true at the end.

A story is of a *genesis* in trouble from the first moment; or of *rotation*: a key is made in peace, then boundary follows boundary
in trouble, while operators join and leave the set; or of a *siege*: as many liars as may be try to divide the others. Troubles:
messages are lost, doubled and delayed, operators crash at random persistence points and in the midst of sending, partitions come
and go, clocks are wrong, processors slow, boundaries are seen late, never, or in two versions, a disk is lost. The laws (laws.py)
are checked all along. Then everything heals, and what is promised of a healed network must come true. If fewer than a third of the
members are faulty, all correct members know a certified version within a few boundaries, with their shares of it. Newcomers do too,
and nobody keeps a share of an older one.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from eigenkms.crypto.scalars import threshold
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.session import Session
from tests.sim.byzantine import (
    DIVIDING_ATTACKS,
    DIVIDING_POSES,
    POSES,
    RANDOM_ATTACKS,
    Byzantine,
    random_liar,
)
from tests.sim.clock import Skew
from tests.sim.node import Node
from tests.sim.world import Faults, World

SIZES = (1, 2, 3, 3, 4, 4, 4, 4, 4, 4, 5, 5, 6, 7, 7, 7, 8)
INTERVAL = 20.0
"""Seconds between two boundaries once all is healed: 20 windows of a second."""
PATIENCE = 6
"""Boundaries within which a healed network does what is promised of it."""


@dataclass(frozen=True)
class Ending:
    """What a story came to. ``n``: operators in it; ``versions``, ``certified``, ``erased`` count those of all correct ones.

    ``keys`` counts the keys that they erased; ``lost`` is 1 if too few could have shares.
    """

    plot: str
    n: int
    liars: int
    versions: int
    certified: int
    erased: int
    closed: int
    evidence: int
    crashes: int
    lost_disks: int
    events: int
    keys: int
    lost: int

    def counts(self) -> dict[str, int]:
        """What can be added up over many stories."""
        return {name: value for name, value in vars(self).items() if name not in ("plot", "n")}


class Story:
    """``tell`` runs it; a broken law or promise is an ``AssertionError`` that names the seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(f"story {seed}")
        n = self.random.choice(SIZES)
        self.plot = self.random.choice(["genesis", "rotation", "rotation"])
        lowered = self.random.random() < (0.25 if self.plot == "genesis" else 0.1)
        self.quorum = self.random.randint(threshold(n), n) if lowered else 0
        self.world = World(n, seed, quorum=self.quorum)
        self.addresses = list(self.world.nodes)
        self.members: Sequence[OperatorAddress] = self.addresses
        self.grows = self.plot == "genesis" and not self.quorum and self.random.random() < 0.15
        self.faulty: frozenset[OperatorAddress] = frozenset()
        """Liars, and those whose disks may be lost: fewer than a third of every set."""
        self.liars: list[Byzantine] = []
        self.is_lost = False
        """Whether members that were left out and faulty ones were too many for any promise."""
        apart = random.Random(f"{seed}/siege")
        self.is_siege = apart.random() < 0.3 and len(self.addresses) >= 4 and not self.quorum
        self.world.cpu = self.random.choice([0.005, 0.02, 0.02, 0.2])

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
        if self.is_siege:
            self.plot = "siege"
            self._tell_siege()
        elif self.plot == "genesis":
            self._tell_genesis()
        else:
            self._tell_rotation()
        return self._ending()

    def _ending(self) -> Ending:
        nodes = self.world.correct()
        for node in nodes:
            self.world.laws.keeps_budgets(node)
        versions = [version for node in nodes for version in node.disk.versions.values()]
        return Ending(
            plot=self.plot,
            n=len(self.addresses),
            liars=len(self.liars),
            versions=len(versions),
            certified=sum(version.is_certified for version in versions),
            erased=sum(version.erased for version in versions),
            closed=sum(len(node.disk.closed) for node in nodes),
            evidence=len(self.world.evidence()),
            crashes=sum(node.crashes for node in nodes),
            lost_disks=sum(node.has_lost_disk for node in nodes),
            events=self.world.events,
            keys=sum(len(node.disk.destroyed_keys) for node in nodes),
            lost=int(self.is_lost),
        )

    # -- the plots -----------------------------------------------------------------------------------------------

    def _tell_genesis(self) -> None:
        if self.grows:
            self.members = self.random.sample(self.addresses, self.random.randint(1, len(self.addresses)))
        elif len(self.addresses) > 3:
            self._choose_liars(self.random.choice([0, 1, (len(self.addresses) - 1) // 3]))
        self._begin_troubles()
        for _ in range(self.random.randint(1, 4)):
            newcomers = [a for a in self.addresses if a not in self.members]
            self.members = [*self.members, *newcomers[: self.random.randint(0, len(newcomers))]]
            self._boundary()
            self._trouble_times(self.random.randint(1, 8))
        self._heal()
        if self.liars:
            self.world.next_boundary()
            self._until(lambda: not self._bound(), "somebody stays bound to an old session", new=False)
        else:
            everybody = not self.quorum and not self.grows
            self._until(
                self.world.all_hold_shares if everybody else self._has_key, "no key in the end", new=True
            )

    def _tell_rotation(self) -> None:
        n = len(self.addresses)
        changes = not self.quorum and self.random.random() < 0.6
        self.members = self._some_members(1, n) if changes else self.addresses
        self._found()
        faulty = self.random.choice([0, 0, 1, (n - 1) // 3])
        self.faulty = frozenset(self.random.sample(self.addresses, min(faulty, (n - 1) // 3)))
        if not self._bears(self.members):
            self.faulty = frozenset()
        if self.random.random() < 0.8:
            self._choose_liars(self.random.randint(0, len(self.faulty)))
        self._begin_troubles()
        pace = self.random.choice([1, 2, n])
        for _ in range(self.random.randint(1, 6)):
            if changes:
                self._change_members(pace)
            self._boundary()
            self._trouble_times(self.random.randint(1, 10))
        self._heal()
        self._rotates()

    def _tell_siege(self) -> None:
        """As many liars as may be try to divide the others, who are all members and keep their disks. Sessions are short, and of
        the votes and certificates of each some never arrive at some.
        """
        world, r = self.world, self.random
        self._found()
        self.faulty = frozenset(r.sample(self.addresses, (len(self.addresses) - 1) // 3))
        for address in sorted(self.faulty):
            attacks = r.sample(DIVIDING_ATTACKS, r.randint(1, 3))
            poses = r.sample(DIVIDING_POSES, r.randint(0, 2))
            self.liars.append(random_liar(world, world.nodes[address], attacks, poses))
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
            if frame.kind not in (FrameKind.VOTE, FrameKind.CERTIFICATE):
                return False
            what = frame.body[:2] if frame.kind is FrameKind.VOTE else []
            drawn = hashlib.sha256(salt + frame.session + to + repr((frame.sender, what)).encode()).digest()
            return drawn[0] < share * 256

        self.world.holds_back = holds_back

    def _found(self) -> None:
        """A key, in peace."""
        world = self.world
        session = world.next_boundary(members=self.members)
        world.run(INTERVAL, until=lambda: world.is_shared(session))
        assert world.is_shared(session), world.story("no key in peace")

    # -- who is in the set ---------------------------------------------------------------------------------------

    def _choose_liars(self, count: int) -> None:
        among = sorted(self.faulty) if self.faulty else self.addresses
        chosen = self.random.sample(among, min(count, len(among)))
        self.faulty |= frozenset(chosen)
        for address in chosen:
            attacks = self.random.sample(RANDOM_ATTACKS, self.random.randint(0, 3))
            poses = self.random.sample(POSES, self.random.randint(0 if attacks else 1, 2))
            self.liars.append(random_liar(self.world, self.world.nodes[address], attacks, poses))

    def _bears(self, members: Sequence[OperatorAddress]) -> bool:
        """Whether fewer than a third of them are faulty."""
        return 3 * len(self.faulty & set(members)) < len(members)

    def _some_members(self, least: int, most: int) -> list[OperatorAddress]:
        return self.random.sample(self.addresses, self.random.randint(least, most))

    def _change_members(self, pace: int) -> None:
        """Some leave, some join; at times nearly all."""
        present, absent = list(self.members), [a for a in self.addresses if a not in self.members]
        leaving = self.random.sample(present, min(len(present), self.random.randint(0, pace)))
        joining = self.random.sample(absent, min(len(absent), self.random.randint(0, pace)))
        members = [a for a in present if a not in leaving] + joining
        if members and self._bears(members):
            self.members = members

    # -- troubles ------------------------------------------------------------------------------------------------

    def _begin_troubles(self) -> None:
        self.world.faults = self._faults()
        if self.random.random() < 0.3:
            for node in self.world.nodes.values():
                node.chain_lag = self.random.choice([0.0, 0.0, 0.0, 0.5, 2.0])
                node.sees_chain = self.random.random() < 0.95

    def _boundary(self) -> None:
        only = None
        if self.random.random() < 0.15:
            only = self.random.sample(self.addresses, self.random.randint(1, len(self.addresses)))
        spread = self.random.choice([0.05, 0.3, 1.5])
        if self.random.random() < 0.15:  # some see another block first, or it alone
            orphaned = self.random.sample(self.addresses, self.random.randint(1, len(self.addresses)))
            self.world.next_boundary(only=orphaned, spread=spread, members=self.members)
            self.world.reorg_boundary(only=only, spread=spread, members=self.members)
        else:
            self.world.next_boundary(only=only, spread=spread, members=self.members)

    def _trouble_times(self, count: int) -> None:
        for _ in range(count):
            self._trouble()
            self.world.run(self.random.choice([0.05, 0.2, 0.7, 2.0, 4.0]))

    def _trouble(self) -> None:
        node = self.random.choice(list(self.world.nodes.values()))
        match self.random.randrange(9):
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
            case 7 if self.plot == "rotation" and node.address in self.faulty and node.tamper is None:
                self._disk_trouble(node)
            case _:
                pass

    def _disk_trouble(self, node: Node) -> None:
        if self.random.random() < 0.5:
            node.back_up()
        else:
            node.lose_disk()

    def _restart(self, everybody: bool) -> None:
        down = [node for node in self.world.nodes.values() if node.operator is None]
        for node in down if everybody else down[:1]:
            self.world.restart(node)

    def _partition(self) -> None:
        island = frozenset(self._some_members(0, len(self.addresses)))
        if self.random.random() < 0.3:
            self.world.partition = lambda a, b: a in island and b not in island  # heard by nobody, hears all
        else:
            self.world.partition = lambda a, b: (a in island) != (b in island)

    # -- the end -------------------------------------------------------------------------------------------------

    def _heal(self) -> None:
        world = self.world
        world.partition = lambda _a, _b: False
        world.faults = replace(world.faults, loss=self.random.choice([0, 0.1]), duplicate=0.0, max_delay=0.05)
        for node in world.nodes.values():
            node.crash_after = node.crash_after_sending = None
            node.chain_lag, node.sees_chain = 0.0, True
            if node.operator is None:
                world.restart(node)

    def _until(self, holds: Callable[[], bool], complaint: str, *, new: bool) -> None:
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
            and (session := node.operator.binding_session) is not None
            and session.boundary.number < newest
            and self._were_in(session) >= session.threshold
        ]

    def _were_in(self, session: Session) -> int:
        return sum(1 for node in self.world.correct() if session.id in node.disk.sessions)

    def _rotates(self) -> None:
        """Within a few boundaries all correct members have their shares of a certified version."""
        world = self.world
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

    def _erases(self, session: Session) -> None:
        """A session that deals from an older version goes on to the next boundary, also at who has not heard yet."""
        for _ in range(3):
            self.world.next_boundary(members=self.members)
            if self.world.run(INTERVAL, until=lambda: not self._holding_older(session)):
                return
        holding = ", ".join(node.name for node in self._holding_older(session))
        raise AssertionError(
            self.world.story(f"{holding} did not erase what is older than a certified version")
        )

    def _holding_older(self, session: Session) -> list[Node]:
        version = session.version
        return [
            node
            for node in self.world.correct()
            if any(v.share is not None and v.transcript.version < version for v in node.disk.held)
        ]


def tell(seed: int) -> Ending:
    return Story(seed).tell()
