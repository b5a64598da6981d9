"""``eigenkms status``: can the network serve, for a person and for a monitor."""

from typing import TYPE_CHECKING

import click

from eigenkms.cli import network
from eigenkms.cli.options import json_option, print_facts, verb, with_settings

if TYPE_CHECKING:
    from eigenkms.node.settings import Settings

HEALTHY, DEGRADED, CANNOT_SERVE = 0, 1, 2


def verdict(reachable: int, total: int, threshold: int) -> int:
    """The exit code: all operators answer, some do not, or fewer than a quorum does."""
    if reachable < threshold:
        return CANNOT_SERVE
    return HEALTHY if reachable == total else DEGRADED


@verb("status", "eigenkms status --environment sepolia --rpc-url https://rpc.example.org")
@with_settings(*network.NETWORK_SETTINGS)
@json_option
@click.pass_context
def command(ctx: click.Context, *, settings: "Settings", as_json: bool) -> None:
    """Say whether the network can serve. Exit code 0: healthy; 1: degraded; 2: it cannot serve.

    With --json: health, cluster, version, threshold, operators, reachable, silent (addresses that did not
    answer).
    """
    info = network.fetch_cluster(settings)
    silent = ["0x" + o.address.hex() for o in info.operators if not o.reachable]
    total = len(info.operators)
    code = verdict(total - len(silent), total, info.threshold)
    facts = {
        "health": ("healthy", "degraded", "cannot serve")[code],
        "cluster": info.cluster_id.hex(),
        "version": info.version,
        "threshold": info.threshold,
        "operators": total,
        "reachable": total - len(silent),
        "silent": silent,
    }
    print_facts(facts, as_json=as_json)
    ctx.exit(code)
