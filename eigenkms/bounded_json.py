"""JSON from strangers, with a bound on its depth.

Python's decoder recurses in C and relies on the interpreter's recursion limit to stop it. Libraries raise that limit (py_ecc to
100,000 when it is imported), and then a few hundred kilobytes of ``[`` end the process with a segmentation fault. So depth is
bounded here, before anything is decoded.
"""

import json
import re
from typing import Any, NoReturn

MAX_DEPTH = 64
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
"""One that never ends takes all that follows, so that no text is looked at twice."""
_BRACKETS = re.compile(r"[\[{]|[\]}]")


def loads(data: str | bytes, *, max_depth: int = MAX_DEPTH, **options: Any) -> Any:
    """Parse as ``json.loads``, with its ``options``.

    Raises ``ValueError`` also for nesting deeper than ``max_depth``, and for bytes that are not UTF-8.
    """
    text = data if isinstance(data, str) else data.decode()
    depth = 0
    for bracket in _BRACKETS.finditer(_STRINGS.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > max_depth:
            raise ValueError(f"nested deeper than {max_depth}")
    return json.loads(text, **options)


def loads_strict(data: str | bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse JSON that all readers read alike (RFC 8259).

    No name stands twice in an object, and numbers are numbers. Raises ``ValueError`` as ``loads``; its message may quote the text.
    """
    return loads(data, max_depth=max_depth, object_pairs_hook=_distinct, parse_constant=_no_constant)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
