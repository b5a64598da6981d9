"""``python -m tests.docs.forker``: the command of the shells, without the seconds that its imports cost.

It has imported what the verbs import. Its standard input is a listening socket; it forks for each connection. The child has the
words, environment, folder, umask and descriptors of the shell's command, and a parent that answers how it ended.
``forked_command.py`` is the other end.
"""

import json
import os
import pkgutil
import socket
import threading
import warnings
from importlib import import_module
from typing import Any, NoReturn

MAX_REQUEST = 2**17
LAZY = ("eigenkms.client.api", "eigenkms.node.app", "eigenkms.node.doctor.table")
"""What verbs import when they are carried out."""


def main() -> None:
    """Fork until this process is killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from eigenkms import cli

        for module in pkgutil.iter_modules(cli.__path__, "eigenkms.cli."):
            import_module(module.name)
        for name in LAZY:
            import_module(name)
    assert threading.active_count() == 1, "a child would have one of these threads"
    with socket.socket(fileno=os.dup(0)) as listener:
        while True:
            control, _ = listener.accept()
            with control:
                if not os.fork():
                    listener.close()
                    _answer(control)
            _bury()


def _bury() -> None:
    """Reap the children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _answer(control: socket.socket) -> NoReturn:
    """Start the command, and answer how it ended as a shell counts it."""
    request, descriptors, _, _ = socket.recv_fds(control, MAX_REQUEST, 3)
    child = os.fork()
    if not child:
        control.close()
        _become(json.loads(request), descriptors)
    for each in descriptors:
        os.close(each)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    control.send(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


def _become(request: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Be the command."""
    import sys

    code = 70
    try:
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.umask(request["umask"])
        os.chdir(request["folder"])
        sys.argv = ["eigenkms", *request["words"]]
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
