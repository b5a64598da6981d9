"""Tell one random story again, line by line: ``python -m tests.sim.replay SEED [SEED …]``.

A line has the time in seconds, who does something, and what: ``-> op3 VOTE 0 1 of 1da737 (9d9d62eb)`` sends operator 3 a vote,
in view 0, phase 1, of the session whose id begins so, in a frame whose key begins so; ``=> op3`` answers a pull; ``crashes``;
``sees boundary``; and what the machine itself notes. Two replays of one seed print the same, on any machine.
"""

import argparse
import sys
from collections.abc import Sequence

from tests.sim.run import told


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sim.replay", description="Tell a random story again."
    )
    parser.add_argument("seeds", type=int, nargs="+", metavar="SEED")
    parser.add_argument("--quiet", "-q", action="store_true", help="only how it ends")
    parser.add_argument("--real-crypto", action="store_true", help="real curves and hashes; slow")
    chosen = parser.parse_args(arguments)
    failed = 0
    for seed in chosen.seeds:
        outcome = told(seed, real_crypto=chosen.real_crypto, listener=None if chosen.quiet else print)
        failed += outcome.ending is None
        print(f"seed {seed}: {outcome.ending or 'BROKEN: ' + outcome.complaint}")
        print(f"trace hash {outcome.trace_hash}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
