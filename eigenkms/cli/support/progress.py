"""Progress of long work on stderr.

It is one line that changes on a terminal, and plain lines elsewhere.
"""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from eigenkms.cli.support.output import print_note
from eigenkms.printable import printable

if TYPE_CHECKING:
    from rich.status import Status


class Progress:
    """Call it with a line for each step. Leaves nothing on a terminal when it ends."""

    def __init__(self, first: str) -> None:
        self._first = first
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.markup import escape

            self._status = Console(stderr=True).status(escape(printable(self._first)))
            self._status.start()
        return self

    def __call__(self, line: str) -> None:
        if self._status is None:
            print_note(line)
            return
        from rich.markup import escape

        self._status.update(escape(printable(line)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()
