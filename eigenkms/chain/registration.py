"""An operator's life on chain: becoming an operator, registering its BN254 key, joining and leaving the set.

The order that the contracts ask for: the AVS's owner puts the operator on the allow-list; the account registers as an operator; its
key is registered with a proof of possession; then it joins the set with its socket. What is missing is told by name.

The digest under a key's proof is computed here, and compared with what the key registrar says it is: a node that
serves another chain, or lies, cannot make the key sign anything else. It is the EIP-712 hash of
``BN254KeyRegistration(address operator,address avs,uint32 operatorSetId,bytes keyData)`` in the domain ("EigenLayer",
first character of the registrar's version(), chain id, key registrar).
"""

from typing import Final

from eth_abi.abi import encode

from eigenkms.chain import abi
from eigenkms.chain.config import Deployment
from eigenkms.chain.rpc import Rpc
from eigenkms.chain.transactions import Receipt, Sender
from eigenkms.chain.values import hexed, octets
from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import keccak256
from eigenkms.errors import ChainError

GAS_OPERATOR: Final = 250_000
GAS_ALLOWLIST: Final = 250_000
GAS_KEY: Final = 900_000
GAS_MEMBERSHIP: Final = 600_000
GAS_SOCKET: Final = 100_000
GAS_SOCKET_WORD: Final = 25_000
GAS_TRANSFER: Final = 21_000
_DOMAIN: Final = keccak256(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_KEY_REGISTRATION: Final = keccak256(
    b"BN254KeyRegistration(address operator,address avs,uint32 operatorSetId,bytes keyData)"
)


def registration_digest(
    contracts: Deployment, operator: bytes, key_data: bytes, *, version: str = "1"
) -> bytes:
    """32 bytes: what a BN254 key signs to be registered for ``operator``. ``key_data`` is G1 ‖ G2, 192 bytes."""
    domain = keccak256(
        encode(
            ("bytes32", "bytes32", "bytes32", "uint256", "address"),
            (
                _DOMAIN,
                keccak256(b"EigenLayer"),
                keccak256(version[:1].encode()),
                contracts.chain_id,
                contracts.key_registrar,
            ),
        )
    )
    struct = encode(
        ("bytes32", "address", "address", "uint32", "bytes32"),
        (_KEY_REGISTRATION, operator, contracts.avs, contracts.operator_set_id, keccak256(key_data)),
    )
    return keccak256(b"\x19\x01", domain, keccak256(struct))


def gas_of_socket(socket: str) -> int:
    """Enough gas to store a socket of this length: it is kept in words of 32 bytes."""
    return GAS_SOCKET + GAS_SOCKET_WORD * (1 + len(socket.encode()) // 32)


def _set_of(contracts: Deployment) -> tuple[bytes, int]:
    return contracts.avs, contracts.operator_set_id


async def _read(rpc: Rpc, to: bytes, function: abi.Function, *values: object) -> object:
    answer = await rpc.call("eth_call", {"to": hexed(to), "data": hexed(function.encode(*values))}, "latest")
    return function.decode(octets(answer, f"answer of {function.name}"))[0]


async def register_as_operator(operator: Sender, contracts: Deployment, *, metadata_uri: str = "") -> Receipt:
    """Make the sender's account an EigenLayer operator. Raises ChainError."""
    data = abi.REGISTER_AS_OPERATOR.encode(bytes(20), 0, metadata_uri)
    what = f"register {hexed(operator.address)} as an operator"
    return await operator.send(what, contracts.delegation_manager, data, gas=GAS_OPERATOR)


async def add_to_allowlist(owner: Sender, contracts: Deployment, operator: bytes) -> Receipt:
    """Let ``operator`` (20 bytes) join the set. The sender must be the registrar's owner. Raises ChainError."""
    data = abi.ADD_TO_ALLOWLIST.encode(_set_of(contracts), operator)
    what = f"allow operator {hexed(operator)} to join"
    return await owner.send(what, contracts.registrar, data, gas=GAS_ALLOWLIST)


async def register_bn254_key(operator: Sender, contracts: Deployment, key: bn254.KeyPair) -> Receipt:
    """Register the sender's signing key for the set, with its proof of possession. Raises ChainError."""
    what = f"register the BN254 key of operator {hexed(operator.address)}"
    key_data = bn254.registration_key_data(key)
    digest = await _agreed_digest(operator, contracts, key_data)
    data = abi.REGISTER_KEY.encode(
        operator.address, _set_of(contracts), key_data, bn254.sign_registration(key, digest)
    )
    return await operator.send(what, contracts.key_registrar, data, gas=GAS_KEY)


async def _agreed_digest(operator: Sender, contracts: Deployment, key_data: bytes) -> bytes:
    version = await _read(operator.rpc, contracts.key_registrar, abi.VERSION)
    own = registration_digest(contracts, operator.address, key_data, version=str(version))
    told = await _read(
        operator.rpc,
        contracts.key_registrar,
        abi.BN254_MESSAGE_HASH,
        operator.address,
        _set_of(contracts),
        key_data,
    )
    if told != own:
        raise ChainError(
            "prepare the BN254 key registration: the key registrar asks to sign another message than the one computed",
            hint="check the key registrar address and the chain id",
        )
    return own


async def deregister_key(operator: Sender, contracts: Deployment) -> Receipt:
    """Give up the sender's key, for good: it can never be registered again. Raises ChainError while slashable."""
    data = abi.DEREGISTER_KEY.encode(operator.address, _set_of(contracts))
    what = f"deregister the key of operator {hexed(operator.address)}"
    return await operator.send(what, contracts.key_registrar, data, gas=GAS_KEY)


async def register_for_operator_set(operator: Sender, contracts: Deployment, socket: str) -> Receipt:
    """Join the set, with a socket (a multiaddr as text). Raises ChainError."""
    params = (contracts.avs, [contracts.operator_set_id], encode(("string",), (socket,)))
    data = abi.REGISTER_FOR_SETS.encode(operator.address, params)
    what = f"register operator {hexed(operator.address)} for the operator set"
    gas = GAS_MEMBERSHIP + gas_of_socket(socket)
    return await operator.send(what, contracts.allocation_manager, data, gas=gas)


async def deregister(sender: Sender, contracts: Deployment, operator: bytes | None = None) -> Receipt:
    """Leave the set; an AVS may name another ``operator`` to remove it. Raises ChainError."""
    leaving = sender.address if operator is None else operator
    params = (leaving, contracts.avs, [contracts.operator_set_id])
    data = abi.DEREGISTER_FROM_SETS.encode(params)
    what = f"deregister operator {hexed(leaving)} from the operator set"
    return await sender.send(what, contracts.allocation_manager, data, gas=GAS_MEMBERSHIP)


async def update_socket(operator: Sender, contracts: Deployment, socket: str) -> Receipt:
    """Publish another socket for the sender. Raises ChainError."""
    data = abi.UPDATE_SOCKET.encode(operator.address, socket)
    what = f"update the socket of operator {hexed(operator.address)}"
    return await operator.send(what, contracts.registrar, data, gas=gas_of_socket(socket))


async def transfer(sender: Sender, to: bytes, wei: int) -> Receipt:
    """Send ether. Raises ChainError."""
    what = f"send {wei} wei to {hexed(to)}"
    return await sender.send(what, to, b"", gas=GAS_TRANSFER, value=wei)
