"""``eigenkms encrypt``: needs the master public key and nothing secret."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.input_file import InputFile
from eigenkms.cli.support.options import exact_app_id_option, settings_options, verb
from eigenkms.cli.support.output import print_note, warn
from eigenkms.cli.support.output_file import OutputFile
from eigenkms.cli.support.progress import Progress
from eigenkms.errors import InputError
from eigenkms.types import AppId

if TYPE_CHECKING:
    from eigenkms.client.ciphertexts import Writable
    from eigenkms.config.settings import Settings


@verb("encrypt", "eigenkms encrypt --app-id my-app -o secret.ibe secret.txt")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("-o", "--output", metavar="FILE", help="Write here instead of to stdout.")
@click.option("-a", "--armor", "armored", is_flag=True, help="Write text instead of binary.")
@click.option("--hex", "as_hex", is_flag=True, help="Write 0x and hexadecimal digits, with --format 1.")
@click.option(
    "--format",
    "version",
    type=click.Choice(["1", "2"]),
    help="Version of the ciphertext.  [default: 2; 1 if the cluster is not known]",
)
@exact_app_id_option
@settings_options("app_id", "mpk", *client_runner.NETWORK_SETTINGS)
def command(
    *,
    file: str | None,
    output: str | None,
    armored: bool,
    as_hex: bool,
    version: str | None,
    exact: bool,
    settings: "Settings",
) -> None:
    """Encrypt a file for an application.

    Reads FILE or stdin. The master public key comes from --mpk, else from the known-clusters file (both offline), else from the
    network, where it is verified and then pinned. Format 2 takes any size and names the cluster. Format 1, for other
    implementations, takes up to 256 MiB.
    """
    app_id = client_runner.checked_app_id(settings, exact=exact)
    source, sink = InputFile(file), OutputFile(output)
    _check_form(version, armored=armored, as_hex=as_hex)
    sink.check(source, binary=not (armored or as_hex))
    chosen = _version(version, settings)
    master_key = _master_key(settings)
    with _usable(master_key):
        if chosen == 1:
            size = _encrypt_whole(app_id, master_key, source, sink, armored=armored, as_hex=as_hex)
        else:
            size = _encrypt_chunks(app_id, master_key, settings, source, sink, armored=armored)
    if not size:
        warn(f"{source} is empty")


def _version(given: str | None, settings: "Settings") -> int:
    """Return the version of the format.

    It is ``given``, or the newest that the settings suffice for.
    """
    known = client_runner.cluster(settings) is not None
    if given == "2" and not known:
        raise InputError(
            "encrypt: version 2 names its cluster, which is not known",
            hint="give --chain-id and --avs, a configuration that has them, or --format 1",
        )
    if given is None and not known:
        print_note("writing version 1, as the cluster is not known: --chain-id and --avs give version 2")
    return int(given) if given else 1 + known


def _check_form(version: str | None, *, armored: bool, as_hex: bool) -> None:
    if as_hex and armored:
        raise InputError("encrypt: --hex and --armor are two forms of text", hint="give one of them")
    if as_hex and version != "1":
        raise InputError(
            "encrypt: --hex is for the reference's client, which reads version 1 alone",
            hint="give --format 1 too, or --armor in its place",
        )


def _encrypt_whole(
    app_id: AppId, master_key: bytes, source: InputFile, sink: OutputFile, *, armored: bool, as_hex: bool
) -> int:
    import secrets

    from eigenkms.client.ciphertexts import MAX_WHOLE
    from eigenkms.crypto import ibe

    plaintext = source.read(MAX_WHOLE, hint="version 2 takes files of any size: --format 2")
    ciphertext = ibe.encrypt(app_id, master_key, plaintext, secrets.token_bytes)
    with sink.open() as output, _as_text(output, armored=armored, as_hex=as_hex) as target:
        target.write(ciphertext)
    return len(plaintext)


def _encrypt_chunks(
    app_id: AppId,
    master_key: bytes,
    settings: "Settings",
    source: InputFile,
    sink: OutputFile,
    *,
    armored: bool,
) -> int:
    from eigenkms.client.ciphertexts import encrypt_stream
    from eigenkms.crypto.ibe_v2 import Recipient

    cluster = client_runner.cluster(settings)
    assert cluster is not None
    recipient = Recipient(app_id, cluster, master_key)
    with source.open() as plaintext, sink.open() as output, _as_text(output, armored=armored) as target:
        return encrypt_stream(recipient, plaintext, target)


def _as_text(
    output: "Writable", *, armored: bool, as_hex: bool = False
) -> AbstractContextManager["Writable"]:
    from eigenkms.client.armor import ArmorWriter
    from eigenkms.client.hex_text import HexWriter

    if as_hex:
        return HexWriter(output)
    return ArmorWriter(output) if armored else nullcontext(output)


@contextmanager
def _usable(master_key: bytes) -> Iterator[None]:
    from eigenkms.crypto import backends
    from eigenkms.crypto.backends.interface import InvalidPoint

    try:
        backends.bls12381().decode_g2(master_key)
    except InvalidPoint as error:
        raise InputError(
            f"encrypt: the master public key is not usable: {error}", hint="check --mpk"
        ) from error
    yield


def _master_key(settings: "Settings") -> bytes:
    """Return the master public key, 48 bytes.

    It is the one that is set, else the one pinned on this machine, else the network's, which is verified and then pinned.
    """
    known: bytes | None = settings.get("mpk") or client_runner.pinned_key(settings)
    if known is not None:
        return known
    with Progress("asking the operators") as progress:
        return client_runner.fetch_cluster(settings, progress).mpk
