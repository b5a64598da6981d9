"""The socket that an operator publishes: an address and a peer id.

Others dial the node at the address, and must find the peer id there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eigenkms.config.paths import p2p_keystore
from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.config.settings import Settings
    from eigenkms.p2p.identity import TransportAddress


def published_socket(settings: "Settings", given: str | None, *, force: bool) -> str:
    """Return the multiaddr to publish, with the peer id of the p2p keystore.

    It is ``given``, or the first of ``announce``. Raises InputError for an address that nobody can dial, and for the peer id of
    another node unless ``force`` is set.
    """
    from eigenkms.p2p.identity import parse_address

    announced = settings.get("announce")
    text = given or (announced[0] if announced else None)
    if text is None:
        raise InputError(
            "choose the socket: there is no address to publish",
            hint="give --socket /ip4/ADDRESS/tcp/PORT, or set announce",
        )
    if "/p2p/" not in text:
        text, force = f"{text}/p2p/{_peer_id(p2p_keystore(settings))}", True
    address = parse_address(text)
    _check(address.transport, settings)
    if force:
        return str(address)
    own = _peer_id(p2p_keystore(settings))
    if str(address.peer_id) != own:
        raise InputError(
            f"choose the socket: it names peer id {address.peer_id}, and the p2p keystore is of {own}",
            hint="leave /p2p/… out, or give the keystore of that node with p2p_keystore; --force publishes it all the same",
        )
    return str(address)


def _check(address: "TransportAddress", settings: "Settings") -> None:
    """Raise InputError for an address that no other machine can dial.

    On a devnet all nodes are on this machine.
    """
    from eigenkms.config.presets import DEVNET_CHAIN_ID
    from eigenkms.p2p.identity import check_dialable

    is_devnet = settings.get("chain_id") == DEVNET_CHAIN_ID
    check_dialable(address, "choose the socket", local=is_devnet)


def _peer_id(path: Path) -> str:
    from eigenkms.keys.keystores import read_metadata

    kind, public = read_metadata(path)
    if kind != "p2p" or "peer_id" not in public:
        raise InputError(
            f"read keystore {path}: it holds no p2p key",
            hint="make one with: eigenkms keys new --kind p2p -o FILE",
        )
    return public["peer_id"]


def socket_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--force", is_flag=True, help="Publish a socket with another node's peer id."),
        click.option(
            "--socket",
            metavar="MULTIADDR",
            help="Address at which others dial the node. Default: the first of announce, with the node's peer id.",
        ),
    ):
        function = option(function)
    return function


def dial_address(given: str | None, settings: "Settings", on_chain: str) -> str:
    """Return the address at which others dial the node, without its peer id.

    It is ``given``, else the announced one, else the chain's. Raises InputError.
    """
    from eigenkms.p2p.identity import parse_address, parse_transport

    announced = settings.get("announce")
    text = given or (announced[0] if announced else None)
    if text is not None:
        address = parse_transport(text)
        _check(address, settings)
        return str(address)
    try:
        address = parse_address(on_chain).transport
        _check(address, settings)
        return str(address)
    except InputError as error:
        raise InputError(
            "choose the socket: the chain has none that can be dialled, and there is no other address to publish",
            hint="give --socket /ip4/ADDRESS/tcp/PORT, or set announce",
        ) from error


def peer_id_of(socket: str) -> str | None:
    from eigenkms.p2p.identity import parse_address

    try:
        return str(parse_address(socket).peer_id)
    except InputError:
        return None


def shown_socket(socket: str) -> str:
    """Anybody may publish anything: what would command a terminal is written out."""
    return socket if socket.isprintable() else ascii(socket)
