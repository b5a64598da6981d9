"""Make applications and publish their releases, in an app controller.

The controller is that of a development chain, or one like it.
An account has as many applications as it has salts, and the address of an application follows from both. The first release of
``create_app`` counts at once; an application without one can have its environment encrypted for it first. A later release counts
once the coordinator has confirmed it. ``controller`` is the address of the contract, 20 bytes.
"""

import secrets
from typing import Final

from eigenkms.applications import AppRelease
from eigenkms.chain import abi
from eigenkms.chain.app_releases import check_release, encode_release
from eigenkms.chain.rpc_values import parse_bytes
from eigenkms.chain.transactions import Receipt, Sender
from eigenkms.types import to_hex

GAS_CREATE: Final = 400_000
GAS_CHANGE: Final = 120_000
GAS_RELEASE: Final = 150_000
GAS_RELEASE_BYTE: Final = 80
"""Of the call's data: what it costs to send, to copy and to write to the log, and what a word of padding costs besides."""

CREATOR_CHANGES: Final = {"start": abi.START_APP, "stop": abi.STOP_APP, "terminate": abi.TERMINATE_APP}
COORDINATOR_CHANGES: Final = {"suspend": abi.SUSPEND_APP, "resume": abi.RESUME_APP}


async def create_app(
    creator: Sender, controller: bytes, release: AppRelease | None, *, salt: bytes | None = None
) -> bytes:
    """Make an application of the sender's account; its address.

    ``salt`` is 32 bytes, random if it is not given.

    With a release it is started, without one it waits for it. Raises ``ChainError``, and before anything is sent
    ``UnusableReleaseError``.
    """
    salt = secrets.token_bytes(32) if salt is None else salt
    what = "create an application"
    if release is None:
        data = abi.CREATE_EMPTY_APP.encode(salt)
    else:
        check_release(release, "the release")
        data = abi.CREATE_APP.encode(salt, encode_release(release))
    await creator.send(what, controller, data, gas=GAS_CREATE + _gas_of_release(data))
    question = to_hex(abi.CALCULATE_APP_ID.encode(creator.address, salt))
    answer = await creator.rpc.call("eth_call", {"to": to_hex(controller), "data": question}, "latest")
    (app,) = abi.CALCULATE_APP_ID.decode(parse_bytes(answer, "answer of calculateAppId"))
    return bytes.fromhex(app[2:])


async def publish_release(creator: Sender, controller: bytes, app: bytes, release: AppRelease) -> Receipt:
    """Publish another release of ``app``, which then waits to be confirmed.

    Raises as ``create_app``.
    """
    check_release(release, "the release")
    data = abi.UPGRADE_APP.encode(app, encode_release(release))
    what = f"publish a release of application {to_hex(app)}"
    return await creator.send(what, controller, data, gas=_gas_of_release(data))


async def confirm_release(coordinator: Sender, controller: bytes, app: bytes) -> Receipt:
    """Let the release that waits be the one that counts. Raises ``ChainError``."""
    data = abi.CONFIRM_UPGRADE.encode(app)
    what = f"confirm the release of application {to_hex(app)}"
    return await coordinator.send(what, controller, data, gas=GAS_CHANGE)


async def change_status(sender: Sender, controller: bytes, app: bytes, change: str) -> Receipt:
    """Change the status of an application.

    ``change`` is one of ``CREATOR_CHANGES``, or, if the sender is the coordinator, of ``COORDINATOR_CHANGES``. Raises
    ``ChainError``.
    """
    function = (CREATOR_CHANGES | COORDINATOR_CHANGES)[change]
    what = f"{change} application {to_hex(app)}"
    return await sender.send(what, controller, function.encode(app), gas=GAS_CHANGE)


def _gas_of_release(data: bytes) -> int:
    return GAS_RELEASE + GAS_RELEASE_BYTE * len(data)
