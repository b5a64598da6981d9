"""Checks that other operators reach this node: its port, and the socket on chain."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import trio

from eigenkms.crypto.bn254 import KeyPair
from eigenkms.errors import EigenKmsError, InputError
from eigenkms.maintenance.doctor.checks import Finding, failed, ok, skipped, warning
from eigenkms.maintenance.doctor.context import CheckContext
from eigenkms.maintenance.doctor.network import ANSWER_SECONDS
from eigenkms.p2p.errors import CallRefusedError
from eigenkms.p2p.host import open_host
from eigenkms.p2p.identity import PeerId, PeerKey, TransportAddress, parse_transport
from eigenkms.p2p.listening.listener import bind_all
from eigenkms.types import DialOutcome, OperatorAddress, to_hex
from eigenkms.wire import rpc_methods
from eigenkms.wire.dial_back import ReachAnswer, build_reach_request, decode_reach_answer

NEAR_SECONDS: Final = 2.0
BUSY_SECONDS, BUSY_TIMES = 0.7, 12
ASKED: Final = 16
"""Operators that are requested to dial this node."""
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to replace them
_UPDATE: Final = "or publish the address where it is: {update}"
_ADVICE: Final = {
    DialOutcome.REFUSED: f"let the node listen at the port that is on chain, or forward that port to it; {_UPDATE}",
    DialOutcome.TIMED_OUT: f"open that TCP port to this machine in its firewall and router; {_UPDATE}",
    DialOutcome.OTHER_PEER: f"another peer answers there: give the keystore of peer {{peer}} as p2p_keystore, {_UPDATE}",
    DialOutcome.NOT_PUBLIC: f"the chain names a private address; {_UPDATE}",
    DialOutcome.FAILED: f"see that name, route and proxies lead to this node; {_UPDATE}",
}


async def port(case: CheckContext) -> Finding:
    """Check that the port is free, or held by this node."""
    busy = []
    for text in case.config.network.listen:
        try:
            for _, listener in bind_all([text]):
                listener.socket.close()
        except InputError as error:
            busy.append((parse_transport(text, listening=True), error))
    for address, refused in busy:
        finding = await _occupied(case, address, refused)
        if finding is not None:
            return finding
    case.holds_port = bool(busy)
    listed = ", ".join(case.config.network.listen)
    if case.is_running and not busy:
        return warning(
            f"the node that has the data folder does not listen at {listed}",
            "start it again: its settings have changed",
        )
    if busy and not case.is_running:
        return warning(
            f"this node listens at {listed}, and uses another data folder than {case.config.data_dir}",
            "give the data folder that it uses as data_dir; never let two of one operator vote",
        )
    return ok(f"this node listens at {listed}" if busy else f"{listed}: free")


async def _occupied(case: CheckContext, address: TransportAddress, error: InputError) -> Finding | None:
    """Return the fault of an address that cannot be bound, None if this node has it."""
    own = case.public_value("p2p", "peer_id")
    near = TransportAddress(address.kind, _WILDCARDS.get(address.host, address.host), address.port)
    met = DialOutcome.FAILED
    if own is not None:
        met = await case.visitor.probe(PeerId.parse(own), near, timeout=NEAR_SECONDS)
    if met is DialOutcome.REACHED:
        return None
    if met is DialOutcome.OTHER_PEER:
        return failed(
            f"another node than that of peer {own} listens at {address}",
            "stop that node, give this one another port with listen, or start it again if its p2p keystore was changed",
        )
    return failed(
        str(error),
        f"ss -ltnp 'sport = :{address.port}' names who has it; {error.hint or 'choose another port'}",
    )


async def reachable(case: CheckContext) -> Finding:
    """Check that other operators reach the socket on chain.

    If no node runs yet, this command listens in its place during the check.
    """
    if not case.peers or case.socket is None:
        return skipped("no operator can be asked")
    async with _listening(case):
        answers: dict[OperatorAddress, ReachAnswer | str] = {}
        async with trio.open_nursery() as nursery:
            for operator in sorted(case.peers)[:ASKED]:
                nursery.start_soon(_ask_reach, case, operator, answers)
    return judge_answers(case, str(case.socket.address), answers)


@asynccontextmanager
async def _listening(case: CheckContext) -> AsyncIterator[None]:
    if case.holds_port or case.is_running:
        yield
        return
    async with open_host(
        PeerKey(case.keys["p2p"].secret),
        listen=case.config.network.listen,
        gate=lambda _peer, _protocol: False,
    ):
        yield


async def _ask_reach(
    case: CheckContext, operator: OperatorAddress, answers: dict[OperatorAddress, ReachAnswer | str]
) -> None:
    frame = await trio.to_thread.run_sync(_sign, case, operator)
    peer = case.addresses[operator].peer_id
    try:
        answers[operator] = decode_reach_answer(await _request_reach(case, peer, frame))
    except EigenKmsError as error:
        answers[operator] = str(error)[:200]


async def _request_reach(case: CheckContext, peer: PeerId, frame: bytes) -> bytes:
    """Return the peer's answer; query a busy peer again."""
    for _ in range(BUSY_TIMES):
        try:
            return await case.visitor.call(
                peer, rpc_methods.CLIENT_PROTOCOL, rpc_methods.REACH, frame, timeout=ANSWER_SECONDS
            )
        except CallRefusedError as refused:
            if refused.code != "busy":
                raise
            await trio.sleep(BUSY_SECONDS)
    return await case.visitor.call(
        peer, rpc_methods.CLIENT_PROTOCOL, rpc_methods.REACH, frame, timeout=ANSWER_SECONDS
    )


def _sign(case: CheckContext, recipient: OperatorAddress) -> bytes:
    return build_reach_request(
        KeyPair.from_secret(case.keys["bn254"].secret),
        cluster=case.cluster,
        operator=case.config.operator,
        recipient=recipient,
        time_ms=round(case.clock() * 1000),
    ).encoded


def judge_answers(
    case: CheckContext, socket: str, answers: Mapping[OperatorAddress, ReachAnswer | str]
) -> Finding:
    tried = {o: a for o, a in answers.items() if isinstance(a, ReachAnswer)}
    if not tried:
        reasons = "; ".join(f"{to_hex(o)}: {a}" for o, a in sorted(answers.items()))
        return warning(f"no operator tried: {reasons}", "try again in a minute, or after the next boundary")
    current = {o: a for o, a in tried.items() if a.address == socket}
    if not current:
        return warning(
            f"operators still dial {next(iter(tried.values())).address}, not {socket}",
            "ask again after the next boundary, when they read the chain",
        )
    missed = {o: a for o, a in current.items() if a.outcome is not DialOutcome.REACHED}
    if not missed:
        return ok(f"{len(current)} of {len(current)} operators reach {socket}")
    says = "; ".join(f"{to_hex(o)}: {a.outcome} at {a.address}"[:300] for o, a in sorted(missed.items()))
    outcome = next(iter(missed.values())).outcome
    advice = _ADVICE[outcome].format(
        update=case.update_socket(), peer=case.socket.address.peer_id if case.socket else ""
    )
    if len(missed) < len(current):
        return warning(
            f"{len(current) - len(missed)} of {len(current)} operators reach {socket}; {says}", advice
        )
    return failed(f"no operator reaches this node: {says}", advice)
