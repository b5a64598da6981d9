"""What a node's configuration says of who may have a key, put together: methods, pipeline, policy."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from eigenkms.applications import Applications
from eigenkms.attestation.confidential_space import (
    GCP,
    INTEL,
    ConfidentialSpace,
    Expectations,
    Service,
)
from eigenkms.attestation.ecdsa import Ecdsa
from eigenkms.attestation.interface import Method
from eigenkms.attestation.jwks import KeySource
from eigenkms.config.node import NodeConfig
from eigenkms.node.authorisation.pipeline import Authoriser
from eigenkms.node.authorisation.policy import Policy
from eigenkms.storage.replay_cache import ReplayCache
from eigenkms.types import ClusterId


def make_methods(config: NodeConfig) -> tuple[Method, ...]:
    """The methods of ``config``, each once. Raises ``InputError`` for what cannot be used, such as a file of authorities."""
    return tuple(_make_method(name, config) for name in dict.fromkeys(config.attestation_methods))


def _make_method(name: str, config: NodeConfig) -> Method:
    if name == GCP.name:
        support = config.attestation_gcp_support
        return _tokens(GCP, config.attestation_gcp_issuer, config.attestation_gcp_keys, support, config)
    if name == INTEL.name:
        support = config.attestation_intel_support
        return _tokens(INTEL, config.attestation_intel_issuer, config.attestation_intel_keys, support, config)
    return Ecdsa(accept_reference=config.attestation_ecdsa_reference)


def _tokens(service: Service, issuer: str, url: str, support: tuple[str, ...], config: NodeConfig) -> Method:
    assert config.attestation_project is not None, "NodeConfig has checked it"
    expected = Expectations(
        issuer=issuer,
        project_id=config.attestation_project,
        audiences=config.attestation_audiences,
        min_swversion=config.attestation_min_swversion,
        support=support,
    )
    return ConfidentialSpace(service, expected, KeySource(url, ca_file=config.attestation_ca))


@asynccontextmanager
async def open_authoriser(
    config: NodeConfig,
    cluster: ClusterId,
    applications: Applications,
    *,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Authoriser]:
    """The pipeline that ``config`` describes, with its memory of used evidence in the data folder, whose lock the caller holds."""
    methods = make_methods(config)
    spent = await trio.to_thread.run_sync(ReplayCache.open, config.data_dir)
    try:
        yield Authoriser(
            cluster=cluster,
            operator=config.operator,
            applications=applications,
            methods=methods,
            spent=spent,
            clock=clock,
            app_rate=config.attestation_app_rate,
        )
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(spent.close)


@asynccontextmanager
async def open_policy(
    config: NodeConfig, cluster: ClusterId, applications: Applications | None
) -> AsyncIterator[Policy]:
    """The policy of ``config``. Raises ``InputError`` for the policy attested without ``applications``."""
    if config.policy != "attested" or applications is None:
        yield Policy(config.policy)
        return
    async with open_authoriser(config, cluster, applications) as authoriser:
        yield Policy(config.policy, authoriser)
