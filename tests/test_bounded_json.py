"""JSON from strangers is bounded in depth, whatever the interpreter's recursion limit was raised to."""

import json
import subprocess
import sys

import pytest

from eigenkms import bounded_json


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_deep_nesting_is_an_error_and_not_a_crash(bracket: str) -> None:
    """With the limit that py_ecc sets, the standard decoder would overflow the C stack here."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        with pytest.raises(ValueError, match="nested deeper than 64"):
            bounded_json.loads(bracket * 200_000)
    finally:
        sys.setrecursionlimit(before)


def test_brackets_inside_strings_do_not_count() -> None:
    """Also behind escaped quotes and backslashes."""
    value = {"a": "[" * 1000, 'b"\\': ["\\", '"[{', {"c": "]}"}]}
    assert bounded_json.loads(json.dumps(value)) == value


@pytest.mark.parametrize("text", ["", "[", '"unended', '"\\', "]" * 10, "{]", "nul"])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    """As with the standard decoder."""
    with pytest.raises(ValueError):
        bounded_json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        '"' + '\\"' * 10**6,
        '"' + '\\"' * 10**6 + "\\",
        '"\\' * 10**6,
        '"' + "\\" * (2 * 10**6 + 1),
        '"' * 10**6 + "[",
    ],
    ids=["escaped quotes", "and a backslash", "quotes and backslashes", "backslashes", "quotes"],
)
def test_no_text_takes_longer_than_its_length_says(text: str) -> None:
    """Two megabytes, in a process that is killed if it takes a minute; a look from each quote to the end would take hours."""
    code = "import sys; from eigenkms import bounded_json; bounded_json.loads(sys.stdin.read())"
    done = subprocess.run(
        [sys.executable, "-c", code], input=text, text=True, capture_output=True, timeout=60, check=False
    )
    assert done.stderr.splitlines()[-1].startswith("json.decoder.JSONDecodeError")


def test_bytes_must_be_utf8() -> None:
    """UnicodeDecodeError is a ValueError."""
    with pytest.raises(ValueError, match="utf-8"):
        bounded_json.loads(b"\xff")


def test_sixty_four_levels_are_allowed() -> None:
    """And one more is not."""
    assert bounded_json.loads("[" * 64 + "]" * 64)
    with pytest.raises(ValueError, match="nested"):
        bounded_json.loads("[" * 65 + "]" * 65)


@pytest.mark.parametrize(
    "text", ['{"a":1,"a":1}', '[{"b":{"a":1,"c":2,"a":3}}]', "NaN", "[-Infinity]", '{"a":Infinity}']
)
def test_what_readers_may_read_differently_is_refused_where_it_matters(text: str) -> None:
    """The standard decoder, and ``loads``, take the last of two, and constants that are no JSON."""
    bounded_json.loads(text)
    with pytest.raises(ValueError, match=r"a name stands there twice|is no number"):
        bounded_json.loads_strict(text)


def test_strict_json_is_as_good_as_other_json() -> None:
    """The same name in two objects is nothing special; depth is bounded too."""
    value = {"a": [{"b": 1}, {"b": 2}], "b": None}
    assert bounded_json.loads_strict(json.dumps(value)) == value
    with pytest.raises(ValueError, match="nested deeper than 1"):
        bounded_json.loads_strict("[[]]", max_depth=1)
