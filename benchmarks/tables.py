"""How results are shown."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

WIDTH = 250
"""A terminal that is narrower breaks lines; heads of columns are never cut."""


def show(title: str, rows: Sequence[dict[str, str]]) -> None:
    """Print rows of one shape, with their names as heads of the columns."""
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row.values())
    Console(width=WIDTH).print(table, crop=False)
