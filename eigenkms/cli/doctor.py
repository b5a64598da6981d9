"""``eigenkms doctor``: the preflight of a node, for a person and for a monitor."""

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.accounts import account_address
from eigenkms.cli.support.options import json_option, print_result_fields, settings_options, verb
from eigenkms.cli.support.output import print_result
from eigenkms.cli.support.passwords import VARIABLE, read_password
from eigenkms.config.node import NodeConfig
from eigenkms.config.schema import NODE_SETTINGS

if TYPE_CHECKING:
    from eigenkms.config.settings import Settings
    from eigenkms.maintenance.doctor.checks import Result
    from eigenkms.maintenance.doctor.context import CheckContext

HEALTH = ("healthy", "to be mended here", "not in this machine's power")
_PURPOSE = "the node's keystores"


@verb("doctor", "eigenkms doctor --config node.toml")
@settings_options(*NODE_SETTINGS, lazy=True)
@click.option("--verify-keys", is_flag=True, help="Prompt for the password if none is given.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    settings: "Callable[[], Settings]",
    config: str | None,
    verify_keys: bool,
    as_json: bool,
) -> None:
    """Check whether a node can run here, and advise fixes.

    Run it before the first start or while the node runs. It changes nothing. With the password it also opens the keystores and
    requests a dial-back from other operators. Exit codes: 0 without a finding, 1 for a finding or warning on this machine, 2 if the
    RPC or the network is unavailable.
    """
    from eigenkms.maintenance.doctor.checks import exit_code

    def tell(result: "Result[CheckContext]") -> None:
        if not as_json:
            print_result(*_lines(result))

    def password(node: NodeConfig) -> str | None:
        if node.keys.password_file is None and not os.environ.get(VARIABLE) and not verify_keys:
            return None
        return read_password(_PURPOSE, file=node.keys.password_file, environ=os.environ)

    async def examined() -> "list[Result[CheckContext]]":
        from eigenkms.maintenance.doctor.context import CheckContext
        from eigenkms.maintenance.doctor.registry import run_doctor
        from eigenkms.p2p.host import open_host
        from eigenkms.p2p.identity import PeerKey

        async with open_host(PeerKey.generate()) as visitor:
            case = CheckContext(
                load=lambda: NodeConfig.from_settings(settings()),
                read_password=password,
                visitor=visitor,
                account=lambda: account_address(settings()),
                file=config or "node.toml",
            )
            return await run_doctor(case, tell)

    results = client_runner.run(examined)
    code = exit_code(results)
    if as_json:
        print_result_fields(
            {"health": HEALTH[code], "checks": [_facts(result) for result in results]}, as_json=True
        )
    ctx.exit(code)


def _lines(result: "Result[CheckContext]") -> Iterator[str]:
    finding = result.finding
    yield f"{finding.verdict:<8} {result.check.name:<14} {finding.sentence}"
    if finding.hint is not None:
        yield f"{'':<23} next: {finding.hint}"


def _facts(result: "Result[CheckContext]") -> dict[str, Any]:
    finding = result.finding
    return {
        "check": result.check.name,
        "verdict": str(finding.verdict),
        "says": finding.sentence,
        "next": finding.hint,
    }
