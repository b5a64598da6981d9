"""Calls that open a client for themselves and close it.

A verb of the command line, or a script, makes one of them.
"""

from collections.abc import Sequence

from eigenkms.client import api
from eigenkms.client.attesters import Attester
from eigenkms.client.ciphertexts import NEWEST
from eigenkms.client.cluster_info import ClusterInfo
from eigenkms.client.evidence import EvidenceReport
from eigenkms.client.progress import ProgressCallback, ignore_progress
from eigenkms.client.release_environment import Secrets
from eigenkms.client.settings import ClientSettings
from eigenkms.crypto.ibe_v2 import ApplicationKey
from eigenkms.types import AppId, OperatorAddress


async def fetch_cluster(
    settings: ClientSettings, progress: ProgressCallback = ignore_progress
) -> ClusterInfo:
    """Call ``Client.fetch``."""
    async with api.open_client(settings) as client:
        return await client.fetch(progress)


async def fetch_application_key(
    settings: ClientSettings,
    app_id: AppId,
    ciphertext_version: int = NEWEST,
    progress: ProgressCallback = ignore_progress,
    *,
    attester: Attester | None = None,
) -> ApplicationKey:
    """Call ``Client.application_key``."""
    async with api.open_client(settings) as client:
        return await client.application_key(app_id, ciphertext_version, progress, attester=attester)


async def decrypt(
    settings: ClientSettings,
    app_id: AppId,
    ciphertext: bytes,
    progress: ProgressCallback = ignore_progress,
    *,
    attester: Attester | None = None,
) -> bytes:
    """Call ``Client.decrypt``."""
    async with api.open_client(settings) as client:
        return await client.decrypt(app_id, ciphertext, progress, attester=attester)


async def fetch_secrets(
    settings: ClientSettings,
    app_id: AppId,
    attester: Attester | None = None,
    progress: ProgressCallback = ignore_progress,
) -> Secrets:
    """Call ``Client.fetch_secrets``."""
    async with api.open_client(settings) as client:
        return await client.fetch_secrets(app_id, attester, progress)


async def fetch_evidence(
    settings: ClientSettings,
    operators: Sequence[OperatorAddress] = (),
    progress: ProgressCallback = ignore_progress,
) -> EvidenceReport:
    """Call ``Client.fetch_evidence``."""
    async with api.open_client(settings) as client:
        return await client.fetch_evidence(operators, progress)
