"""``eigenkms decrypt``: asks a quorum of operators for partial signatures and combines them."""

from typing import TYPE_CHECKING

import click

from eigenkms.cli import network
from eigenkms.cli.attesting import ATTEST_SETTINGS, attester
from eigenkms.cli.options import exact_app_id_option, verb, with_settings
from eigenkms.cli.progress import Progress
from eigenkms.cli.streams import Sink, Source

if TYPE_CHECKING:
    from eigenkms.node.settings import Settings


@verb(
    "decrypt",
    "eigenkms decrypt --app-id 0x5fbd…0aa3 --attest ecdsa --ecdsa-key-file creator.json secret.ibe\n"
    "eigenkms decrypt --app-id my-app -o secret < secret.ibe",
)
@click.argument("file", required=False, metavar="[FILE]")
@click.option("-o", "--output", metavar="FILE", help="Write here (mode 0600) instead of to stdout.")
@exact_app_id_option
@with_settings("app_id", *network.NETWORK_SETTINGS, *ATTEST_SETTINGS)
def command(*, file: str | None, output: str | None, exact: bool, settings: "Settings") -> None:
    """Decrypt FILE or stdin, binary or armored, with the help of a quorum of operators.

    Files of any size, in constant memory (version 1: up to 256 MiB, in memory). With -o the output is there only
    if all of it is right. stdout gets each piece once it is verified; if a later one is not, the output was
    cut: look at the exit code before you use it.

    Exit code 2: too few operators answered. 3: they refused. 4: wrong application or cluster, or changed
    ciphertext.
    """
    from eigenkms.client.ciphertexts import open_ciphertext

    app_id = network.checked_app_id(settings, exact=exact)
    source, sink = Source(file), Sink(output, secret=True)
    sink.check(source)
    with source.open_unarmored() as (content, _):
        ciphertext = open_ciphertext(content)
        if (cluster := network.cluster(settings)) is not None:
            ciphertext.check_cluster(cluster)
        shown = attester(settings)
        with Progress("asking the operators") as progress:
            key = network.application_key(settings, app_id, ciphertext.version, shown, progress)
        with sink.open() as plaintext:
            for piece in ciphertext.plaintext(key):
                plaintext.write(piece)
