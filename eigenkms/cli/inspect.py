"""``eigenkms inspect``: what anyone can see of a ciphertext."""

from typing import TYPE_CHECKING

import click

from eigenkms.cli.support.input_file import InputFile
from eigenkms.cli.support.options import json_option, print_result_fields, verb

if TYPE_CHECKING:
    from eigenkms.client.ciphertexts import ChunkedCiphertext, WholeCiphertext


@verb("inspect", "eigenkms inspect secret.ibe")
@click.argument("file", required=False, metavar="[FILE]")
@json_option
def command(*, file: str | None, as_json: bool) -> None:
    """Show the format, version and sizes of a ciphertext.

    Reads FILE or stdin to its end, without a key. Version 2 names its cluster. Neither version names the application. The values
    are not authenticated: only decryption does that.
    """
    from eigenkms.client.ciphertexts import open_ciphertext

    with InputFile(file).open_unarmored() as (content, armored):
        ciphertext = open_ciphertext(content)
        facts = {
            "format": "eigenkms identity-based encryption",
            "version": ciphertext.version,
            "armored": armored,
            **_facts(ciphertext),
        }
    print_result_fields(facts, as_json=as_json)


def _facts(ciphertext: "WholeCiphertext | ChunkedCiphertext") -> dict[str, object]:
    from eigenkms.client.ciphertexts import WholeCiphertext

    if isinstance(ciphertext, WholeCiphertext):
        size, plaintext = len(ciphertext.content), ciphertext.header.plaintext_size
        return {
            "size": size,
            "plaintext_size": plaintext,
            **dict.fromkeys(("kind", "chunk_size", "app_id", "cluster")),
        }
    size, plaintext = ciphertext.measure()
    header = ciphertext.header
    return {
        "size": size,
        "plaintext_size": plaintext,
        "kind": header.kind.name.lower(),
        "chunk_size": header.chunk_size,
        "app_id": None,
        "cluster": header.cluster.hex(),
    }
