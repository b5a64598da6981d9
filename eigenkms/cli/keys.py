"""``eigenkms keys``: the operator's keys in encrypted keystores."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eigenkms.cli.support.input_file import InputFile
from eigenkms.cli.support.options import json_option, print_result_fields, settings_options, verb
from eigenkms.cli.support.output_file import OutputFile
from eigenkms.cli.support.passwords import read_password
from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.config.settings import Settings
    from eigenkms.keys.keystores import PrivateKey

KINDS = {"bn254": "bn254", "ecdsa": "secp256k1", "p2p": "p2p"}
"""The kind of a key: its name at the command line, and that in a keystore."""


@click.group("keys")
def command() -> None:
    """Create, import and show an operator's keys.

    Kinds: bn254 signs votes, ecdsa signs transactions, p2p determines the peer id.
    """


def _public_facts(kind: str, public: dict[str, str]) -> dict[str, str]:
    names = {inner: outer for outer, inner in KINDS.items()}
    return {"kind": names[kind], **public}


@verb("new", "eigenkms keys new --kind bn254 -o bn254.json --password-file password.txt")
@click.option("--kind", type=click.Choice(list(KINDS)), required=True, help="Kind of the key.")
@click.option("-o", "--output", metavar="FILE", required=True, help="Keystore file to create.")
@click.option("--force", is_flag=True, help="Replace an existing keystore; its key is lost.")
@settings_options("password_file")
@json_option
def _new(*, kind: str, output: str, force: bool, settings: "Settings", as_json: bool) -> None:
    """Create a key in an encrypted keystore.

    The file has mode 0600. The key's public values are printed.
    """
    import secrets

    from eigenkms.keys.keystores import new_key

    sink = _sink(output, force=force)
    password = _new_password(output, settings)
    _write(new_key(KINDS[kind], secrets.token_bytes), sink, password, as_json=as_json)


def _sink(output: str, *, force: bool) -> OutputFile:
    sink = OutputFile(output, secret=True)
    sink.check()
    if sink.replaces and not force:
        raise InputError(
            f"write {output}: it exists", hint="give another file with -o, or --force to lose it"
        )
    return sink


def _new_password(output: str, settings: "Settings") -> str:
    file = settings.get("password_file")
    return read_password(f"keystore {output}", file=file, environ=os.environ, confirm=True)


def _write(key: "PrivateKey", sink: OutputFile, password: str, *, as_json: bool) -> None:
    import secrets

    sink.write(key.seal(password, secrets.token_bytes))
    if not sink.is_stdout:
        print_result_fields({"file": str(sink), **_public_facts(key.kind, dict(key.public))}, as_json=as_json)


@verb(
    "import",
    "eigenkms keys import --kind bn254 ~/.eigenlayer/operator_keys/me.bls.key.json -o bn254.json",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(["bn254", "ecdsa"]), required=True, help="Kind of the key in FILE.")
@click.option("-o", "--output", metavar="FILE", required=True, help="Keystore file to create.")
@click.option(
    "--from-password-file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="File whose first line is the password of FILE, if it differs from the new keystore's; it may be empty.",
)
@click.option("--force", is_flag=True, help="Replace an existing keystore; its key is lost.")
@settings_options("password_file")
@json_option
def _import(
    *,
    file: Path,
    kind: str,
    output: str,
    from_password_file: Path | None,
    force: bool,
    settings: "Settings",
    as_json: bool,
) -> None:
    """Import a key from another keystore.

    FILE is a keystore of the EigenLayer CLI (bn254, ecdsa) or devkit (bn254), of geth (ecdsa), or of eigenkms. The public values in
    FILE must belong to its key. FILE is not changed; keep no more copies of a key than you need.
    """
    from eigenkms.keys.keystores import open_key

    sink = _sink(output, force=force)
    sink.check(InputFile(str(file)))
    opening = from_password_file or settings.get("password_file")
    password = read_password(
        f"keystore {file}", file=opening, environ=os.environ, may_be_empty=from_password_file is not None
    )
    key = open_key(file, KINDS[kind], password)
    _write(key, sink, _new_password(output, settings), as_json=as_json)


@verb("show", "eigenkms keys show bn254.json")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--verify", is_flag=True, help="Open the keystore with its password and check the public values."
)
@settings_options("password_file")
@json_option
def _show(*, file: Path, verify: bool, settings: "Settings", as_json: bool) -> None:
    """Print the public values of a keystore.

    Without --verify, the values are those that the file claims. The secret is never printed.
    """
    from eigenkms.keys.keystores import open_key, read_metadata

    kind, public = read_metadata(file)
    if verify:
        password_file = settings.get("password_file")
        password = read_password(f"keystore {file}", file=password_file, environ=os.environ)
        public = dict(open_key(file, kind, password).public)
    print_result_fields(
        {"file": str(file), "verified": verify, **_public_facts(kind, public)}, as_json=as_json
    )


command.add_command(_new)
command.add_command(_import)
command.add_command(_show)
