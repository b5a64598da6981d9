"""The calls of an operator on chain: register, join the set, leave it.

The contracts require this order: the AVS's owner puts the operator on the allow-list; the account registers as an operator; its
key is registered with a proof of possession; then it joins the set with its socket. An error names the missing step.

The digest under a key's proof is computed here (``operator_keys``), and compared with what the key registrar says it is: a node
that serves another chain, or lies, cannot make the key sign anything else.
"""

from dataclasses import dataclass
from typing import Final

from eth_abi.abi import encode

from eigenkms.chain import abi
from eigenkms.chain.config import Deployment
from eigenkms.chain.operator_keys import CURVES, Bn254Key, OperatorKey, registration_digest
from eigenkms.chain.rpc import Rpc
from eigenkms.chain.rpc_values import parse_bytes
from eigenkms.chain.transactions import Receipt, Sender
from eigenkms.crypto import bn254
from eigenkms.errors import ChainError
from eigenkms.types import to_hex

GAS_OPERATOR: Final = 250_000
GAS_ALLOWLIST: Final = 250_000
GAS_DEREGISTER_KEY: Final = 900_000
GAS_MEMBERSHIP: Final = 600_000
GAS_SOCKET: Final = 100_000
GAS_SOCKET_WORD: Final = 25_000
GAS_TRANSFER: Final = 21_000


