"""``eigenkms decrypt``: request partial signatures of a quorum, and combine them."""

from typing import TYPE_CHECKING

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.attester_options import ATTEST_SETTINGS, attester
from eigenkms.cli.support.input_file import InputFile
from eigenkms.cli.support.options import exact_app_id_option, settings_options, verb
from eigenkms.cli.support.output_file import OutputFile
from eigenkms.cli.support.progress import Progress

if TYPE_CHECKING:
    from eigenkms.config.settings import Settings


@verb(
    "decrypt", "eigenkms decrypt --app-id 0x5fbd…0aa3 --attest ecdsa --ecdsa-key-file creator.json secret.ibe"
)
@click.argument("file", required=False, metavar="[FILE]")
@click.option("-o", "--output", metavar="FILE", help="Write here (mode 0600) instead of to stdout.")
@exact_app_id_option
@settings_options("app_id", *client_runner.NETWORK_SETTINGS, *ATTEST_SETTINGS)
def command(*, file: str | None, output: str | None, exact: bool, settings: "Settings") -> None:
    """Decrypt a file with a quorum of operators.

    Reads FILE or stdin: binary, armored or hexadecimal. With -o the output file appears only if all of it is verified. On stdout
    each piece is verified before it is written, so check the exit code before you use it. Exit codes: 2 if too few operators
    answered, 3 if they refused, 4 for a wrong application or cluster, or a changed ciphertext.
    """
    from eigenkms.client.ciphertexts import open_ciphertext

    app_id = client_runner.checked_app_id(settings, exact=exact)
    source, sink = InputFile(file), OutputFile(output, secret=True)
    sink.check(source)
    with source.open_unarmored() as (content, _):
        ciphertext = open_ciphertext(content)
        if (cluster := client_runner.cluster(settings)) is not None:
            ciphertext.check_cluster(cluster)
        shown = attester(settings)
        with Progress("asking the operators") as progress:
            key = client_runner.application_key(settings, app_id, ciphertext.version, shown, progress)
        with sink.open() as plaintext:
            for piece in ciphertext.plaintext(key):
                plaintext.write(piece)
