"""Every error that the contracts of an operator's life can raise is told in words."""

import pytest
from eth_abi.abi import encode

from eigenkms.chain.revert_reasons import explain_revert
from eigenkms.crypto.hashing import keccak256

# The errors of EigenLayer's contracts and the KMS registrar, as in their ABIs.
ERRORS = (
    "ActivelyDelegated()",
    "AlreadyMemberOfSet()",
    "ConfigurationAlreadySet()",
    "InvalidAVSRegistrar()",
    "InvalidCaller()",
    "InvalidCurveType()",
    "InvalidKeyFormat()",
    "InvalidOperator()",
    "InvalidOperatorSet()",
    "InvalidPermissions()",
    "InvalidSignature()",
    "KeyAlreadyRegistered()",
    "KeyNotFound((address,uint32),address)",
    "KeyNotRegistered()",
    "NonexistentAVSMetadata()",
    "NotAllocationManager()",
    "NotMemberOfSet()",
    "OperatorAlreadyInAllowlist()",
    "OperatorAlreadyRegistered()",
    "OperatorNotAllowed(address,uint32)",
    "OperatorNotInAllowlist()",
    "OperatorSetNotConfigured()",
    "OperatorStillSlashable((address,uint32),address)",
    "UninitializedAllocationDelay()",
    "ZeroPubkey()",
)


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_has_a_sentence_of_its_own(error: str) -> None:
    """Not its selector, and nobody else's words."""
    told, _ = explain_revert(keccak256(error.encode())[:4], "execution reverted")
    assert "0x" not in told
    assert told != explain_revert(b"\xde\xad\xbe\xef", "")[0]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (keccak256(b"Error(string)")[:4] + encode(("string",), ("Ownable: caller",)), "'Ownable: caller'"),
        (keccak256(b"Error(string)")[:4] + b"\xff" * 32, "'unreadable'"),
        (keccak256(b"Panic(uint256)")[:4] + encode(("uint256",), (0x11,)), "panic code 0x11"),
        (b"\xde\xad\xbe\xef", "error 0xdeadbeef"),
        (b"", "without a reason ('out of gas')"),
    ],
)
def test_an_unknown_reason_is_told_as_it_is(data: bytes, words: str) -> None:
    """What nobody foresaw is shown, shortened."""
    assert words in explain_revert(data, "out of gas")[0]
