"""``eigenkms inspect``: what anyone can see of a ciphertext."""

import click

from eigenkms.cli.options import json_option, print_facts, verb
from eigenkms.cli.streams import MAX_BYTES, Source


@verb("inspect", "eigenkms inspect secret.ibe")
@click.argument("file", required=False, metavar="[FILE]")
@json_option
def command(*, file: str | None, as_json: bool) -> None:
    """Say what a ciphertext is: format, version, sizes in bytes. Reads FILE or stdin and needs no key.

    Version 1 names neither its application nor its cluster. Nothing here is authenticated: only decrypting
    proves it.

    With --json: format, version, armored, size, plaintext_size, app_id, cluster.
    """
    from eigenkms.cli.armor import dearmor, is_armored
    from eigenkms.crypto import ibe

    content = Source(file).read(MAX_BYTES * 3 // 2)
    armored = is_armored(content)
    ciphertext = dearmor(content) if armored else content
    header = ibe.parse(ciphertext)
    facts = {
        "format": "eigenkms identity-based encryption",
        "version": header.version,
        "armored": armored,
        "size": len(ciphertext),
        "plaintext_size": header.plaintext_size,
        "app_id": None,
        "cluster": None,
    }
    print_facts(facts, as_json=as_json)
