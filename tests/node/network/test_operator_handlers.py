"""What a station answers, and to whom; and that it neither speaks nor answers once its disk has refused."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from trio.testing import MockClock

from eigenkms.crypto.pvss import encoded_size
from eigenkms.errors import NetworkError, StorageError
from eigenkms.node.network import byte_budget
from eigenkms.node.network.operator_handlers import OperatorHandlers
from eigenkms.p2p.errors import CallRefusedError, RpcRefusal
from eigenkms.p2p.identity import PeerId, PeerKey
from eigenkms.p2p.types import Request
from eigenkms.storage.store import Record
from eigenkms.types import OperatorAddress
from eigenkms.wire import rpc_methods
from eigenkms.wire.dealing_header import decode_header
from eigenkms.wire.frames import decode_frame
from eigenkms.wire.rpc_methods import decode_frames
from tests.node.town import Town
from tests.support.fake_network import CLUSTER
from tests.support.hosts import patient_host
from tests.support.waiting import PATIENCE, eventually


async def refusal(call: Any, method: str, body: bytes) -> str:
    """The code of a refusal."""
    with pytest.raises(CallRefusedError) as refused:
        await call(method, body)
    return refused.value.code


@pytest.mark.slow
async def test_operators_are_answered_in_their_own_name(town: Town) -> None:
    """Bodies and rows of the dealings that made a version, its certificate, frames; and clear refusals for all else."""
    async with town.open() as street:
        await street.meet(town.session(100), found=True)
        await street.all_hold(town.session(100))
        one, two, *_ = town.up.values()
        call = partial(one.host.call, two.host.peer_id, rpc_methods.OPERATOR_PROTOCOL, timeout=PATIENCE)
        assert await call(rpc_methods.PING, b"") == b""
        assert await call(rpc_methods.CANARY, b"song") == b"song"
        head = rpc_methods.decode_head(await call(rpc_methods.HEAD, b""))
        assert two.newest is not None
        assert head.transcript.hash == two.newest.epoch.transcript.hash
        for dealer, name in head.transcript.dealers:
            row = rpc_methods.decode_row(await call(rpc_methods.ROW, name))
            header = decode_header(row.header)
            assert (header.name, header.dealer) == (name, dealer)
            body = await call(rpc_methods.BODY, name)
            place = header.position(head.transcript.recipients.addresses.index(one.address))
            assert place is not None
            assert body.find(row.encoded[768:1536]) == 768 + 768 * place
        (request,) = [c.sync_request() for c in (one.engine.newest,) if c is not None]
        frames = [decode_frame(data) for data in decode_frames(await call(rpc_methods.SYNC, request.encoded))]
        assert {frame.session for frame in frames} <= {town.session(100).id}
        for method, body, code in (
            (rpc_methods.BODY, bytes(32), "no-dealing"),
            (rpc_methods.ROW, bytes(32), "no-dealing"),
            (rpc_methods.BODY, b"short", "refused-frame"),
            (rpc_methods.PUSH, b"short", "refused-frame"),
            (rpc_methods.SYNC, b"no frame", "refused-frame"),
            ("frame", b"", "unknown-method"),
        ):
            assert await refusal(call, method, body) == code
        other = [c.sync_request() for c in (two.engine.newest,) if c is not None]
        assert await refusal(call, rpc_methods.SYNC, other[0].encoded) == "wrong-sender"


@pytest.mark.slow
async def test_an_operator_that_was_served_much_waits_and_the_others_do_not(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What costs nothing is still answered to it."""
    async with town.open() as street:
        await street.meet(town.session(100), found=True)
        await street.all_hold(town.session(100))
        one, two, three, _ = town.up.values()
        first, other = (
            partial(s.host.call, two.host.peer_id, rpc_methods.OPERATOR_PROTOCOL, timeout=PATIENCE)
            for s in (one, three)
        )
        monkeypatch.setattr(byte_budget, "BYTES_A_SECOND", 0)
        left = byte_budget.BURST // byte_budget.LEAST
        for _ in range(left):
            two.services.budget.spend(one.address, 1)
        assert await refusal(first, rpc_methods.HEAD, b"") == "busy"
        assert await first(rpc_methods.PING, b"") == b""
        assert await other(rpc_methods.HEAD, b"")


