"""What whoever watches a devnet is told: its start, what operators do at a boundary, rotations, and lines on stderr."""

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from eigenkms.devnet.boundary_tracker import BoundaryTracker
from eigenkms.devnet.network import Devnet, Say
from eigenkms.devnet.node_processes import DevnetOperator
from eigenkms.errors import NetworkError
from eigenkms.printable import printable

_TOLD = ("boundary", "dealt", "proposed", "voted", "certified", "share held", "void", "view")


def tell_stderr(line: str) -> None:
    """A line for whoever watches."""
    sys.stderr.write(printable(line) + "\n")
    sys.stderr.flush()


def say_all(lines: Iterable[str], say: Say) -> None:
    """Pass lines to ``say`` one by one: it writes out an end of line inside of one."""
    for line in lines:
        say(line)


class EventPrinter:
    """Says what the operators do, as it happens, unless it is ``silent``."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.silent = False

    def hear(self, member: DevnetOperator, event: Mapping[str, Any]) -> None:
        """A listener for ``Devnet.hear``."""
        if not self.silent and event["event"] in _TOLD:
            self._say(f"  {member.name}: {event['message']}")


async def start(network: Devnet, say: Say) -> None:
    """Start all nodes; they are up when this returns. Raises ``NetworkError``."""
    say(f"starting {len(network.members)} node processes, logs in {network.folder}")
    await network.start_all()
    interval = network.timing.interval_blocks * network.timing.block_seconds
    say(f"all nodes are up; the next boundary comes within {interval:g} s")


async def stop(network: Devnet, say: Say, *, except_for: frozenset[int] = frozenset()) -> None:
    """Stop all nodes. Raises ``NetworkError`` if one, other than those that were killed, does not end well."""
    for index, code in (await network.stop_all()).items():
        member = network.members[index]
        if index not in except_for and code != 0:
            raise NetworkError(f"stop {member.name}: exit code {code}", hint=f"see {member.log}")
    say("all nodes stopped")


async def tell_rotations(rounds: BoundaryTracker, say: Say) -> None:
    """A line for each boundary after genesis, once it is known what came of it; until cancelled."""
    block = rounds.genesis.block
    while True:
        block = (await rounds.after(block, math.inf)).block
        found = await rounds.outcome(block, math.inf)
        if found.seconds is None:
            say(f"boundary at block {block}: no new version")
        else:
            version, took = found.certified.version, found.seconds
            say(
                f"boundary at block {block}: new shares of the same key, version {version}, after {took:.1f} s"
            )
