"""``python -m tests.support.forker``: the command as a real process, without the seconds that its imports cost.

The process has imported what the verbs import. Its standard input is a listening socket, and it forks for each connection. The
child has the words, environment, folder, umask and descriptors of the request, and a session of its own if the request says so.
Its parent answers with the exit code, as a shell counts it. ``forked_command.py`` is the other end for shells, ``ask`` for Python.
"""

import json
import os
import pkgutil
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parents[2]

MAX_REQUEST = 2**17
LAZY = (
    "eigenkms.client.api",
    "eigenkms.node.app",
    "eigenkms.maintenance.doctor.registry",
    "eigenkms.devnet.scenarios",
)
"""What verbs import when they are carried out."""


@contextmanager
def forker() -> Iterator[Path]:
    """Run a forker for the length of the context; the address of its socket."""
    with tempfile.TemporaryDirectory() as short:  # a socket's path has a hundred bytes at most
        address = Path(short) / "forker"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(address))
            listener.listen()
            process = subprocess.Popen([sys.executable, "-m", __name__], stdin=listener, cwd=ROOT)
        try:
            yield address
        finally:
            process.kill()
            process.wait()


def ask(
    address: Path,
    words: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    descriptors: Sequence[int],
    closed: Sequence[int] = (),
) -> Callable[[], int]:
    """Start the command in a session of its own, on copies of stdin, stdout and stderr. Call the result for its exit code.

    ``closed`` are the standard descriptors that the command starts without.
    """
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.settimeout(PATIENCE)
    control.connect(str(address))
    request = {"words": list(words), "environment": dict(environment), "folder": str(folder), "session": True}
    request["closed"] = list(closed)
    socket.send_fds(control, [json.dumps(request).encode()], list(descriptors))

    def ended() -> int:
        with control:
            return control.recv(1)[0]

    return ended


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
    code = 70
    try:
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
            os.close(descriptor)
        for number in request.get("closed", ()):  # as the interpreter starts without one
            os.close(number)
            setattr(sys, ("stdin", "stdout", "stderr")[number], None)
        os.environ.clear()
        os.environ.update(request["environment"])
        if request.get("session"):
            os.setsid()
        os.umask(request.get("umask", 0o022))
        os.chdir(request["folder"])
        sys.argv = ["eigenkms", *request["words"]]
        import_module("eigenkms.cli.main").main()
    except SystemExit as exit_:
        if isinstance(exit_.code, str):
            print(exit_.code, file=sys.stderr)
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        traceback.print_exc()  # as the interpreter does: a test may look for one
        code = 1
    else:
        code = 0
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
