"""Map the error selectors of the contracts to reasons and next steps."""

from typing import Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from eigenkms.crypto.hashing import keccak256
from eigenkms.types import to_hex

_REASONS: Final[dict[str, tuple[str, str | None]]] = {
    "ActivelyDelegated()": (
        "the account is an operator already, or has delegated to one",
        "an account that has delegated its stake cannot become an operator: use another one",
    ),
    "AlreadyMemberOfSet()": (
        "the operator is in the set already, or left it so recently that it is still slashable",
        "an operator that left can come back after the allocation manager's DEALLOCATION_DELAY",
    ),
    "AppAlreadyExists()": (
        "this account has made an application with this salt before",
        "use another salt",
    ),
    "CommitmentAlreadySubmitted()": (
        "this operator has anchored this version before, and what is anchored cannot change",
        None,
    ),
    "ConfigurationAlreadySet()": (
        "the key curve of this operator set was chosen before and cannot change",
        None,
    ),
    "CurrentlyPaused()": ("the contract is paused", "wait until EigenLayer resumes it"),
    "InvalidAVSRegistrar()": ("the registrar does not support this AVS", None),
    "InvalidAppStatus(uint8)": (
        "the application's status does not allow this",
        "see its status; what was terminated stays so",
    ),
    "InvalidCaller()": ("only the operator or the AVS may do this", "send it from the operator's account"),
    "InvalidCommitmentHash()": ("the hash to anchor is zero", None),
    "InvalidCurveType()": (
        "the operator set uses another key curve",
        "use a set that is configured for BN254",
    ),
    "InvalidKeyFormat()": ("the key has the wrong length or format", None),
    "InvalidMerkleRoot()": ("the root to anchor is zero", None),
    "InvalidOperator()": ("the account is not registered as an operator", "register it as an operator first"),
    "InvalidOperatorSet()": ("the operator set does not exist, or exists already", None),
    "InvalidPermissions()": ("the sender may not act for this account", "send it from the owner's account"),
    "InvalidSignature()": (
        "the proof of possession of the key is wrong",
        "sign with the key that is registered",
    ),
    "KeyAlreadyRegistered()": (
        "this key was registered before, and a key can be registered only once",
        "make a new key; one that was deregistered can never come back",
    ),
    "KeyNotFound((address,uint32),address)": ("the operator has no key in this set", None),
    "KeyNotRegistered()": ("the operator has no key in this set", "register its BN254 key first"),
    "NoCommitment()": ("one of the two operators has not anchored this version", None),
    "NoConfirmedRelease()": (
        "the application has no confirmed release",
        "publish one, and have it confirmed",
    ),
    "NoEquivocationDetected()": ("both operators have anchored the same hash for this version", None),
    "NoPendingUpgrade()": ("the application has no release that waits to be confirmed", None),
    "NonexistentAVSMetadata()": (
        "the AVS has published no metadata",
        "let the AVS set its metadata URI first",
    ),
    "NotAllocationManager()": ("only the allocation manager may do this", None),
    "NotAppCreator()": (
        "only the account that created the application may do this, and there must be one",
        "check the application's id, and send it from its creator's account",
    ),
    "NotCoordinator()": ("only the coordinator of the app controller may do this", None),
    "NotMember()": (
        "the account is not on the member list of the commitment registry",
        "ask the owner of the registry for: eigenkms anchor allow ADDRESS",
    ),
    "NotMemberOfSet()": ("the operator is not in the set", None),
    "NotOwner()": (
        "only the owner of the contract may do this",
        "send it from the owner's account",
    ),
    "OperatorAlreadyInAllowlist()": ("the operator is on the allow-list already", None),
    "OperatorAlreadyRegistered()": ("the operator has a key in this set already", None),
    "OperatorNotAllowed(address,uint32)": (
        "the operator is not on the allow-list of this set",
        "ask the owner of the AVS to add it to the allow-list",
    ),
    "OperatorNotInAllowlist()": ("the operator is not on the allow-list", None),
    "OperatorSetNotConfigured()": (
        "the operator set has no key curve",
        "let the AVS configure the set for BN254 in the key registrar",
    ),
    "OperatorStillSlashable((address,uint32),address)": (
        "the operator is in the set, or left it so recently that it is still slashable",
        "leave the set, and wait for the allocation manager's DEALLOCATION_DELAY",
    ),
    "OwnableUnauthorizedAccount(address)": (
        "only the contract's owner may do this",
        "send it from the owner's account",
    ),
    "PrecompileFailed()": ("a key or signature is not a point of the BN254 curve", None),
    "ReleaseInSameBlock()": (
        "the application has a release in this very block already",
        "publish it again in the next block",
    ),
    "UninitializedAllocationDelay()": (
        "the operator has set no allocation delay",
        "register it as an operator, or let it set its allocation delay, and wait until that holds",
    ),
    "ZeroPubkey()": ("the key is zero", None),
}

_BY_SELECTOR: Final = {keccak256(name.encode())[:4]: words for name, words in _REASONS.items()}
_ERROR_STRING: Final = keccak256(b"Error(string)")[:4]
_PANIC: Final = keccak256(b"Panic(uint256)")[:4]


def explain_revert(data: bytes, text: str) -> tuple[str, str | None]:
    """Return the reason and the hint for the revert data of a call.

    ``text`` is the node's own message, used if nothing fits.
    """
    known = _BY_SELECTOR.get(data[:4])
    if known is not None:
        return known
    if data[:4] == _ERROR_STRING:
        return f"the contract refused: {_decode_text(data[4:])!r}", None
    if data[:4] == _PANIC:
        return f"the contract failed with panic code 0x{data[4:].hex().lstrip('0') or '0'}", None
    if data:
        return f"the contract refused with error {to_hex(data[:4])}", None
    return f"the contract refused without a reason ({text[:80]!r})", None


def _decode_text(arguments: bytes) -> str:
    try:
        return str(decode(("string",), arguments)[0])[:120]
    except (DecodingError, OverflowError, ValueError):
        return "unreadable"
