"""The functions, events and errors of EigenLayer that are used, by their signatures.

A selector is the first four bytes of Keccak-256 of the signature (Solidity ABI specification). Tuples that stand for
an operator set are ``(address avs, uint32 id)``.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from eigenkms.crypto.hashing import keccak256
from eigenkms.errors import ChainError

SET: Final = "(address,uint32)"


@dataclass(frozen=True, slots=True)
class Function:
    """A contract function: name, argument types, return types."""

    name: str
    arguments: tuple[str, ...]
    returns: tuple[str, ...] = ()
    selector: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "selector", keccak256(self.signature.encode())[:4])

    @property
    def signature(self) -> str:
        """As Solidity has it: the name and the types of the arguments."""
        return f"{self.name}({','.join(self.arguments)})"

    def encode(self, *values: object) -> bytes:
        """Call data."""
        return self.selector + encode(self.arguments, values)

    def decode(self, answer: bytes) -> tuple[Any, ...]:
        """Return the returned values.

        Raises ChainError if the bytes are not what the function returns.
        """
        try:
            return decode(self.returns, answer)
        except (DecodingError, OverflowError, ValueError) as exc:
            raise ChainError(f"decode the answer of {self.name}: {len(answer)} bytes do not fit") from exc


def topic(signature: str) -> bytes:
    """Return the first topic of an event, 32 bytes."""
    return keccak256(signature.encode())


# AllocationManager
GET_MEMBERS: Final = Function("getMembers", (SET,), ("address[]",))
IS_OPERATOR_SET: Final = Function("isOperatorSet", (SET,), ("bool",))
GET_AVS_REGISTRAR: Final = Function("getAVSRegistrar", ("address",), ("address",))
UPDATE_AVS_METADATA_URI: Final = Function("updateAVSMetadataURI", ("address", "string"))
SET_AVS_REGISTRAR: Final = Function("setAVSRegistrar", ("address", "address"))
CREATE_OPERATOR_SETS: Final = Function("createOperatorSets", ("address", "(uint32,address[])[]"))
REGISTER_FOR_SETS: Final = Function("registerForOperatorSets", ("address", "(address,uint32[],bytes)"))
DEREGISTER_FROM_SETS: Final = Function("deregisterFromOperatorSets", ("(address,address,uint32[])",))
IS_MEMBER: Final = Function("isMemberOfOperatorSet", ("address", SET), ("bool",))
IS_SLASHABLE: Final = Function("isOperatorSlashable", ("address", SET), ("bool",))
MEMBER_COUNT: Final = Function("getMemberCount", (SET,), ("uint256",))
DEALLOCATION_DELAY: Final = Function("DEALLOCATION_DELAY", (), ("uint32",))
ADDED: Final = topic("OperatorAddedToOperatorSet(address,(address,uint32))")
REMOVED: Final = topic("OperatorRemovedFromOperatorSet(address,(address,uint32))")

# DelegationManager
IS_OPERATOR: Final = Function("isOperator", ("address",), ("bool",))
REGISTER_AS_OPERATOR: Final = Function("registerAsOperator", ("address", "uint32", "string"))

# KeyRegistrar
CURVE_ECDSA: Final = 1
CURVE_BN254: Final = 2
GET_CURVE_TYPE: Final = Function("getOperatorSetCurveType", (SET,), ("uint8",))
GET_BN254_KEY: Final = Function(
    "getBN254Key", (SET, "address"), ("(uint256,uint256)", "(uint256[2],uint256[2])")
)
GET_ECDSA_KEY: Final = Function("getECDSAKey", (SET, "address"), ("bytes",))
IS_KEY_BURNED: Final = Function("isKeyGloballyRegistered", ("bytes32",), ("bool",))
GET_OPERATOR_OF_KEY: Final = Function("getOperatorFromSigningKey", (SET, "bytes"), ("address", "bool"))
CONFIGURE_OPERATOR_SET: Final = Function("configureOperatorSet", (SET, "uint8"))
REGISTER_KEY: Final = Function("registerKey", ("address", SET, "bytes", "bytes"))
DEREGISTER_KEY: Final = Function("deregisterKey", ("address", SET))
BN254_MESSAGE_HASH: Final = Function(
    "getBN254KeyRegistrationMessageHash", ("address", SET, "bytes"), ("bytes32",)
)
ECDSA_MESSAGE_HASH: Final = Function(
    "getECDSAKeyRegistrationMessageHash", ("address", SET, "address"), ("bytes32",)
)
VERSION: Final = Function("version", (), ("string",))
KEY_REGISTERED: Final = topic("KeyRegistered((address,uint32),address,uint8,bytes)")
KEY_DEREGISTERED: Final = topic("KeyDeregistered((address,uint32),address,uint8)")

# EigenKMSRegistrar
OWNER: Final = Function("owner", (), ("address",))
SUPPORTS_AVS: Final = Function("supportsAVS", ("address",), ("bool",))
GET_SOCKET: Final = Function("getOperatorSocket", ("address",), ("bytes",))
UPDATE_SOCKET: Final = Function("updateSocket", ("address", "string"))
ADD_TO_ALLOWLIST: Final = Function("addOperatorToAllowlist", (SET, "address"))
REMOVE_FROM_ALLOWLIST: Final = Function("removeOperatorFromAllowlist", (SET, "address"))
IS_ALLOWED: Final = Function("isOperatorAllowed", (SET, "address"), ("bool",))

# AppController
RELEASE: Final = (
    "(((bytes32,string)[],uint32),bytes,bytes,(string[],string[],(string,string)[],(string,string)[],string))"
)
CREATE_APP: Final = Function("createApp", ("bytes32", RELEASE), ("address",))
CREATE_EMPTY_APP: Final = Function("createEmptyApp", ("bytes32",), ("address",))
CALCULATE_APP_ID: Final = Function("calculateAppId", ("address", "bytes32"), ("address",))
UPGRADE_APP: Final = Function("upgradeApp", ("address", RELEASE))
CONFIRM_UPGRADE: Final = Function("confirmUpgrade", ("address",))
START_APP: Final = Function("startApp", ("address",))
STOP_APP: Final = Function("stopApp", ("address",))
TERMINATE_APP: Final = Function("terminateApp", ("address",))
SUSPEND_APP: Final = Function("suspendApp", ("address",))
RESUME_APP: Final = Function("resumeApp", ("address",))
GET_APP_CREATOR: Final = Function("getAppCreator", ("address",), ("address",))
GET_APP_STATUS: Final = Function("getAppStatus", ("address",), ("uint8",))
GET_APP_RELEASE_BLOCK: Final = Function("getAppLatestReleaseBlockNumber", ("address",), ("uint32",))
APP_UPGRADED: Final = topic(f"AppUpgraded(address,uint256,{RELEASE})")

# CommitmentRegistry
SUBMIT_COMMITMENT: Final = Function("submitCommitment", ("uint64", "bytes32", "bytes32"))
GET_COMMITMENT: Final = Function("getCommitment", ("uint64", "address"), ("bytes32", "bytes32", "uint256"))
PROVE_EQUIVOCATION: Final = Function("proveEquivocation", ("uint64", "address", "address"))
EQUIVOCATION_PROVEN: Final = Function("equivocationProven", ("uint64",), ("bool",))
SET_MEMBER: Final = Function("setMember", ("address", "bool"))
IS_REGISTRY_MEMBER: Final = Function("isMember", ("address",), ("bool",))
SUBMISSIONS: Final = Function("submissions", (), ("uint256",))
REGISTRY_CHAIN_ID: Final = Function("chainId", (), ("uint256",))
REGISTRY_AVS: Final = Function("avs", (), ("address",))
REGISTRY_SET: Final = Function("operatorSetId", (), ("uint32",))
COMMITMENT_SUBMITTED: Final = topic("CommitmentSubmitted(uint64,address,bytes32,bytes32)")
