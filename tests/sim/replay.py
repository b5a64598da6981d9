"""Tell one random story again, line by line: ``python -m tests.sim.replay SEED [SEED …]``, with ``-q`` only how it ends."""

import sys
from collections.abc import Sequence

from tests.sim.story import Story
from tests.support.toy_backend import toy_crypto


def main(arguments: Sequence[str]) -> int:
    quiet = "-q" in arguments
    failed = 0
    with toy_crypto():
        for seed in (int(a) for a in arguments if a != "-q"):
            story = Story(seed)
            if not quiet:
                story.world.listener = print
            try:
                print(f"seed {seed}: {story.tell()}")
            except AssertionError as error:
                failed += 1
                print(f"broken: {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
