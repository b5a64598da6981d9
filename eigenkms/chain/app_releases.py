"""A release of an application, as the contract's event has it.

The event is ``AppUpgraded(address indexed app, uint256, Release)``.
``AppRelease`` is ``(((bytes32 digest, string registry)[] artifacts, uint32 upgradeByTime), bytes publicEnv, bytes encryptedEnv,
(string[] args, string[] cmdOverride, (string, string)[] env, (string, string)[] envOverride, string restartPolicy))``. The
application's creator wrote it, so all of it is checked and bounded. Operators ignore ``upgradeByTime``.
"""

from typing import Any, Final, NoReturn

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from eigenkms import bounded_json
from eigenkms.applications import AppRelease, ContainerPolicy, UnusableReleaseError
from eigenkms.chain import abi
from eigenkms.errors import ChainError

MAX_RELEASE_BYTES: Final = 128 * 1024
"""Of the event's data: what a transaction on a public chain can carry, and an operator's answer too."""


def decode_release(event_data: bytes, what: str) -> AppRelease:
    """Return the release in the data of an event; ``what`` names it in messages.

    Milliseconds of CPU for a large one.

    Raises ``UnusableReleaseError`` for what the creator did wrong, ``ChainError`` if the data is not that of such an event.
    """
    if len(event_data) > MAX_RELEASE_BYTES:
        raise UnusableReleaseError(
            f"use {what}: it has {len(event_data)} bytes, more than {MAX_RELEASE_BYTES}"
        )
    try:
        _, (published, public_env, encrypted_env, policy) = decode(("uint256", abi.RELEASE), event_data)
    except UnicodeDecodeError as exc:
        raise UnusableReleaseError(f"use {what}: a text in it is not UTF-8") from exc
    except (DecodingError, OverflowError, ValueError) as exc:
        raise ChainError(f"read {what}: {len(event_data)} bytes of event data do not fit") from exc
    if _bytes_in((published, public_env, encrypted_env, policy)) > len(event_data):
        raise ChainError(f"read {what}: parts of its event data overlap")
    artefacts, _ = published
    if len(artefacts) != 1:
        raise UnusableReleaseError(f"use {what}: it has {len(artefacts)} artefacts, not exactly one")
    _check_json_object(public_env, what)
    ((digest, registry),) = artefacts
    return AppRelease(digest, registry, _policy(policy), public_env, encrypted_env)


def encode_release(release: AppRelease) -> tuple[Any, ...]:
    """Return the ABI value of a release with its one artefact and no deadline."""
    policy = release.policy
    return (
        ([(release.image_digest, release.registry)], 0),
        release.public_env,
        release.encrypted_env,
        (policy.args, policy.cmd_override, policy.env, policy.env_override, policy.restart_policy),
    )


def check_release(release: AppRelease, what: str) -> None:
    """Raise ``UnusableReleaseError`` if operators could not use this release."""
    data = encode(("uint256", abi.RELEASE), (0, encode_release(release)))
    decode_release(data, what)


def _policy(fields: tuple[Any, ...]) -> ContainerPolicy:
    args, cmd_override, env, env_override, restart_policy = fields
    return ContainerPolicy(tuple(args), tuple(cmd_override), tuple(env), tuple(env_override), restart_policy)


def _bytes_in(value: object) -> int:
    """Return the size of all texts and byte strings in a decoded value.

    No contract writes them over one another.
    """
    if isinstance(value, tuple):
        return sum(map(_bytes_in, value))
    if isinstance(value, str):
        return len(value.encode())
    return len(value) if isinstance(value, bytes) else 0


def _check_json_object(public_env: bytes, what: str) -> None:
    try:
        value = bounded_json.loads(public_env, parse_constant=_no_constant)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UnusableReleaseError(f"use {what}: its public environment is not a JSON object")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
