"""An application as the chain has it: its creator, its status, and its release.

``chain`` reads it, ``node`` compares it with evidence (docs/attestation.md). This module is a leaf beside ``types``, so that
neither of the two needs the other. Addresses are 20 bytes, digests 32.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from eigenkms.errors import ChainError
from eigenkms.types import AppId


class AppStatus(StrEnum):
    """The states of an application in its contract; keys are for a started one."""

    NONE = "none"
    STARTED = "started"
    STOPPED = "stopped"
    TERMINATED = "terminated"
    SUSPENDED = "suspended"
    CREATED = "created"


class UnusableReleaseError(ChainError):
    """The confirmed release of an application is not one that can be compared or used."""

    default_hint = "publish a release with exactly one artefact and a JSON object as public environment"


@dataclass(frozen=True, slots=True)
class ContainerPolicy:
    """How the container of a release must have been started.

    Empty fields are not enforced.
    ``args`` and ``cmd_override`` are compared as a whole. Each (name, value) of ``env`` and ``env_override`` must be there.
    """

    args: tuple[str, ...] = ()
    cmd_override: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    env_override: tuple[tuple[str, str], ...] = ()
    restart_policy: str = ""


@dataclass(frozen=True, slots=True)
class AppRelease:
    """A confirmed release with its one artefact.

    ``image_digest`` is the SHA-256 of the image's manifest, ``registry`` may be empty. ``public_env`` is the text of a JSON object,
    ``encrypted_env`` a ciphertext for the application or empty.
    """

    image_digest: bytes
    registry: str
    policy: ContainerPolicy
    public_env: bytes = field(repr=False)
    encrypted_env: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.image_digest) != 32:
            raise ValueError(f"image digest has {len(self.image_digest)} bytes, not 32")


@dataclass(frozen=True, slots=True)
class Application:
    """``release`` is None until one was confirmed."""

    app_id: AppId
    creator: bytes
    status: AppStatus
    release: AppRelease | None

    def __post_init__(self) -> None:
        if len(self.creator) != 20:
            raise ValueError(f"creator address has {len(self.creator)} bytes, not 20")


class Applications(Protocol):
    """A source of applications."""

    async def lookup(self, app_id: AppId, client: str = "") -> Application | None:
        """Return the application, or None if there is none or ``app_id`` cannot be one.

        ``client`` is who wants to know, if anybody else.

        Raises ``ChainError`` if that cannot be read, and ``UnusableReleaseError`` if its release is not one, such as one with two
        artefacts.
        """
        ...
