"""``eigenkms status``: can the network serve, for a person and for a monitor.

The version comes verified from the chain's operator set. What each operator says of itself is only its word;
it is used to count who could serve now, and shown with everything stripped that could command a terminal.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from eigenkms import bounded_json
from eigenkms.cli.support import client_runner
from eigenkms.cli.support.options import json_option, print_facts, verb, with_settings
from eigenkms.cli.support.output import note
from eigenkms.cli.support.progress import Progress
from eigenkms.cli.support.tables import print_table
from eigenkms.errors import ChainError, EigenKmsError, NetworkError

if TYPE_CHECKING:
    from eigenkms.client.api import Client, ClientSettings, ClusterInfo
    from eigenkms.config.settings import Settings
    from eigenkms.types import OperatorAddress

HEALTHY, DEGRADED, CANNOT_SERVE = 0, 1, 2
HEALTH = ("healthy", "degraded", "cannot serve")

ANSWER_SECONDS = 5.0
LOOKS, LOOK_PAUSE_SECONDS = 4, 1.0
"""How often operators are asked, if they are found in the midst of a rotation, and how long after the last time."""
MAX_NAMED = 256
"""Operators that one answer names as accused; no set is larger."""

Answers = Mapping["OperatorAddress", Mapping[str, Any] | None]
"""What each operator said of itself; None for one that did not answer."""


def verdict(serving: int, total: int, threshold: int) -> int:
    """The exit code: all operators serve, some do not, or fewer than a quorum does."""
    if serving < threshold:
        return CANNOT_SERVE
    return HEALTHY if serving == total else DEGRADED


def plain(value: object) -> object:
    """A stranger's value, if it is one that may be shown: a number, truth, or a short printable text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str) and len(value) <= 100 and value.isprintable():
        return value
    return None


def read_answer(answer: bytes) -> dict[str, Any] | None:
    """An operator's word on itself; None where it is not what a node says."""
    try:
        said = bounded_json.loads(answer)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    shown = (
        "version",
        "share",
        "policy",
        "peers",
        "phase",
        "boundary",
        "head",
        "evidence",
        "released",
        "release_head",
        "canary",
        "anchored",
    )
    return {name: plain(said.get(name)) for name in shown} | {"accused": _addresses(said.get("accused"))}


def _addresses(value: object) -> list[str]:
    """The operator addresses in a stranger's list, as many as there may be."""
    listed = value[:MAX_NAMED] if isinstance(value, list) else []
    return [text for text in listed if isinstance(text, str) and re.fullmatch("0x[0-9a-f]{40}", text)]


def judge(info: "ClusterInfo", answers: Answers) -> tuple[int, dict[str, Any]]:
    """Exit code and facts."""
    serving = [o for o, said in answers.items() if said and said["version"] == info.version and said["share"]]
    code = verdict(len(serving), len(info.operators), info.threshold)
    return code, {
        "health": HEALTH[code],
        "cluster": info.cluster_id.hex(),
        "version": int(info.version),
        "threshold": info.threshold,
        "operators": len(info.operators),
        "serving": len(serving),
        "silent": ["0x" + o.hex() for o, said in answers.items() if said is None],
        "accused": sorted({name for said in answers.values() if said for name in said["accused"]}),
        "members": {"0x" + o.hex(): said for o, said in answers.items()},
    }


def is_changing(info: "ClusterInfo", answers: Answers) -> bool:
    """Whether an operator has another version than was found, or has it and no share yet, as it is while all go on to a new one."""
    said = [each for each in answers.values() if each and isinstance(each["version"], int)]
    return any(each["version"] != info.version or each["share"] is False for each in said)


async def ask_all(settings: "ClientSettings", progress: Progress) -> tuple["ClusterInfo", Answers]:
    """The verified version, and each recipient's word on itself within ANSWER_SECONDS. Asks again while they are changing: a
    rotation is no degradation, a node that stays behind is one.
    """
    import trio

    from eigenkms.client.api import open_client

    async with open_client(settings) as client:
        info, answers = await _look(client, progress)
        for _ in range(LOOKS - 1):
            if not is_changing(info, answers):
                break
            await trio.sleep(LOOK_PAUSE_SECONDS)
            info, answers = await _look(client, progress)
    return info, answers


async def _look(client: "Client", progress: Progress) -> tuple["ClusterInfo", Answers]:
    import trio

    info = await client.fetch(progress)
    answers: dict[OperatorAddress, Mapping[str, Any] | None] = dict.fromkeys(info.operators)
    async with trio.open_nursery() as nursery:
        for operator in info.operators:
            nursery.start_soon(_ask, client, operator, answers)
    return info, answers


async def _ask(
    client: "Client", operator: "OperatorAddress", answers: dict["OperatorAddress", Mapping[str, Any] | None]
) -> None:
    from eigenkms.protocols.wire.rpc_methods import STATUS

    try:
        answers[operator] = read_answer(await client.ask(operator, STATUS, b"", ANSWER_SECONDS))
    except EigenKmsError:
        answers[operator] = None


@verb("status", "eigenkms status --environment sepolia --rpc-url https://rpc.example.org")
@with_settings(*client_runner.NETWORK_SETTINGS)
@json_option
@click.pass_context
def command(ctx: click.Context, *, settings: "Settings", as_json: bool) -> None:
    """Report whether the network can serve keys.

    Exit code 0: healthy; 1: degraded; 2: it cannot serve.
    """
    needed = client_runner.client_settings(settings)
    try:
        with Progress("asking the operators") as progress:
            info, answers = client_runner.run(ask_all, needed, progress)
    except* (NetworkError, ChainError) as group:
        if as_json:
            reason = "; ".join(str(error) for error in group.exceptions)
            print_facts({"health": HEALTH[CANNOT_SERVE], "reason": reason}, as_json=True)
        raise
    code, facts = judge(info, answers)
    members = facts["members"]
    if not as_json:
        del facts["members"]
    print_facts(facts, as_json=as_json)
    if not as_json:
        _print_members(members)
        if facts["accused"]:
            note("hint: eigenkms evidence list shows and verifies what the accused are accused of")
    ctx.exit(code)


def _print_members(members: Mapping[str, Mapping[str, object] | None]) -> None:
    columns = (
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
    rows = (
        (operator, *(["no answer"] if said is None else [_word(said[name]) for name in columns]))
        for operator, said in members.items()
    )
    print_table(("operator", *columns), rows)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
