"""Tell many random stories at once: ``python -m tests.sim.run --seeds 100000``.

Each seed is one story (story.py), told in a process of its own choosing; a story depends on its seed alone, so the number of
processes changes nothing but the time. A story in which a law or a promise is broken is printed with the command that tells it
again line by line, and the exit status is 1. Curves and hashes are toys with the same equations (tests/support/toy_backend.py)
unless ``--real-crypto`` is given, which is some fifty times slower.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from eigenkms.crypto import backends
from tests.sim.story import Ending, Story
from tests.support.toy_backend import toy_crypto, toy_hashing

PROGRESS_SECONDS = 5.0
CHUNK = 8
"""Seeds that a process takes at a time."""


@dataclass(frozen=True)
class Outcome:
    """What became of one seed: an ending, or what is wrong with it; and what the trace amounts to."""

    seed: int
    trace_hash: str
    ending: Ending | None
    complaint: str = ""


def told(
    seed: int,
    *,
    real_crypto: bool = False,
    listener: Callable[[str], None] | None = None,
) -> Outcome:
    """One story, from beginning to end; never raises for what happens in it."""
    with ExitStack() as stack:
        if real_crypto:
            stack.enter_context(backends.use("auto"))
        else:
            stack.enter_context(toy_crypto())
            stack.enter_context(toy_hashing())
        story = Story(seed)
        story.world.listener = listener
        try:
            ending = story.tell()
        except Exception as error:
            what = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            return Outcome(seed, story.world.trace_hash, None, what)
        return Outcome(seed, story.world.trace_hash, ending)


def tell_all(seeds: Sequence[int], *, processes: int, real_crypto: bool = False) -> Iterator[Outcome]:
    """The outcomes of all seeds, as they come."""
    tell = partial(told, real_crypto=real_crypto)
    if processes <= 1:
        yield from map(tell, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(tell, seeds, chunksize=1 if real_crypto else CHUNK)


def replay_command(outcome: Outcome, *, real_crypto: bool = False) -> str:
    return f"python -m tests.sim.replay{' --real-crypto' if real_crypto else ''} {outcome.seed}"


class _Report:
    """Counts outcomes and tells people how it goes."""

    def __init__(self, total: int, *, real_crypto: bool) -> None:
        self.total, self.real_crypto = total, real_crypto
        self.failed = 0
        self.sizes: Counter[int] = Counter()
        self.sums: Counter[str] = Counter()
        self._begun = self._told = time.monotonic()

    def take(self, outcome: Outcome) -> None:
        if outcome.ending is None:
            self.failed += 1
            print(f"FAILED {outcome.complaint}")
            print(f"  replay: {replay_command(outcome, real_crypto=self.real_crypto)}", flush=True)
        else:
            self.sizes[outcome.ending.n] += 1
            self.sums.update(outcome.ending.counts())
        now = time.monotonic()
        if now - self._told >= PROGRESS_SECONDS:
            self._told = now
            print(self._line(now), file=sys.stderr, flush=True)

    def _line(self, now: float) -> str:
        done = self.failed + self.sizes.total()
        seconds = now - self._begun
        return f"{done} of {self.total} seeds, {self.failed} failed, {seconds:.0f} s, {done / seconds:.1f} a second"

    def finish(self) -> None:
        print(self._line(time.monotonic()))
        print(
            "stories for each number of operators:",
            ", ".join(f"{n}: {c}" for n, c in sorted(self.sizes.items())),
        )
        print("in all of them:", ", ".join(f"{c} {what}" for what, c in self.sums.items()))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.run", description="Tell random stories.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed; the others follow it")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="default: one for each core"
    )
    parser.add_argument("--real-crypto", action="store_true", help="real curves and hashes; slow")
    chosen = parser.parse_args(arguments)
    report = _Report(chosen.seeds, real_crypto=chosen.real_crypto)
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    for outcome in tell_all(seeds, processes=chosen.processes, real_crypto=chosen.real_crypto):
        report.take(outcome)
    report.finish()
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
