"""Operators in this process: each with a real host, a real store and an engine; the chain is a fake.

A station is one life of one operator. Its death by a crash is an exception out of its store: what was written by then is what the
next life finds, as after SIGKILL.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakSet

import trio

from eigenkms.chain.operator_set import ChainOperator
from eigenkms.crypto import bn254
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import StorageError
from eigenkms.node.engine.engine import Engine
from eigenkms.node.engine.workers import Workers
from eigenkms.node.key_versions import HeldVersion, Versions
from eigenkms.node.network.head_verifier import HeadVerifier
from eigenkms.node.network.operator_handlers import OperatorHandlers
from eigenkms.node.network.operator_network import OperatorNetwork
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.node.network.peer_records import PeerRecordService
from eigenkms.node.network.signature_checks import SignatureChecks
from eigenkms.node.network.version_sync import VersionSync
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.host import Host, Request
from eigenkms.p2p.identity import PeerKey
from eigenkms.protocols.ceremony.participant import Participant
from eigenkms.storage.store import Store
from eigenkms.types import Member, OperatorAddress, OperatorSet
from eigenkms.wire import rpc_methods
from eigenkms.wire.frames import Frame, FrameKind, Slot
from eigenkms.wire.messages import slot_of
from eigenkms.wire.peer_record import build_peer_record
from eigenkms.wire.rpc_methods import CLIENT_PROTOCOL, HELLO
from eigenkms.wire.session import Parameters, Session
from tests.support.fake_network import ANYWHERE, CLUSTER, FakeChain, block_at
from tests.support.hosts import patient_host
from tests.support.nodes import open_store
from tests.support.pvss_stage import table
from tests.support.randomness import counter_rng
from tests.support.waiting import eventually

WINDOW_MS = 2000
"""A view whose leader is away takes half of it."""
GRACE = 0.3


class KilledError(Exception):
    """The process died in the midst of writing."""


KILLED: WeakSet[Store] = WeakSet()
"""Stores whose process is dead."""


def kill_at(store: Store, method: str, number: int, *, after: bool) -> None:
    """Let the ``number``-th call of a method of this store be its last, before or after it did its work."""
    inner, left = getattr(store, method), number

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if store in KILLED or (left <= 0 and not after):
            KILLED.add(store)
            raise KilledError
        result = inner(*args, **kwargs)
        if left <= 0:
            KILLED.add(store)
            raise KilledError
        return result

    setattr(store, method, call)


@dataclass
class Person:
    """An operator over all its lives. ``said`` is what left it, by session and slot."""

    address: OperatorAddress
    key: bn254.KeyPair
    peer: PeerKey
    socket: str = "nowhere"
    lives: int = 0
    said: dict[tuple[bytes, Slot], bytes] = field(default_factory=dict)


class WatchedLinks(OperatorNetwork):
    """Checks of each frame that leaves: it is in the journal on disk, and no earlier life said otherwise in its slot."""

    person: Person
    store: Store
    pushes = True

    async def broadcast(self, frame: Frame) -> None:
        slot = slot_of(frame)
        if frame.kind is not FrameKind.CERTIFICATE:
            records = self.store.records(frame.session)
            assert any(r.kind == "frame" and r.body == frame.encoded for r in records), frame
        if frame.kind is FrameKind.KEY:
            assert self.store.keys(), "a key is durable before it is published"
        if frame.kind is FrameKind.DEALING:
            assert any(r.kind == "body" for r in self.store.records(frame.session))
        if slot is not None:
            assert self.person.said.setdefault((frame.session, slot), frame.encoded) == frame.encoded
        await super().broadcast(frame)

    async def publish(self, session: Session, name: bytes, body: bytes) -> None:
        if self.pushes:
            await super().publish(session, name, body)


Mischief = Callable[[Request, bytes], bytes]
"""What becomes of an answer."""


@dataclass
class Station:
    """One life of an operator."""

    person: Person
    host: Host
    store: Store
    versions: Versions
    engine: Engine
    links: WatchedLinks
    sources: VersionSync
    services: OperatorHandlers
    peers: PeerBook
    _scope: trio.CancelScope
    mischief: Mischief = field(default=lambda _request, answer: answer)
    asked: list[str] = field(default_factory=list)
    """Methods that others asked for."""
    ended: trio.Event = field(default_factory=trio.Event)

    @property
    def address(self) -> OperatorAddress:
        return self.person.address

    @property
    def newest(self) -> HeldVersion | None:
        return self.versions.newest

    def holds(self, session: Session) -> bool:
        """Whether its newest version is of this session and it has its share, and nothing older."""
        newest = self.versions.newest
        return (
            newest is not None
            and newest.epoch.transcript.session == session.id
            and newest.share is not None
            and len(self.versions.known()) == 1
        )

    async def stop(self) -> None:
        self._scope.cancel()
        await self.ended.wait()


class Town:
    """``start`` begins a life of an operator; ``meet`` lets all that are up see a boundary."""

    def __init__(self, n: int, folder: Path, *, window_ms: int = WINDOW_MS, seed: str = "town") -> None:
        rng = counter_rng(seed)
        made = [
            Person(OperatorAddress(rng(20)), bn254.KeyPair.generate(rng), PeerKey(rng(32))) for _ in range(n)
        ]
        self.people = sorted(made, key=lambda person: person.address)
        self.folder = folder
        self.parameters = Parameters(10, "latest", window_ms)
        self.chain = FakeChain((), head=100_000)
        self.up: dict[OperatorAddress, Station] = {}
        self._update_chain()

    def session(self, number: int) -> Session:
        members = OperatorSet(tuple(Member(p.address, p.key.g2) for p in self.people))
        return Session(CLUSTER, block_at(number), members, self.parameters)

    def _update_chain(self) -> None:
        """Everybody reads the sockets that are on chain now."""
        self.chain.operators = tuple(
            ChainOperator(p.address, p.key.g1, p.key.g2, p.socket) for p in self.people
        )
        for station in self.up.values():
            station.peers.update(self.chain.operators)
            station.links.refresh()

    async def run(self, person: Person, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """One life, until it is stopped or killed."""
        person.lives += 1
        life = f"{person.address.hex()}, life {person.lives}"
        store = open_store(self.folder / person.address.hex(), person.address, seed=life)
        peers = PeerBook(CLUSTER, person.address, person.peer.peer_id)
        peers.update(self.chain.operators)

        station: Station | None = None
        try:
            async with patient_host(
                person.peer, listen=[ANYWHERE], gate=peers.admits, topics=[rpc_methods.gossip_topic(CLUSTER)]
            ) as host:
                with trio.CancelScope() as scope:
                    station = self._station(person, host, store, peers, scope, life)
                    await self._live(station, task_status)
        except* KilledError:
            assert station is not None
        except* StorageError:
            # steps in line behind the one that died are refused, if they come before the nursery is cancelled
            if store not in KILLED:
                raise
        finally:
            self.up.pop(person.address, None)
            store.close()
            if station is not None:
                station.ended.set()

    def _station(
        self,
        person: Person,
        host: Host,
        store: Store,
        peers: PeerBook,
        scope: trio.CancelScope,
        life: str,
    ) -> Station:
        person.socket = str(host.addresses[0])
        record = build_peer_record(
            person.key,
            cluster=CLUSTER,
            operator=person.address,
            peer_id=bytes(host.peer_id),
            addresses=[a.multiaddr for a in host.addresses],
            sequence=person.lives,
        )
        versions = Versions(store)
        rng = counter_rng("secrets of " + life)
        operator = Participant(person.address, person.key, rng, lambda: GRACE)
        workers = Workers(counter_rng("work of " + life), table)
        engine = Engine(operator, store, versions, workers, peers.key_of)
        greeter = PeerRecordService(peers, SignatureChecks(peers), record)
        links = WatchedLinks(host, peers, engine, greeter, CLUSTER, window=0.1)
        links.person, links.store = person, store
        verifier = HeadVerifier(self.chain, CLUSTER, versions, min_operators=1)  # type: ignore[arg-type]
        sources = VersionSync(verifier, host, engine, links, window=0.1)

        async def canary(_asker: OperatorAddress, body: bytes) -> bytes:
            return body

        services = OperatorHandlers(CLUSTER, peers, engine, canary)
        station = Station(person, host, store, versions, engine, links, sources, services, peers, scope)

        async def client(request: Request) -> bytes:
            if request.method != HELLO:
                raise RpcRefusal("unknown-method", "this station says hello only")
            return await greeter.hello(request)

        async def serve(request: Request) -> bytes:
            station.asked.append(request.method)
            return station.mischief(request, await services.answer(request))

        host.serve(CLIENT_PROTOCOL, client)
        host.serve(rpc_methods.OPERATOR_PROTOCOL, serve)
        return station

    async def _live(self, station: Station, task_status: Any) -> None:
        async with trio.open_nursery() as nursery:
            self.up[station.address] = station
            self._update_chain()
            nursery.start_soon(station.links.run)
            nursery.start_soon(station.sources.follow_unknown_bases)
            nursery.start_soon(station.sources.bootstrap)
            task_status.started(station)
            nursery.start_soon(station.engine.run, station.links)
            await station.engine.restore(station.links, 1_800_000_000.0)
            await trio.sleep_forever()

    @asynccontextmanager
    async def open(self, *people: Person) -> AsyncIterator["Street"]:
        """These operators, or all, up and connected for the length of the context."""
        async with trio.open_nursery() as nursery:
            street = Street(self, nursery)
            for person in people or self.people:
                await street.start(person)
            await street.connected()
            yield street
            for station in tuple(self.up.values()):
                await station.stop()


@dataclass
class Street:
    """Where stations are started."""

    town: Town
    nursery: trio.Nursery

    async def start(self, person: Person, before: Callable[[Store], None] | None = None) -> Station:
        station: Station = await self.nursery.start(self.town.run, person)
        if before is not None:
            before(station.store)
        return station

    async def connected(self) -> None:
        """Wait until all that are up know each other and can gossip."""
        stations = list(self.town.up.values())

        def ready() -> bool:
            others = len(stations) - 1
            return all(
                len(s.links.bound()) >= others and s.host.statistics().gossip.peers >= others
                for s in stations
            )

        await eventually(ready)

    async def meet(self, session: Session, *, found: bool = False, unless: Sequence[Person] = ()) -> None:
        """All that are up see a boundary."""
        for station in tuple(self.town.up.values()):
            if station.person not in unless:
                await self.see(station, session, found=found)

    @staticmethod
    async def see(station: Station, session: Session, *, found: bool = False) -> bool:
        """One sees a boundary; False if it died of it."""
        try:
            await station.engine.boundary(station.links, session, may_vote=True, may_found=found)
        except (KilledError, StorageError):
            if station.store not in KILLED:
                raise
            await station.stop()
            return False
        return True

    async def all_hold(self, session: Session) -> dict[OperatorAddress, SecretScalar]:
        """Wait until all that are up hold the version of this session; their shares."""
        await eventually(
            lambda: all(s.holds(session) for s in self.town.up.values()),
            lambda: {
                s.address.hex()[:8]: [
                    (int(h.epoch.transcript.version), h.is_certified, h.share is not None)
                    for h in s.versions.known()
                ]
                for s in self.town.up.values()
            },
        )
        found = {s.address: s.newest for s in self.town.up.values()}
        assert len({held.epoch.transcript.hash for held in found.values() if held}) == 1
        return {a: held.share for a, held in found.items() if held is not None and held.share is not None}
