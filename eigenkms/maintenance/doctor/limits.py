"""Checks of the resource limits of the process: open files and core dumps."""

import math
import resource
from pathlib import Path

from eigenkms.maintenance.doctor.checks import Finding, failed, ok, warning
from eigenkms.maintenance.doctor.context import CheckContext

FILES_NEEDED, FILES_WANTED = 1024, 8192


def _limit(case: CheckContext, number: int, name: str) -> tuple[float, float, str]:
    """Return soft limit, hard limit, and the process that has them.

    That is the running node if its limits can be read, else this command.
    """
    if case.pid:
        try:
            text = Path(f"/proc/{case.pid}/limits").read_text(encoding="ascii")
            line = next(line for line in text.splitlines() if line.startswith(name))
            soft, hard = line[len(name) :].split()[:2]
            return _number(soft), _number(hard), "the running node"
        except (OSError, StopIteration, ValueError):
            pass
    soft_, hard_ = resource.getrlimit(number)
    return _finite(soft_), _finite(hard_), "a command started like this one"


def _number(text: str) -> float:
    return math.inf if text == "unlimited" else int(text)


def _finite(limit: int) -> float:
    return math.inf if limit == resource.RLIM_INFINITY else limit


async def open_files(case: CheckContext) -> Finding:
    """Check the hard limit of open files, up to which a node raises its soft limit."""
    _, hard, whose = _limit(case, resource.RLIMIT_NOFILE, "Max open files")
    sentence = f"{whose} may have {hard:g} files open"
    advice = f"set LimitNOFILE={FILES_WANTED} in the systemd unit, or ulimit -n {FILES_WANTED}"
    if hard < FILES_NEEDED:
        return failed(f"{sentence}, too few for peers and clients", advice)
    return warning(sentence, advice) if hard < FILES_WANTED else ok(sentence)


async def core_dumps(case: CheckContext) -> Finding:
    """Check that a crash writes no core file, which would hold the keys."""
    soft, _, whose = _limit(case, resource.RLIMIT_CORE, "Max core file size")
    if soft:
        return warning(
            f"a crash of {whose} may write its memory, keys included, to a core file",
            "set LimitCORE=0 in the systemd unit, or ulimit -c 0",
        )
    return ok("a crash writes no core file")
