"""``eigenkms decrypt``: asks a quorum of operators for partial signatures and combines them."""

from typing import TYPE_CHECKING

import click

from eigenkms.cli import network
from eigenkms.cli.options import verb, with_settings
from eigenkms.cli.progress import Progress
from eigenkms.cli.streams import Sink, Source

if TYPE_CHECKING:
    from eigenkms.node.settings import Settings


@verb(
    "decrypt",
    "eigenkms decrypt --app-id my-app secret.ibe\neigenkms decrypt --app-id my-app -o secret < secret.ibe",
)
@click.argument("file", required=False, metavar="[FILE]")
@click.option("-o", "--output", metavar="FILE", help="Write here (mode 0600) instead of to stdout.")
@with_settings("app_id", *network.NETWORK_SETTINGS)
def command(*, file: str | None, output: str | None, settings: "Settings") -> None:
    """Decrypt FILE or stdin, binary or armored, with the help of a quorum of operators.

    Exit code 2: too few operators answered. 3: they refused. 4: wrong application or cluster, or changed
    ciphertext.
    """
    from eigenkms.crypto import ibe

    app_id = network.checked_app_id(settings)
    source, sink = Source(file), Sink(output, secret=True)
    sink.check(source)
    ciphertext = source.read_unarmored()
    ibe.parse(ciphertext)
    with Progress("asking the operators") as progress:
        plaintext = network.decrypt(settings, app_id, ciphertext, progress)
    sink.write(plaintext)
