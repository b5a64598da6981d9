"""Backing services of a node: storage, chain, policy, audit log and anchor.

They are open before the network. ``open_backing_services`` opens them in the order in which they need each other, and closes them
in the reverse order. So the chain outlives the store, and the store outlives everything that writes to it.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from eigenkms.applications import Applications
from eigenkms.authorisation.factory import open_policy
from eigenkms.authorisation.policy import Policy
from eigenkms.authorisation.signature_issuer import PartialSignatureIssuer, open_issuer
from eigenkms.chain.anchor import Anchor, open_anchor
from eigenkms.chain.applications import applications_of
from eigenkms.chain.operator_set_source import OperatorSetSource, open_chain
from eigenkms.config.node import NodeConfig
from eigenkms.crypto import bn254
from eigenkms.p2p.identity import PeerKey
from eigenkms.storage.known_applications import KnownApplications
from eigenkms.storage.store import Store, StoreIdentity
from eigenkms.types import ClusterId
from eigenkms.wire.session import Parameters, cluster_id


@dataclass(frozen=True)
class NodeKeys:
    """The secrets of a node's keystores, and the password that seals its data folder."""

    bn254: bn254.KeyPair
    peer: PeerKey
    password: str = field(repr=False)
    account: bytes | None = field(repr=False, default=None)
    """The operator's own account, 32 bytes, if it anchors versions."""


@dataclass(frozen=True)
class BackingServices:
    """Configuration and keys of one node, and the services that are open for it."""

    config: NodeConfig
    keys: NodeKeys
    cluster: ClusterId
    chain: OperatorSetSource
    store: Store
    policy: Policy
    issuer: PartialSignatureIssuer
    anchor: Anchor | None = None

    @property
    def parameters(self) -> Parameters:
        """Parameters of every session, which must be the same at all operators."""
        config = self.config
        return Parameters(
            interval_blocks=config.session.interval_blocks,
            finality=str(config.chain.finality),
            window_ms=config.session.window_ms,
            genesis_quorum=config.session.genesis_quorum,
            min_operators=config.session.min_operators,
        )


@asynccontextmanager
async def open_backing_services(
    config: NodeConfig, keys: NodeKeys, applications: Applications | None
) -> AsyncIterator[BackingServices]:
    """Open everything that a node needs before its network.

    Raises ``EigenKmsError`` if the operator must correct something.
    """
    cluster = cluster_id(config.chain.cluster)
    async with (
        open_chain(config.chain, watch=True) as chain,
        _open_store(config, keys, cluster) as store,
        open_policy(config, cluster, applications or await _open_applications(config, chain)) as policy,
        open_issuer(config.data_dir, cluster, config.operator, keys.bn254) as issuer,
        _open_anchor(config, cluster) as anchor,
    ):
        yield BackingServices(config, keys, cluster, chain, store, policy, issuer, anchor)


async def _open_applications(config: NodeConfig, chain: OperatorSetSource) -> Applications | None:
    """Return the chain's applications if the policy needs them.

    Raises ``StorageError``, and ``ChainError`` if their contract is not there.
    """
    if config.policy.mode != "attested":
        return None
    kept = await trio.to_thread.run_sync(KnownApplications.open, config.data_dir)
    found = await trio.to_thread.run_sync(applications_of, chain, kept)
    if found is not None:
        await found.check()
    return found


@asynccontextmanager
async def _open_anchor(config: NodeConfig, cluster: ClusterId) -> AsyncIterator[Anchor | None]:
    """Open the anchor if one is configured.

    A failure to reach it shows later, as nothing waits for it.
    """
    if config.anchor.registry is None:
        yield None
        return
    async with open_anchor(config.anchor.registry, cluster) as anchor:
        yield anchor


@asynccontextmanager
async def _open_store(config: NodeConfig, keys: NodeKeys, cluster: ClusterId) -> AsyncIterator[Store]:
    identity = StoreIdentity(cluster, config.operator)

    def opener() -> Store:
        return Store.open(config.data_dir, password=keys.password, identity=identity, rng=os.urandom)

    store = await trio.to_thread.run_sync(opener)
    try:
        yield store
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(store.close)
