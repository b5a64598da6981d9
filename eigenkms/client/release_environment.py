"""The environment of an application, as its confirmed release has it.

A release has two environments (docs/library.md, Secrets): ``public_env``, the text of a JSON object, and ``encrypted_env``, a
ciphertext of such a text for the application, or empty. Both map names to texts. If a name is in both, the encrypted value counts:
a public one can be no more than its default.

Values that no environment can have are refused: a name that is empty or has ``=`` in it, NUL, and text that is not UTF-8. Names
that mean something to a program or to its loader (``LD_PRELOAD``, ``PATH``, ``PYTHONPATH``) are not judged here.
"""

import io
from collections.abc import Iterator, Mapping
from typing import Any, Final

from eigenkms import bounded_json
from eigenkms.applications import Applications, AppRelease, UnusableReleaseError
from eigenkms.client.ciphertexts import ChunkedCiphertext, WholeCiphertext, open_ciphertext
from eigenkms.errors import InputError
from eigenkms.plain_text import why_no_text
from eigenkms.types import AppId

MAX_BYTES: Final = 2**20
"""Of the text of one environment."""
MAX_SEALED_BYTES: Final = 2 * MAX_BYTES
_HINT: Final = "publish a release whose environment is a JSON object of names and texts"


class Secrets(Mapping[str, str]):
    """Names and values. The repr has the names alone, so that no value is printed."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Secrets {', '.join(map(repr, self._values))}: values redacted>"


async def confirmed_release(applications: Applications | None, app_id: AppId) -> AppRelease:
    """Return the application's confirmed release, as the chain has it.

    Raises ``InputError`` if there is none, or if ``applications`` is None: no contract is configured; ``ChainError``.
    """
    if applications is None:
        raise InputError(
            f"look up application {app_id!r}: the contract that knows applications is not configured",
            hint="give its address as app_controller",
        )
    application = await applications.lookup(app_id)
    if application is None:
        raise InputError(
            f"look up application {app_id!r}: the chain knows no such application",
            hint="give its address, 0x and 40 hex digits, as it was created",
        )
    if application.release is None:
        raise InputError(
            f"look up application {app_id!r}: it has no confirmed release",
            hint="publish one, and have it confirmed",
        )
    return application.release


def open_sealed_environment(sealed: bytes) -> WholeCiphertext | ChunkedCiphertext:
    """Return the encrypted environment of a release as a ciphertext.

    Raises ``UnusableReleaseError`` if it is none.
    """
    if len(sealed) > MAX_SEALED_BYTES:
        raise UnusableReleaseError(f"read the encrypted environment: more than {MAX_SEALED_BYTES} bytes")
    try:
        return open_ciphertext(io.BytesIO(sealed))
    except InputError as error:
        raise UnusableReleaseError(f"read the encrypted environment: {error}", hint=error.hint) from error


def parse_environment(text: bytes, what: str) -> dict[str, str]:
    """Parse one environment, which messages call ``what``, into names and values.

    Raises ``UnusableReleaseError``, which has nothing of the text in it.
    """
    if len(text) > MAX_BYTES:
        raise UnusableReleaseError(f"read the {what} environment: more than {MAX_BYTES} bytes", hint=_HINT)
    strange = why_no_text(text)
    if strange is not None:
        raise UnusableReleaseError(f"read the {what} environment: {strange}", hint=_HINT)
    found = _load(text)
    if found is None or not all(isinstance(value, str) for value in found.values()):
        raise UnusableReleaseError(
            f"read the {what} environment: it is not a JSON object of texts, each name once", hint=_HINT
        )
    if not all(_is_name(name) and _can_pass(value) for name, value in found.items()):
        raise UnusableReleaseError(
            f"read the {what} environment: a name is empty or has = in it, or a text cannot be passed to a program",
            hint="use names without =, and neither NUL nor half a character anywhere",
        )
    return found


def _load(text: bytes) -> dict[str, Any] | None:
    try:
        found = bounded_json.loads_strict(text, max_depth=1)
    except ValueError:  # it quotes what it cannot read
        return None
    return found if isinstance(found, dict) else None


def _is_name(name: str) -> bool:
    return bool(name) and "=" not in name and _can_pass(name)


def _can_pass(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)
