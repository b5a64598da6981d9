"""The socket of an operator: an address, a peer id, and the URL of an HTTP API.

Others dial the node at the address, and must find the peer id there. Clients of the reference use the URL.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eigenkms.config.paths import p2p_keystore
from eigenkms.errors import InputError
from eigenkms.printable import printable

if TYPE_CHECKING:
    from eigenkms.config.settings import Settings
    from eigenkms.p2p.identity import TransportAddress
    from eigenkms.p2p.operator_socket import HttpOrigin, OperatorSocket


def published_socket(settings: "Settings", given: str | None, *, force: bool) -> str:
    """Return the socket to publish, with the peer id of the p2p keystore.

    Its address is ``given``, or the first of ``announce``, and ``http_url`` stands before it. Raises InputError for an address that
    nobody can dial. The peer id of another node and an API without TLS need ``force``.
    """
    from eigenkms.p2p.identity import parse_address
    from eigenkms.p2p.operator_socket import OperatorSocket

    http = _http_origin(settings, force=force)
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
        return str(OperatorSocket(address, http))
    own = _peer_id(p2p_keystore(settings))
    if str(address.peer_id) != own:
        raise InputError(
            f"choose the socket: it names peer id {address.peer_id}, and the p2p keystore is of {own}",
            hint="leave /p2p/… out, or give the keystore of that node with p2p_keystore; --force publishes it all the same",
        )
    return str(OperatorSocket(address, http))


def _http_origin(settings: "Settings", *, force: bool) -> "HttpOrigin | None":
    """Return the API of ``http_url``, None without one.

    Raises InputError if nobody can dial it, or if it lacks TLS outside of a devnet and ``force`` is not set.
    """
    from eigenkms.p2p.operator_socket import parse_origin

    url: str | None = settings.get("http_url")
    if url is None:
        return None
    origin = parse_origin(url)
    _check(origin.transport, settings)
    if not (origin.is_secure or force or _is_devnet(settings)):
        raise InputError(
            f"choose the socket: {origin} speaks no TLS, so anybody on the way can replace the master public key",
            hint="give an https:// URL as http_url; update-socket --force publishes this one",
        )
    return origin


def _check(address: "TransportAddress", settings: "Settings") -> None:
    """Raise InputError for an address that no other machine can dial.

    On a devnet all nodes are on this machine.
    """
    from eigenkms.p2p.identity import check_dialable

    check_dialable(address, "choose the socket", local=_is_devnet(settings))


def _is_devnet(settings: "Settings") -> bool:
    from eigenkms.config.presets import DEVNET_CHAIN_ID

    chain_id: int | None = settings.get("chain_id")
    return chain_id == DEVNET_CHAIN_ID


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
        click.option("--force", is_flag=True, help="Publish another node's peer id, or a URL without TLS."),
        click.option(
            "--socket",
            metavar="MULTIADDR",
            help="Address at which others dial the node. Default: the first of announce, with the node's peer id.",
        ),
    ):
        function = option(function)
    return function


def socket_of_peer(peer_id: str, given: str | None, settings: "Settings", on_chain: str) -> str:
    """Return the node's socket with another peer id.

    The address is ``given``, else the announced one, else that on chain. The URL is ``http_url``, else that on chain. Raises
    InputError. A URL without TLS is refused, unless it is the one on chain.
    """
    from eigenkms.p2p.identity import PeerAddress, PeerId, parse_transport
    from eigenkms.p2p.operator_socket import OperatorSocket

    announced, known = settings.get("announce"), socket_of(on_chain)
    text = given or (announced[0] if announced else None)
    if text is not None:
        address = parse_transport(text)
    elif known is not None:
        address = known.address.transport
    else:
        raise InputError(
            "choose the socket: the chain has none that can be dialled, and there is no other address to publish",
            hint="give --socket /ip4/ADDRESS/tcp/PORT, or set announce",
        )
    _check(address, settings)
    http = known.http if known else None
    if settings.get("http_url") not in (None, str(http)):
        http = _http_origin(settings, force=False)
    return str(OperatorSocket(PeerAddress(address, PeerId.parse(peer_id)), http))


def socket_of(text: str) -> "OperatorSocket | None":
    """Return the parts of a socket on chain; None if it is no socket of this network."""
    from eigenkms.p2p.operator_socket import parse_socket

    try:
        return parse_socket(text)
    except InputError:
        return None


def shown_socket(text: str) -> str:
    """Return a socket for people, marked if no node can dial it.

    Anybody may publish anything.
    """
    if not text:
        return "(no socket)"
    return (
        printable(text)
        if socket_of(text)
        else f"{printable(text)} (no multiaddr with a peer id: no node can dial it)"
    )
