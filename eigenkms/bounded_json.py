"""JSON from strangers, with a bound on its depth.

Python's decoder recurses in C and relies on the interpreter's recursion limit to stop it. Libraries raise that limit (py_ecc to
100,000 when it is imported), and then a few hundred kilobytes of ``[`` end the process with a segmentation fault. So depth is
bounded here, before anything is decoded.
"""

import json
import re
from typing import Any

MAX_DEPTH = 64
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKETS = re.compile(r"[\[{]|[\]}]")


def loads(data: str | bytes, *, max_depth: int = MAX_DEPTH, **options: Any) -> Any:
    """As ``json.loads``, with its ``options``.

    Raises ``ValueError`` also for what is nested deeper than ``max_depth``, or is not UTF-8.
    """
    text = data if isinstance(data, str) else data.decode()
    depth = 0
    for bracket in _BRACKETS.finditer(_STRINGS.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > max_depth:
            raise ValueError(f"nested deeper than {max_depth}")
    return json.loads(text, **options)
