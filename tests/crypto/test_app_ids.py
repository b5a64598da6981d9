"""Which texts name the same application."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenkms.crypto.app_ids import address_of, canonical, checksummed, folded, is_same, other_spelling
from eigenkms.errors import InputError
from eigenkms.types import AppId, ExactAppId

EIP_55 = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]
"""The examples of the EIP: all capitals, all lower case, and mixed."""
NAMES = [
    "my-app",
    "My-App",
    "0x1234",
    EIP_55[4][2:],
    EIP_55[4] + "0",
    " " + EIP_55[4],
    "0x" + "g" * 40,
    "0x" + "٣" * 40,
]
"""Names of their own, taken as they are."""


@pytest.mark.parametrize("spelled", EIP_55)
def test_each_spelling_of_an_address_is_one_application(spelled: str) -> None:
    """Lower case, upper case, with 0X, with the checksum: the lower case one is hashed."""
    lower = spelled.lower()
    assert checksummed(bytes.fromhex(lower[2:])) == spelled
    for each in (spelled, lower, "0x" + lower[2:].upper(), lower.upper(), "0X" + spelled[2:]):
        assert canonical(each) == lower
        assert type(canonical(each)) is AppId
        assert address_of(each) == bytes.fromhex(lower[2:])
        assert is_same(each, lower)


@pytest.mark.parametrize("spelled", EIP_55[4:])
def test_a_wrong_checksum_is_refused_by_name(spelled: str) -> None:
    """Also for a spelling that is meant; an address that was mistyped in lower case cannot be told."""
    wrong = spelled[:2] + spelled[2:].swapcase()
    for each in (wrong, ExactAppId(wrong), wrong.replace("0x", "0X")):
        with pytest.raises(
            InputError,
            match=r"^read application id 0[xX].{40}: the checksum of this address \(EIP-55\) is wrong$",
        ):
            canonical(each)
        assert address_of(each) is None
    assert folded(wrong) == spelled.lower()


@pytest.mark.parametrize("name", NAMES)
def test_any_other_name_is_taken_as_it_is(name: str) -> None:
    """Nothing is cropped, padded, trimmed or folded."""
    assert canonical(name) == folded(name) == name
    assert address_of(name) is None
    assert other_spelling(name) is None
    assert not is_same(name, name.swapcase())


@settings(max_examples=30)
@given(st.text(), st.text())
def test_names_are_the_same_only_if_they_are_equal(one: str, other: str) -> None:
    """What is no address has one spelling."""
    assert is_same(one, other) == (one == other)
    assert canonical(one) == one


def test_an_exact_id_keeps_its_spelling() -> None:
    """And says which other one there is."""
    exact = ExactAppId(EIP_55[4])
    assert canonical(exact) is exact
    assert other_spelling(exact) == EIP_55[4].lower()
    assert other_spelling(EIP_55[4].lower()) == EIP_55[4]
    assert is_same(exact, EIP_55[4].lower())
