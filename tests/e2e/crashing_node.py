"""``python -m tests.e2e.crashing_node POINT before|after [ARGS…]``: a real node that SIGKILLs itself at a persistence point.

Otherwise it is ``eigenkms.devnet.parent_watchdog``, stopped when its parent is gone. ``before``: all of the step is computed and
written, and its transaction not committed; ``after``: it is durable, and nothing that follows from it has left the process.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from eigenkms.devnet import parent_watchdog
from eigenkms.storage.store import Record, Store
from eigenkms.wire.frames import FrameKind, decode_frame
from eigenkms.wire.messages import read_vote
from eigenkms.wire.votes import VOID_HASH, Phase, decode_certificate

POINTS = ("open", "polynomial", "revealed", "dealing", "prepare", "commit", "certificate", "version")
"""What a genesis writes, in this order: the session, my polynomial with its hash, whose dealings may count, my dealing, my prepare
vote with what it names, lock with my commit vote, the certificate, the key version.
"""
ROTATION_POINTS = (
    *(
        "open",
        "key",
        "dealing",
        "prepare",
        "commit",
        "certificate",
        "version",
        "share",
        "erase",
        "erase keys",
    ),
)
"""What a rotation writes: the session, my encryption key, and as a genesis; then my share, and what is destroyed after it."""
MOMENTS = ("before", "after")
_BY_RECORD = {"polynomial": "polynomial", "revealed": "revealed", "dealing": "dealing"}
_BY_CERTIFICATE = {"lock": "commit", "certificate": "certificate"}


def points_of(records: Sequence[Record]) -> set[str]:
    """Which points one append is. Votes and certificates that end a session without a key are none of them."""
    return {point for record in records if (point := _point_of(record)) is not None}


def _point_of(record: Record) -> str | None:
    if record.kind == "frame":
        frame = decode_frame(record.body)
        is_prepare = frame.kind is FrameKind.VOTE and read_vote(frame).phase is Phase.PREPARE
        return "prepare" if is_prepare else None
    if record.kind in _BY_CERTIFICATE:
        return None if decode_certificate(record.body).hash == VOID_HASH else _BY_CERTIFICATE[record.kind]
    return _BY_RECORD.get(record.kind)


def install(point: str, moment: str) -> None:
    """Make every ``Store`` of this process crash the process there."""
    armed = False

    def crash() -> None:
        line = {"event": "crashing", "point": point, "moment": moment, "message": f"SIGKILL {moment} {point}"}
        os.write(2, (json.dumps(line) + "\n").encode())
        os.kill(os.getpid(), signal.SIGKILL)

    writing = Store._writing

    @contextmanager
    def crashing(store: Store, action: str) -> Iterator[None]:
        with writing(store, action):
            yield
            if armed and moment == "before":
                crash()
        if armed:
            crash()

    def arming(method: Callable[..., Any], is_point: Callable[..., bool]) -> Callable[..., Any]:
        def call(store: Store, *args: Any) -> Any:
            nonlocal armed
            armed = is_point(*args)
            return method(store, *args)

        return call

    Store._writing = crashing  # type: ignore[method-assign, assignment]
    Store.open_session = arming(Store.open_session, lambda *_: point == "open")  # type: ignore[method-assign]
    Store.append = arming(Store.append, lambda _, records: point in points_of(records))  # type: ignore[method-assign]
    Store.add_version = arming(Store.add_version, lambda *_: point == "version")  # type: ignore[method-assign]
    Store.keep_key = arming(Store.keep_key, lambda *_: point == "key")  # type: ignore[method-assign]
    Store.add_share = arming(Store.add_share, lambda *_: point == "share")  # type: ignore[method-assign]
    Store.erase_share = arming(Store.erase_share, lambda *_: point == "erase")  # type: ignore[method-assign]
    Store.erase_keys = arming(Store.erase_keys, lambda *_: point == "erase keys")  # type: ignore[method-assign]


def main() -> None:
    """Install the crash and become the node."""
    point, moment, *arguments = sys.argv[1:]
    assert point in POINTS + ROTATION_POINTS
    assert moment in MOMENTS
    install(point, moment)
    sys.argv = [sys.argv[0], *arguments]
    parent_watchdog.main()


if __name__ == "__main__":
    main()
