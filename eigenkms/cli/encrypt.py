"""``eigenkms encrypt``: needs the master public key and nothing secret."""

from typing import TYPE_CHECKING

import click

from eigenkms.cli import network
from eigenkms.cli.options import verb, with_settings
from eigenkms.cli.progress import Progress
from eigenkms.cli.report import warn
from eigenkms.cli.streams import Sink, Source
from eigenkms.errors import InputError
from eigenkms.types import AppId

if TYPE_CHECKING:
    from eigenkms.node.settings import Settings


@verb(
    "encrypt",
    "eigenkms encrypt --app-id my-app -o secret.ibe < secret\neigenkms encrypt --app-id my-app -a secret",
)
@click.argument("file", required=False, metavar="[FILE]")
@click.option("-o", "--output", metavar="FILE", help="Write here instead of to stdout.")
@click.option("-a", "--armor", "armored", is_flag=True, help="Write text instead of binary.")
@with_settings("app_id", "mpk", *network.NETWORK_SETTINGS)
def command(*, file: str | None, output: str | None, armored: bool, settings: "Settings") -> None:
    """Encrypt FILE or stdin for an application, so that only a quorum of operators can open it.

    The master public key comes from --mpk, else from the known-clusters file (both offline), else from the
    network, verified and then pinned there. A ciphertext is 128 bytes longer than its plaintext.
    """
    from eigenkms.cli.armor import armor

    app_id = network.checked_app_id(settings)
    source, sink = Source(file), Sink(output)
    sink.check(source, binary=not armored)
    master_key = _master_key(settings)
    plaintext = source.read()
    if not plaintext:
        warn(f"{source} is empty")
    ciphertext = _encrypt(app_id, master_key, plaintext)
    sink.write(armor(ciphertext) if armored else ciphertext)


def _encrypt(app_id: AppId, master_key: bytes, plaintext: bytes) -> bytes:
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
    """As given, else as pinned on this machine, else the network's, verified and from then on pinned."""
    known: bytes | None = settings.get("mpk") or network.pinned_key(settings)
    if known is not None:
        return known
    with Progress("asking the operators") as progress:
        return network.fetch_cluster(settings, progress).mpk
