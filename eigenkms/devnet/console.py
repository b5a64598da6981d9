"""Print the events of a devnet as lines on stderr."""

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from eigenkms.devnet.boundary_tracker import BoundaryTracker
from eigenkms.devnet.network import Devnet, Say
from eigenkms.devnet.operators import DevnetOperator
from eigenkms.errors import NetworkError
from eigenkms.printable import printable

_PRINTED = ("boundary", "dealt", "proposed", "voted", "certified", "share held", "void", "view")


def print_stderr(line: str) -> None:
    """Print a line on stderr."""
    sys.stderr.write(printable(line) + "\n")
    sys.stderr.flush()


def print_lines(lines: Iterable[str], say: Say) -> None:
    """Pass lines to ``say`` one by one: it writes out an end of line inside of one."""
    for line in lines:
        say(line)


class EventPrinter:
    """Prints the events of the operators as they happen, unless it is ``silent``."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.silent = False

    def on_event(self, member: DevnetOperator, event: Mapping[str, Any]) -> None:
        """Print an event; a listener for ``Devnet.add_listener``."""
        if not self.silent and event["event"] in _PRINTED:
            self._say(f"  {member.name}: {event['message']}")


async def start(network: Devnet, say: Say) -> None:
    """Start all nodes and wait until they are up. Raises ``NetworkError``."""
    say(f"starting {len(network.members)} node processes, logs in {network.folder}")
    await network.start_all()
    interval = network.timing.interval_blocks * network.timing.block_seconds
    say(f"all nodes are up; the next boundary comes within {interval:g} s")


async def stop(network: Devnet, say: Say, *, except_for: frozenset[int] = frozenset()) -> None:
    """Stop all nodes.

    Raises ``NetworkError`` if one, except those that were killed, exits with an error.
    """
    for index, code in (await network.stop_all()).items():
        member = network.members[index]
        if index not in except_for and code != 0:
            raise NetworkError(f"stop {member.name}: exit code {code}", hint=f"see {member.log}")
    say("all nodes stopped")


async def print_rotations(tracker: BoundaryTracker, say: Say) -> None:
    """Print the outcome of each boundary after genesis, until cancelled."""
    block = tracker.genesis.block
    while True:
        block = (await tracker.after(block, math.inf)).block
        found = await tracker.outcome(block, math.inf)
        if found.seconds is None:
            say(f"boundary at block {block}: no new version")
        else:
            version, took = found.certified.version, found.seconds
            say(
                f"boundary at block {block}: new shares of the same key, version {version}, after {took:.1f} s"
            )
