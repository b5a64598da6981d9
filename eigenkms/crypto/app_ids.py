"""Application ids: which texts name the same application.

An id is a name of at least 5 bytes of UTF-8, except where it is an Ethereum address: then it names one account, however it is
spelled. The canonical spelling is ``0x`` and 40 lower-case hex digits.

    spelled                           canonical
    0xab…, 0xAB…, 0XAB…               0xab…         all digits of one case: there is no checksum in it
    0xAb…, as EIP-55 has it           0xab…         a wrong checksum is refused
    everything else                   as it is      also 40 hex digits without 0x: a git commit looks so

Lower case, because a Confidential Space instance carries the id in its name, and names of instances have no capitals. A workload of
the reference can therefore ask for this spelling only.

The hash is of bytes (``ibe_identities``), as in the reference: another spelling is another identity, with another key. So each door
makes ids canonical before anything is hashed, and ``ExactAppId`` says that the spelling is meant: it opens what was encrypted, by
the reference or by an older release, under another one. An operator signs the identity that a request spells out, and everything
else about the request (right, rate, release log) is the application's, whatever the spelling.
"""

import re
from typing import Final

from eigenkms.crypto.hashing import keccak256
from eigenkms.errors import InputError
from eigenkms.types import AppId, ExactAppId, to_hex

_NEARLY: Final = re.compile(r"[0-9a-fA-F]{40}|0[xX][0-9a-fA-F]{38,42}", re.ASCII)
_ADDRESS: Final = re.compile(r"0[xX]([0-9a-fA-F]{40})", re.ASCII)


def canonical(app_id: str) -> AppId:
    """Return the spelling to hash; an ``ExactAppId`` stays as it is.

    Raises ``InputError`` for an address with a wrong checksum.
    """
    found = _ADDRESS.fullmatch(app_id)
    if found is None:
        return app_id if isinstance(app_id, AppId) else AppId(app_id)
    digits = found[1]
    if is_mistyped(digits):
        raise InputError(
            f"read application id {app_id}: the checksum of this address (EIP-55) is wrong",
            hint="a character was mistyped: copy it again, or write it in lower case if you are sure of it",
        )
    return app_id if isinstance(app_id, ExactAppId) else AppId(f"0x{digits.lower()}")


def is_nearly_address(app_id: str) -> bool:
    """Return whether a name looks like a misspelt address.

    Its 0x is left out, it has a digit or two too many or too few, or it has blanks around it.
    """
    return not _ADDRESS.fullmatch(app_id) and _NEARLY.fullmatch(app_id.strip()) is not None


def is_same(one: str, other: str) -> bool:
    """Return whether both name the same application. No checksum is looked at."""
    return folded(one) == folded(other)


def folded(app_id: str) -> str:
    """Return a text that all spellings of an application share, right or wrong."""
    return app_id.lower() if _ADDRESS.fullmatch(app_id) else app_id


def address_of(app_id: str) -> bytes | None:
    """Return the 20 bytes that an id is the address of.

    Returns None for any other name, and for a wrong checksum.
    """
    try:
        spelling = canonical(app_id)
    except InputError:
        return None
    return bytes.fromhex(spelling[2:]) if _ADDRESS.fullmatch(spelling) else None


def other_spelling(app_id: str) -> str | None:
    """Return the other spelling: EIP-55 if ``app_id`` is canonical, else the canonical one.

    Returns None for an id that is no address.
    """
    address = address_of(app_id)
    if address is None:
        return None
    lower = to_hex(address)
    return checksummed(address) if app_id == lower else lower


def is_mistyped(digits: str) -> bool:
    """Return whether 40 hex digits, in both cases, do not have the checksum of EIP-55."""
    return digits not in (digits.lower(), digits.upper()) and digits != checksummed(bytes.fromhex(digits))[2:]


def checksummed(address: bytes) -> str:
    """Return a 20-byte address as EIP-55 writes it."""
    digits = address.hex()
    marks = keccak256(digits.encode()).hex()
    return "0x" + "".join(d.upper() if int(m, 16) >= 8 else d for d, m in zip(digits, marks, strict=False))
