"""Construction of a node's policy from its configuration.

Methods, pipeline, policy.
"""

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
from eigenkms.authorisation.pipeline import Authoriser
from eigenkms.authorisation.policy import Policy
from eigenkms.config.node import NodeConfig
from eigenkms.config.sections import AttestationConfig, TokenServiceConfig
from eigenkms.storage.replay_cache import ReplayCache
from eigenkms.types import ClusterId


def make_methods(attestation: AttestationConfig) -> tuple[Method, ...]:
    """Return the enabled methods, each once.

    Raises ``InputError`` for an unusable file of authorities.
    """
    return tuple(_make_method(name, attestation) for name in dict.fromkeys(attestation.methods))


def _make_method(name: str, attestation: AttestationConfig) -> Method:
    if name == GCP.name:
        return _make_token_method(GCP, attestation.gcp, attestation)
    if name == INTEL.name:
        return _make_token_method(INTEL, attestation.intel, attestation)
    return Ecdsa(accept_reference=attestation.ecdsa_reference)


def _make_token_method(
    service: Service, config: TokenServiceConfig, attestation: AttestationConfig
) -> Method:
    assert attestation.project is not None, "NodeConfig has checked it"
    expected = Expectations(
        issuer=config.issuer,
        project_id=attestation.project,
        audiences=attestation.audiences,
        min_swversion=attestation.min_swversion,
        support=config.support,
    )
    return ConfidentialSpace(service, expected, KeySource(config.keys, ca_file=attestation.ca))


@asynccontextmanager
async def open_authoriser(
    config: NodeConfig,
    cluster: ClusterId,
    applications: Applications,
    *,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Authoriser]:
    """Open the pipeline of ``config``, with its replay cache in the data folder.

    The caller holds the folder's lock.
    """
    methods = make_methods(config.policy.attestation)
    spent = await trio.to_thread.run_sync(ReplayCache.open, config.data_dir)
    try:
        yield Authoriser(
            cluster=cluster,
            operator=config.operator,
            applications=applications,
            methods=methods,
            spent=spent,
            clock=clock,
            app_rate=config.policy.attestation.app_rate,
        )
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(spent.close)


@asynccontextmanager
async def open_policy(
    config: NodeConfig, cluster: ClusterId, applications: Applications | None
) -> AsyncIterator[Policy]:
    """Open the policy of ``config``.

    Raises ``InputError`` for the policy attested without ``applications``.
    """
    if config.policy.mode != "attested" or applications is None:
        yield Policy(config.policy.mode)
        return
    async with open_authoriser(config, cluster, applications) as authoriser:
        yield Policy(config.policy.mode, authoriser)
