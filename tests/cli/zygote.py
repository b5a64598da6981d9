"""``python -m tests.cli.zygote``: the command as a real process of its own, without the seconds that its imports cost.

It has imported all that the verbs import, and forks for each request that comes through the socket that is its standard input. The
child has its own session, descriptors, environment and folder, as the installed command would; the answer is how it ended.
"""

import json
import os
import pkgutil
import socket
import sys
import threading
import warnings
from importlib import import_module
from typing import NoReturn

MAX_REQUEST = 2**20
LAZY = ("eigenkms.client.api", "eigenkms.node.app", "eigenkms.node.doctor.table", "eigenkms.devnet.cluster")
"""What verbs import when they are carried out."""


def main() -> None:
    """Fork until the other end of the socket is closed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from eigenkms import cli

        for module in pkgutil.iter_modules(cli.__path__, "eigenkms.cli."):
            import_module(module.name)
        for name in LAZY:
            import_module(name)
    assert threading.active_count() == 1, "a child would have one of these threads"
    with socket.socket(fileno=os.dup(0)) as control:
        while True:
            request, descriptors, _, _ = socket.recv_fds(control, MAX_REQUEST, 3)
            if not request:
                return
            child = os.fork()
            if not child:
                control.close()
                _become(json.loads(request), descriptors)
            for each in descriptors:
                os.close(each)
            control.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]).to_bytes(4, "big", signed=True))


def _become(request: dict[str, object], descriptors: list[int]) -> NoReturn:
    """Be the command."""
    code = 70
    try:
        os.setsid()
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(request["environment"])  # type: ignore[call-overload]
        os.chdir(str(request["folder"]))
        sys.argv = ["eigenkms", *request["words"]]  # type: ignore[misc]
        from eigenkms.cli.main import main as command

        command()
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
