"""``eigenkms status``: can the network serve, for a person and for a monitor."""

from typing import TYPE_CHECKING, Final

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.options import json_option, print_result_fields, settings_options, verb
from eigenkms.cli.support.output import print_note
from eigenkms.cli.support.progress import Progress
from eigenkms.cli.support.tables import print_table
from eigenkms.errors import ChainError, NetworkError
from eigenkms.types import to_hex

if TYPE_CHECKING:
    from eigenkms.client.network_status import NetworkStatus
    from eigenkms.config.settings import Settings

EXIT_CODES: Final = {"healthy": 0, "degraded": 1, "cannot serve": 2}
"""Exit code for each value of ``NetworkHealth``."""
_COLUMNS: Final = (
    "version",
    "share",
    "policy",
    "peers",
    "phase",
    "boundary",
    "head",
    "evidence",
    "released",
    "canary",
)


@verb("status", "eigenkms status --config cluster.toml")
@settings_options(*client_runner.NETWORK_SETTINGS)
@json_option
@click.pass_context
def command(ctx: click.Context, *, settings: "Settings", as_json: bool) -> None:
    """Report whether the network can serve keys.

    Exit codes: 0 if it is healthy, 1 if it is degraded, 2 if it cannot serve.
    """
    needed = client_runner.client_settings(settings)
    from eigenkms.client.network_status import NetworkHealth, fetch_status

    try:
        with Progress("asking the operators") as progress:
            status = client_runner.run(fetch_status, needed, progress)
    except* (NetworkError, ChainError) as group:
        if as_json:
            reason = "; ".join(str(error) for error in group.exceptions)
            print_result_fields({"health": NetworkHealth.CANNOT_SERVE.value, "reason": reason}, as_json=True)
        raise
    if as_json:
        print_result_fields(status.to_json(), as_json=True)
    else:
        _print_text(status)
    ctx.exit(EXIT_CODES[status.health.value])


def _print_text(status: "NetworkStatus") -> None:
    facts = status.to_json()
    del facts["members"], facts["undialable"]
    print_result_fields(facts, as_json=False)
    _print_members(status)
    if facts["accused"]:
        print_note("hint: eigenkms evidence list shows and verifies what the accused are accused of")


def _print_members(status: "NetworkStatus") -> None:
    rows = (
        (
            to_hex(operator),
            *(
                [status.undialable.get(operator, "no answer")]
                if said is None
                else [_cell(getattr(said, name)) for name in _COLUMNS]
            ),
        )
        for operator, said in status.answers.items()
    )
    print_table(("operator", *_COLUMNS), rows)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