@dataclass
class Disguised:
    """An operator that is another peer each time, at a node that has nothing."""

    me: OperatorAddress
    bodies: list[Hashable] = field(default_factory=list)
    known: frozenset[OperatorAddress] = frozenset()

    def operator_of(self, _peer: PeerId) -> OperatorAddress:
        return self.me

    def key_of(self, _operator: OperatorAddress) -> bytes | None:
        return None

    @property
    def queries(self) -> "Disguised":
        return self

    async def head(self) -> None:
        return None

    def submit_body(self, source: Hashable, _name: bytes, _body: bytes) -> None:
        self.bodies.append(source)

    def services(self) -> OperatorHandlers:
        async def canary(_asker: OperatorAddress, body: bytes) -> bytes:
            return body

        self.known = frozenset({self.me})
        return OperatorHandlers(CLUSTER, self, self, canary)  # type: ignore[arg-type]

    @staticmethod
    def request(method: str, body: bytes = b"") -> Request:
        return Request(PeerKey.generate().peer_id, method, body)


async def test_another_peer_id_is_no_other_operator(autojump_clock: MockClock) -> None:
    """What it may ask for, refusals too, and what it may leave here, is bounded for the operator."""
    liar = Disguised(OperatorAddress(bytes(20)))
    services = liar.services()
    with pytest.raises(RpcRefusal, match="no-version"):
        await services.answer(liar.request(rpc_methods.HEAD))
    with pytest.raises(RpcRefusal):
        await services.answer(liar.request(rpc_methods.SYNC, b"no frame"))
    for _ in range(byte_budget.BURST // byte_budget.LEAST - 2):
        services.budget.spend(liar.me, 0)
    with pytest.raises(RpcRefusal, match="served you much"):
        await services.answer(liar.request(rpc_methods.HEAD))
    for _ in range(2):
        await services.answer(liar.request(rpc_methods.PUSH, bytes(32 + encoded_size(1))))
    assert liar.bodies == [liar.me, liar.me]


@pytest.mark.slow
async def test_strangers_reach_nothing(town: Town) -> None:
    """Neither a peer that no operator names, nor an operator's peer that has not said hello."""
    async with town.open(*town.people[:2]), patient_host(PeerKey.generate()) as stranger:
        one, _ = town.up.values()
        stranger.set_addresses(one.host.peer_id, [str(a) for a in one.host.addresses])
        for method in (rpc_methods.HEAD, rpc_methods.PUSH, rpc_methods.BODY):
            with pytest.raises(NetworkError):
                await stranger.call(
                    one.host.peer_id, rpc_methods.OPERATOR_PROTOCOL, method, b"", timeout=PATIENCE
                )
        assert one.asked.count(rpc_methods.BODY) == 0
    unknown = town.people[2]
    async with (
        town.open(*town.people[:2]),
        patient_host(unknown.peer, listen=["/ip4/127.0.0.1/tcp/0"]) as silent,
    ):
        one, _ = town.up.values()
        unknown.socket = str(silent.addresses[0])
        town._update_chain()
        silent.set_addresses(one.host.peer_id, [str(a) for a in one.host.addresses])
        call = partial(silent.call, one.host.peer_id, rpc_methods.OPERATOR_PROTOCOL, timeout=PATIENCE)
        for method in (rpc_methods.HEAD, rpc_methods.PUSH, rpc_methods.BODY, rpc_methods.PING):
            assert await refusal(call, method, b"") == "say-hello"


async def test_nothing_is_said_or_answered_once_the_disk_has_refused(town: Town) -> None:
    """The step that could not be made durable is silent, and so is all that follows; the next life begins as if it had not been."""
    person = town.people[0]
    session = town.session(100)
    async with town.open(person) as street:
        station = town.up[person.address]

        def refuse(_session: bytes, _records: Sequence[Record]) -> None:
            raise StorageError("append to the journal in the test: the disk is full")

        station.store.append = refuse  # type: ignore[method-assign]
        for reason in ("the disk is full", "an earlier step could not be made durable"):
            with pytest.raises(StorageError, match=reason):
                await street.see(station, session, found=True)
        assert person.said == {}
        assert await station.engine.queries.head() is None
        ceremony = station.engine.newest
        assert ceremony is not None
        assert await station.engine.queries.sync_reply(ceremony.sync_request()) == []
        assert await station.engine.queries.body(bytes(32)) is None
    async with town.open(person):
        await eventually(lambda: {slot[0].name for _, slot in person.said} == {"KEY", "HASH"})
