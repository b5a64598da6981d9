"""Wait for the event that a test is about; one far deadline ends a test that hangs.

A verdict must not depend on how fast the machine is. So a test that waits, waits here:

- ``eventually`` and ``wait_until`` wait for a condition that has no event, such as another process's state. ``PATIENCE``
  is their deadline. It is far: only a hang reaches it. Other waits should take it too.
- A test of deadlines, pauses and periods takes the fixture ``virtual_clock``. Virtual time stands still while a task of the
  loop can run, and jumps to the next deadline otherwise. ``pass_time`` is exact there, and load does not change it.
- ``pace`` slows a peer that the test plays, in the clock of the test. The verdict must not depend on its length.

``tests/test_waits.py`` refuses all other sleeps, measurements of time, and near deadlines in modules without a virtual clock.
"""

import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import pytest
import trio
from trio.abc import Clock, Instrument
from trio.testing import MockClock

T = TypeVar("T")

PATIENCE: Final = 600.0
"""Seconds after which a wait counts as a hang."""
_LOOK_SECONDS: Final = 0.02
_LONGEST_LOOK_SECONDS: Final = 0.5
"""In virtual time looks are farther apart each time, because a jump costs more real time than the look saves."""
_JUMP_AFTER_SECONDS: Final = 0.03
"""Idle real time before virtual time jumps. Bytes that were sent on loopback have arrived by then."""


@pytest.fixture
def virtual_clock(request: pytest.FixtureRequest) -> MockClock:
    """Return trio's clock for a test whose peers all run in the test's own loop.

    ``usefixtures`` is enough to run a test under such a clock. The clock ignores worker threads and other processes. A test
    that waits for one of those needs real time: mark it ``real_time`` in a folder where this fixture is automatic.
    """
    if request.node.get_closest_marker("real_time"):
        return MockClock(rate=1.0)
    return _new_clock()


def _new_clock() -> MockClock:
    return MockClock(autojump_threshold=_JUMP_AFTER_SECONDS)


def run_in_virtual_time(
    main: Callable[[], Awaitable[T]], *, clock: Clock | None = None, instruments: Sequence[Instrument] = ()
) -> T:
    """Do what ``trio.run`` does, under the virtual clock unless another one is given."""
    return trio.run(main, clock=clock or _new_clock(), instruments=instruments)


async def pass_time(seconds: float) -> None:
    """Let virtual time pass. AssertionError under a clock that follows the machine's."""
    assert _is_virtual(), "this clock follows the machine's: wait for the event instead"
    await trio.sleep(seconds)


def _is_virtual() -> bool:
    clock = trio.lowlevel.current_clock()
    return isinstance(clock, MockClock) and clock.rate == 0


async def pace(seconds: float) -> None:
    """Slow a peer that the test plays, in the clock of the test."""
    await trio.sleep(seconds)


async def eventually(condition: Callable[[], T | Awaitable[T]], what: object = "") -> T:
    """Return the first true value of ``condition()``, awaited if it is awaitable.

    ``what`` is what an error says was missing: an object, or a function that is called then. Raises AssertionError after
    ``PATIENCE`` seconds.
    """
    value: Any = None
    pause = _LOOK_SECONDS
    with trio.move_on_after(PATIENCE):
        while True:
            value = condition()
            if inspect.isawaitable(value):
                value = await value
            if value:
                found: T = value
                return found
            await trio.sleep(pause)
            if _is_virtual():
                pause = min(2 * pause, _LONGEST_LOOK_SECONDS)
    raise AssertionError(_never(condition, what, value))


def wait_until(condition: Callable[[], T], what: object = "") -> T:
    """Do what ``eventually`` does, in a test that is not asynchronous."""
    end = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(_never(condition, what, value))
        time.sleep(_LOOK_SECONDS)


def _never(condition: Callable[[], object], what: object, value: object) -> str:
    told = what() if callable(what) else what
    return f"not within {PATIENCE:g} s: {told or inspect.getsource(condition).strip()} (last: {value!r})"
