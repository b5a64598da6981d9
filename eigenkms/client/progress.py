"""Lines that say how far a call is, for a person who waits for it."""

from collections.abc import Callable

ProgressCallback = Callable[[str], None]
"""Called with one line for each step."""


def ignore_progress(_line: str) -> None:
    """Discard a line of progress; the default of each call that reports any."""
