"""A node of the network in this process: real store, engine, services and keys; the chain is the network's."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from eigenkms.authorisation.policy import Policy
from eigenkms.authorisation.signature_issuer import PartialSignatureIssuer
from eigenkms.chain.anchor import Anchor
from eigenkms.chain.config import Finality
from eigenkms.config.node import NodeConfig
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.node.backing_services import BackingServices, NodeKeys
from eigenkms.node.monitor.recent_warnings import RecentWarnings
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.host import Request
from eigenkms.p2p.identity import PeerId
from eigenkms.protocols.records.audit_log import LogHeader, sign_head
from eigenkms.storage.audit_log_store import AuditLog
from eigenkms.storage.store import Store, StoreIdentity, VersionRow
from eigenkms.types import OperatorAddress
from eigenkms.wire import rpc_methods
from eigenkms.wire.frames import Frame
from eigenkms.wire.rpc_methods import VersionHead, encode_head
from eigenkms.wire.session import Session
from tests.support.fake_network import ANYWHERE, CHAIN, CLUSTER, FakeNetwork, Honest, KeyVersion, Operator
from tests.support.local_node import LocalNode
from tests.support.randomness import counter_rng

CHEAP = ScryptCost(n=2, r=1, p=1)
PASSWORD = "correct horse"


def open_store(folder: Path, operator: OperatorAddress, *, seed: str = "store") -> Store:
    identity = StoreIdentity(CLUSTER, operator)
    return Store.open(folder, password=PASSWORD, identity=identity, rng=counter_rng(seed), kdf=CHEAP)


def make_config(network: FakeNetwork, index: int, folder: Path, **changes: Any) -> NodeConfig:
    """As a devnet has it, a boundary every ten blocks."""
    values: dict[str, Any] = {
        "data_dir": folder,
        "rpc_url": "http://fake.invalid",
        "chain_id": CHAIN.chain_id,
        "avs": CHAIN.avs,
        "operator_set_id": CHAIN.operator_set_id,
        "allocation_manager": b"\x01" * 20,
        "key_registrar": b"\x02" * 20,
        "finality": Finality.parse("latest"),
        "operator": network.operators[index].address,
        "bn254_keystore": folder / "bn254.json",
        "listen": (ANYWHERE,),
        "interval_blocks": 10,
        "block_seconds": 1.0,
        "poll_seconds": 0.05,
        "window_seconds": 1.0,
        "policy": "open",
    }
    return NodeConfig.from_values({**values, **changes})


def with_attestation(config: NodeConfig, **changes: Any) -> NodeConfig:
    """The configuration with other settings of the policy attested."""
    attestation = replace(config.policy.attestation, **changes)
    return replace(config, policy=replace(config.policy, attestation=attestation))


@contextmanager
def a_node(
    network: FakeNetwork,
    index: int,
    folder: Path,
    *,
    key: Any = None,
    deciding: Policy | None = None,
    anchor: Anchor | None = None,
    recent: RecentWarnings | None = None,
    **changes: Any,
) -> Iterator[LocalNode]:
    """The node of one operator, not running; its store is closed at the end."""
    operator = network.operators[index]
    keys = NodeKeys(key or operator.key, operator.peer, PASSWORD)
    with open_store(folder, operator.address) as store, closing(open_log(network, index, folder)) as log:
        config = make_config(network, index, folder, **changes)
        policy, issuer = deciding or Policy(config.policy.mode), PartialSignatureIssuer(log, operator.key)
        chain: Any = network.chain
        backing = BackingServices(config, keys, CLUSTER, chain, store, policy, issuer, anchor)
        yield LocalNode(backing, operator.record([]), recent)


def open_log(network: FakeNetwork, index: int, folder: Path) -> AuditLog:
    """The release log of one operator; close it."""
    operator = network.operators[index]
    header = LogHeader(CLUSTER, operator.address, operator.key.g2, 1_800_000_000_000)
    return AuditLog.open(folder, header, partial(sign_head, operator.key))


def keep_version(
    network: FakeNetwork,
    index: int,
    folder: Path,
    *,
    with_share: bool = True,
    version: KeyVersion | None = None,
    settled: bool = True,
) -> None:
    """Put a version, by default the network's first one, into an operator's store. One of protocol 1 may be not ``settled``."""
    operator, kept = network.operators[index], network.first if version is None else version
    transcript = kept.epoch.transcript
    row = VersionRow(
        transcript.version,
        transcript.session,
        transcript.hash,
        transcript.encoded,
        kept.epoch.certificate.encoded,
        settled=settled,
    )
    with open_store(folder, operator.address) as store:
        store.add_version(row, kept.shares[operator.address].to_bytes() if with_share else None)


async def asked(handler: Any, peer: PeerId, method: str, body: bytes) -> bytes | str:
    """What a handler answers, or the code of its refusal."""
    try:
        answer: bytes = await handler(Request(peer, method, body))
    except RpcRefusal as refusal:
        return refusal.code
    return answer


class Nowhere:
    """The outlet of an engine that has nothing to say."""

    async def broadcast(self, frame: Frame) -> None:
        raise AssertionError(frame)

    async def publish(self, session: Session, name: bytes, body: bytes) -> None:
        raise AssertionError(session, name, body)


class Neighbour(Honest):
    """An operator that says hello too, and answers pulls with nothing."""

    async def answer(self, operator: Operator, request: Request) -> bytes:
        if request.method == rpc_methods.HELLO:
            self.asked.append(request.method)
            return rpc_methods.encode_frames([operator.record([])])
        if request.method == rpc_methods.SYNC:
            return rpc_methods.encode_frames([])
        if request.method == rpc_methods.HEAD:
            self.asked.append(request.method)
            return encode_head(VersionHead(self.epoch().transcript, self.epoch().certificate))
        return await super().answer(operator, request)
