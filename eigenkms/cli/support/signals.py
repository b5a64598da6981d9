"""Signals that end the process, held back while something must be cleaned up."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class SignalGuard:
    """Holds back signals that end the process while something is cleaned up.

    In its block, such a signal raises KeyboardInterrupt, so that all is cleaned up on the way out. At the end of the block the
    signal ends the process after all. Between ``hold`` and ``release`` it waits. A second signal disturbs no clean-up, and an
    ignored one stays ignored.
    """

    def __init__(self) -> None:
        self._came: int | None = None
        self._holding = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # signals of others arrive there as well
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._before[number] = signal.signal(number, self._arrived)
        return self

    def hold(self) -> None:
        self._holding = True

    def release(self) -> None:
        self._holding = False
        if self._came is not None:
            raise KeyboardInterrupt

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        first, self._came = self._came is None, number
        if first and not self._holding:
            raise KeyboardInterrupt

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._came is not None:
            signal.raise_signal(self._came)
