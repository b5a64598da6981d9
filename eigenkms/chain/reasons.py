"""Find the words of a provider in its error, wherever it puts them.

JSON-RPC 2.0 has them in ``error.message``, and sometimes the part that matters in ``error.data``. Gateways before the node answer
with an HTTP status and a body of their own: an error object, ``{"message": …}``, or a line of text. Pages of HTML have no reason.
"""

from typing import Final

from eigenkms import bounded_json
from eigenkms.chain.rpc_values import Json

MAX_BODY_BYTES: Final = 4096
"""Of an HTTP error, looked at for words."""
_NAMES: Final = ("message", "error", "detail", "reason", "title")


def reason_in(value: Json) -> str:
    """Return the words in an error, untrusted; an empty text if there are none."""
    if isinstance(value, str):
        return "" if value.startswith("0x") else " ".join(value.split())
    if not isinstance(value, dict):
        return ""
    said = next((words for name in _NAMES if (words := reason_in(value.get(name)))), "")
    more = reason_in(value.get("data"))
    if more and more not in said:
        return f"{said}: {more}" if said else more
    return said


def reason_in_body(body: bytes) -> str:
    """Return the words in the body of an HTTP error, untrusted.

    An empty text for HTML and what is no text.
    """
    try:
        text = body.decode()
        return reason_in(bounded_json.loads(text))
    except UnicodeDecodeError:
        return ""
    except ValueError:  # no JSON
        line = text.strip().split("\n", 1)[0]
        return "" if line.startswith("<") else " ".join(line.split())