def gas_of_socket(socket: str) -> int:
    """Enough gas to store a socket of this length: it is kept in words of 32 bytes."""
    return GAS_SOCKET + GAS_SOCKET_WORD * (1 + len(socket.encode()) // 32)


@dataclass(frozen=True, slots=True)
class OperatorProfile:
    """The settings of an operator in all of EigenLayer, sent once.

    ``allocation_delay``: blocks before an allocation of stake takes effect.
    """

    metadata_uri: str = ""
    allocation_delay: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One transaction, before it is signed.

    ``what`` names the action in messages; ``gas`` is the limit.
    """

    what: str
    contract: str
    to: bytes
    function: abi.Function
    arguments: tuple[object, ...]
    gas: int

    @property
    def data(self) -> bytes:
        return self.function.encode(*self.arguments)


async def perform(sender: Sender, call: Call) -> Receipt:
    """Send it and wait until it is in a block. Raises ChainError."""
    return await sender.send(call.what, call.to, call.data, gas=call.gas)


def _set_of(contracts: Deployment) -> tuple[bytes, int]:
    return contracts.avs, contracts.operator_set_id


async def _read(rpc: Rpc, to: bytes, function: abi.Function, *values: object) -> object:
    answer = await rpc.call(
        "eth_call", {"to": to_hex(to), "data": to_hex(function.encode(*values))}, "latest"
    )
    return function.decode(parse_bytes(answer, f"answer of {function.name}"))[0]


# --- the calls, by who must send them


def call_register_as_operator(contracts: Deployment, operator: bytes, profile: OperatorProfile) -> Call:
    """Return the call that registers an account as an operator; the account sends it."""
    what = f"register {to_hex(operator)} as an operator"
    arguments = (bytes(20), profile.allocation_delay, profile.metadata_uri)
    to = contracts.delegation_manager
    return Call(what, "delegation manager", to, abi.REGISTER_AS_OPERATOR, arguments, GAS_OPERATOR)


def call_allow(contracts: Deployment, operator: bytes) -> Call:
    """Return the call that lets ``operator`` join; the registrar's owner sends it."""
    what, arguments = f"allow operator {to_hex(operator)} to join", (_set_of(contracts), operator)
    return Call(what, "AVS registrar", contracts.registrar, abi.ADD_TO_ALLOWLIST, arguments, GAS_ALLOWLIST)


def call_disallow(contracts: Deployment, operator: bytes) -> Call:
    """Return the call that lets ``operator`` join no more; the registrar's owner sends it.

    A member stays one.
    """
    what, arguments = f"take operator {to_hex(operator)} off the allow-list", (_set_of(contracts), operator)
    return Call(
        what, "AVS registrar", contracts.registrar, abi.REMOVE_FROM_ALLOWLIST, arguments, GAS_ALLOWLIST
    )


async def call_register_key(rpc: Rpc, contracts: Deployment, operator: bytes, key: OperatorKey) -> Call:
    """Return the call that registers a key with its proof; the operator sends it.

    Raises ChainError, also if the key registrar asks to sign another message than the one computed here.
    """
    digest = await _agreed_digest(rpc, contracts, operator, key)
    return Call(
        f"register the {CURVES[key.curve]} key of operator {to_hex(operator)}",
        "key registrar",
        contracts.key_registrar,
        abi.REGISTER_KEY,
        (operator, _set_of(contracts), key.data, key.prove(digest)),
        key.gas,
    )


async def _agreed_digest(rpc: Rpc, contracts: Deployment, operator: bytes, key: OperatorKey) -> bytes:
    registrar = contracts.key_registrar
    version = await _read(rpc, registrar, abi.VERSION)
    own = registration_digest(contracts, operator, key.curve, key.data, version=str(version))
    told = await _read(rpc, registrar, key.digest_function, operator, _set_of(contracts), key.data)
    if told != own:
        raise ChainError(
            f"prepare the {CURVES[key.curve]} key registration: the key registrar asks to sign another message than the one "
            "computed",
            hint="check the key registrar address and the chain id",
        )
    return own


def call_deregister_key(contracts: Deployment, operator: bytes) -> Call:
    """Return the call that gives up a key permanently; the operator sends it."""
    what, arguments = f"deregister the key of operator {to_hex(operator)}", (operator, _set_of(contracts))
    return Call(
        what, "key registrar", contracts.key_registrar, abi.DEREGISTER_KEY, arguments, GAS_DEREGISTER_KEY
    )


def call_join(contracts: Deployment, operator: bytes, socket: str) -> Call:
    """Return the call that joins the set with a socket; the operator sends it."""
    params = (contracts.avs, [contracts.operator_set_id], encode(("string",), (socket,)))
    return Call(
        f"register operator {to_hex(operator)} for the operator set",
        "allocation manager",
        contracts.allocation_manager,
        abi.REGISTER_FOR_SETS,
        (operator, params),
        GAS_MEMBERSHIP + gas_of_socket(socket),
    )


def call_leave(contracts: Deployment, operator: bytes) -> Call:
    """Return the call by which ``operator`` leaves; the operator or the AVS sends it."""
    params = (operator, contracts.avs, [contracts.operator_set_id])
    return Call(
        f"deregister operator {to_hex(operator)} from the operator set",
        "allocation manager",
        contracts.allocation_manager,
        abi.DEREGISTER_FROM_SETS,
        (params,),
        GAS_MEMBERSHIP,
    )


def call_update_socket(contracts: Deployment, operator: bytes, socket: str) -> Call:
    """Return the call that publishes another socket; the operator sends it."""
    what, gas = f"update the socket of operator {to_hex(operator)}", gas_of_socket(socket)
    return Call(what, "AVS registrar", contracts.registrar, abi.UPDATE_SOCKET, (operator, socket), gas)


# --- the calls, sent


async def register_as_operator(operator: Sender, contracts: Deployment) -> Receipt:
    """Make the sender's account an EigenLayer operator. Raises ChainError."""
    return await perform(operator, call_register_as_operator(contracts, operator.address, OperatorProfile()))


async def add_to_allowlist(owner: Sender, contracts: Deployment, operator: bytes) -> Receipt:
    """Let ``operator`` (20 bytes) join the set.

    The sender must be the registrar's owner. Raises ChainError.
    """
    return await perform(owner, call_allow(contracts, operator))


async def register_bn254_key(operator: Sender, contracts: Deployment, key: bn254.KeyPair) -> Receipt:
    """Register the sender's signing key for the set, with its proof of possession.

    Raises ChainError.
    """
    return await perform(
        operator, await call_register_key(operator.rpc, contracts, operator.address, Bn254Key(key))
    )


async def deregister_key(operator: Sender, contracts: Deployment) -> Receipt:
    """Give up the sender's key, for good: it can never be registered again.

    Raises ChainError while slashable.
    """
    return await perform(operator, call_deregister_key(contracts, operator.address))


async def register_for_operator_set(operator: Sender, contracts: Deployment, socket: str) -> Receipt:
    """Join the set, with a socket. Raises ChainError."""
    return await perform(operator, call_join(contracts, operator.address, socket))


async def deregister(sender: Sender, contracts: Deployment, operator: bytes | None = None) -> Receipt:
    """Leave the set; an AVS may name another ``operator`` to remove it.

    Raises ChainError.
    """
    return await perform(sender, call_leave(contracts, sender.address if operator is None else operator))


async def update_socket(operator: Sender, contracts: Deployment, socket: str) -> Receipt:
    """Publish another socket for the sender. Raises ChainError."""
    return await perform(operator, call_update_socket(contracts, operator.address, socket))


async def transfer(sender: Sender, to: bytes, wei: int) -> Receipt:
    """Send ether. Raises ChainError."""
    what = f"send {wei} wei to {to_hex(to)}"
    return await sender.send(what, to, b"", gas=GAS_TRANSFER, value=wei)
