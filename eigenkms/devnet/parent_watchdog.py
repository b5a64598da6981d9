"""Run the ``eigenkms`` command, and stop it when its parent is gone.

Usage: ``python -m eigenkms.devnet.parent_watchdog ARGS…``. The parent holds the other end of stdin. When it dies, in any way, the
pipe closes, and this process sends itself SIGTERM: a devnet leaves no orphans. (PR_SET_PDEATHSIG would be tied to the parent's
thread, not to the process.)
"""

import os
import runpy
import signal
import sys
import threading


def _watch() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Watch stdin in a thread, then become the command."""
    threading.Thread(target=_watch, name="tether", daemon=True).start()
    sys.argv[0] = "eigenkms"
    runpy.run_module("eigenkms.cli.main", run_name="__main__")


if __name__ == "__main__":
    main()
