"""Secrets are in no repr, no text, no message, no traceback line."""

import traceback
from collections.abc import Callable

import pytest

from eigenkms.crypto import bls, keystore, sealing
from eigenkms.crypto.bn254 import KeyPair, N
from eigenkms.crypto.ibe_v2 import ApplicationKey, Recipient
from eigenkms.crypto.keystore import OpenedKey, ScryptCost
from eigenkms.crypto.scalars import R, SecretScalar
from eigenkms.crypto.shamir import Polynomial, combine_shares
from eigenkms.types import AppId, ClusterId

VALUE = 0x1234567890ABCDEF1234567890ABCDEF1234567890ABCDEF
BYTES = VALUE.to_bytes(32, "big")


def spellings(value: int) -> list[str]:
    raw = value.to_bytes(32, "big")
    return [str(value), f"{value:x}", f"{value:X}", repr(raw)[2:-1], repr(raw.lstrip(b"\x00"))[2:-1]]


@pytest.mark.parametrize(
    "holder",
    [
        SecretScalar(VALUE),
        Polynomial([SecretScalar(VALUE), SecretScalar(VALUE)]),
        KeyPair.from_secret(VALUE),
        OpenedKey("bn254", BYTES, {}),
        ApplicationKey(Recipient(AppId("my-app"), ClusterId(bytes(32)), bytes(96)), BYTES),
        [SecretScalar(VALUE)],
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_holders_print_redacted(holder: object) -> None:
    """repr, str and format, also inside a list, show no spelling of the secret."""
    printed = f"{holder!r} {holder!s} {holder} {[holder]} {f'{holder}'}"
    assert not [spelling for spelling in spellings(VALUE) if spelling in printed]


TOO_LARGE = R + VALUE
TOO_LARGE_BYTES = TOO_LARGE.to_bytes(32, "big")


@pytest.mark.parametrize(
    "fail",
    [
        lambda: SecretScalar(TOO_LARGE),
        lambda: SecretScalar.from_bytes(TOO_LARGE_BYTES),
        lambda: SecretScalar.from_bytes(TOO_LARGE_BYTES + b"\x00"),
        lambda: Polynomial.from_bytes(b"\x00\x01" + TOO_LARGE_BYTES),
        lambda: Polynomial([SecretScalar(VALUE), SecretScalar(0)]),
        lambda: combine_shares([], [SecretScalar(VALUE)]),
        lambda: KeyPair.from_secret(TOO_LARGE_BYTES),
        lambda: KeyPair.from_secret(N + VALUE),
        lambda: sealing.seal(TOO_LARGE_BYTES + b"\x00", b"", b"", bytes),
        lambda: sealing.x25519_public(TOO_LARGE_BYTES + b"\x00"),
        lambda: keystore.seal("p2p", TOO_LARGE_BYTES * 200, "pw", {}, bytes, cost=ScryptCost(n=16, r=1)),
        lambda: bls.recover([1], [TOO_LARGE_BYTES + bytes(16)]),
    ],
)
def test_errors_hold_no_secret(fail: Callable[[], object]) -> None:
    """The whole printed traceback of a refusal, chained causes included, shows no spelling of the value
    refused.
    """
    with pytest.raises(ValueError, match=r"\w") as caught:
        fail()
    printed = "".join(traceback.format_exception(caught.value))
    both = spellings(TOO_LARGE) + spellings(VALUE) + spellings(N + VALUE)
    assert not [spelling for spelling in both if spelling in printed]
