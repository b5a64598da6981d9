"""Tables on stdout: aligned columns, on a terminal with rules if wanted."""

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from eigenkms.printable import printable

WIDTH = 250
"""A terminal that is narrower breaks lines; columns are never squeezed."""


def print_table(
    columns: Sequence[str],
    rows: Iterable[Iterable[str]],
    *,
    to_the_right: Collection[str] = (),
    ruled: bool = False,
) -> None:
    """Print a line for each of ``rows``. Raises InputError if stdout does not take it."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(width=WIDTH)
    table = Table(box=box.ROUNDED if ruled and console.is_terminal else None)
    for name in columns:
        justify: Literal["left", "right"] = "right" if name in to_the_right else "left"
        table.add_column(name, justify=justify, no_wrap=True, overflow="ignore")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    console.print(table, crop=False)
