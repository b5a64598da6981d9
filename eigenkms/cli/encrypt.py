"""``eigenkms encrypt``: needs the master public key and nothing secret."""

from typing import TYPE_CHECKING

import click

from eigenkms.cli.network import NETWORK_SETTINGS, checked_app_id
from eigenkms.cli.options import verb, with_settings
from eigenkms.cli.report import warn
from eigenkms.cli.streams import Sink, Source
from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.node.settings import Settings


@verb(
    "encrypt",
    "eigenkms encrypt --app-id my-app -o secret.ibe < secret\neigenkms encrypt --app-id my-app -a secret",
)
@click.argument("file", required=False, metavar="[FILE]")
@click.option("-o", "--output", metavar="FILE", help="Write here instead of to stdout.")
@click.option("-a", "--armor", "armored", is_flag=True, help="Write text instead of binary.")
@with_settings("app_id", "mpk", *NETWORK_SETTINGS)
def command(*, file: str | None, output: str | None, armored: bool, settings: "Settings") -> None:
    """Encrypt FILE or stdin for an application, so that only a quorum of operators can open it.

    The master public key comes from --mpk (offline), or from the network, verified and pinned. A ciphertext
    is 128 bytes longer than its plaintext.
    """
    from eigenkms.cli.armor import armor

    app_id = checked_app_id(settings)
    source, sink = Source(file), Sink(output)
    sink.check(source, binary=not armored)
    master_key = _master_key(settings)
    plaintext = source.read()
    if not plaintext:
        warn(f"{source} is empty")
    ciphertext = _encrypt(app_id, master_key, plaintext)
    sink.write(armor(ciphertext) if armored else ciphertext)


def _encrypt(app_id: str, master_key: bytes, plaintext: bytes) -> bytes:
    import secrets

    from eigenkms.crypto import ibe
    from eigenkms.crypto.backends.interface import InvalidPoint

    try:
        return ibe.encrypt(app_id, master_key, plaintext, secrets.token_bytes)
    except InvalidPoint as error:
        raise InputError(
            f"encrypt: the master public key is not usable: {error}", hint="check --mpk"
        ) from error


def _master_key(settings: "Settings") -> bytes:
    """As given, else the network's. The client library compares the latter with what is pinned."""
    given: bytes | None = settings.get("mpk")
    if given is not None:
        return given
    from eigenkms.cli.network import fetch_cluster

    fetched: bytes = fetch_cluster(settings).mpk
    return fetched
