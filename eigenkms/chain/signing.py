"""Sign transactions: by a key in this process, or by a remote web3signer.

A remote signer is trusted no further than its answer can be checked: it must return exactly the requested transaction
 (type 2 of EIP-2718, fields of EIP-1559), signed by the account. The hash of a transaction is Keccak-256 of
its raw bytes. Account libraries are imported at the first signature: that takes half a second, and most commands send nothing.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import rlp
import trio
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException

from eigenkms.chain.rpc import JsonRpc, RpcRefusedError
from eigenkms.chain.rpc_values import Json, parse_bytes
from eigenkms.errors import ChainError, InputError, VerificationError
from eigenkms.types import to_hex

Fields = Mapping[str, Any]
"""Of a transaction: type, chainId, nonce, gas, maxFeePerGas, maxPriorityFeePerGas, value: int; data: hex; to: 20 bytes, if any."""

SIGNER_SECONDS: Final = 30.0
"""How long a remote signer may take; a person or a hardware module may stand behind it."""

_TYPE: Final = 2
_NUMBERS: Final = ("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas")


class Signer(Protocol):
    """A signer for one account."""

    @property
    def address(self) -> bytes:
        """Of the account, 20 bytes."""

    async def sign(self, fields: Fields) -> bytes:
        """Return the raw transaction.

        Raises ChainError or VerificationError if there is none that can be sent.
        """


class LocalSigner:
    """Holds an account's private key (32 bytes); its repr does not.

    Raises InputError for what is no key.
    """

    def __init__(self, private_key: bytes) -> None:
        from eth_account import Account

        try:
            self._account = Account.from_key(private_key)
        except ValueError:
            raise InputError("load the account: its private key is not a 32-byte scalar") from None
        self.address: Final = bytes.fromhex(self._account.address[2:])

    def __repr__(self) -> str:
        return f"<LocalSigner {to_hex(self.address)} key redacted>"

    async def sign(self, fields: Fields) -> bytes:
        signed = await trio.to_thread.run_sync(self._account.sign_transaction, dict(fields))
        return bytes(signed.raw_transaction)


class RemoteSigner:
    """An account whose key a web3signer (eth1 mode, ``eth_signTransaction``) holds.

    ``rpc`` is a connection to it.
    """

    def __init__(self, rpc: JsonRpc, address: bytes) -> None:
        self._rpc = rpc
        self.address: Final = address

    def __repr__(self) -> str:
        return f"<RemoteSigner {to_hex(self.address)} at {self._rpc.endpoint}>"

    async def sign(self, fields: Fields) -> bytes:
        what = f"sign with {to_hex(self.address)} at {self._rpc.endpoint}"
        try:
            answer = await self._rpc.call("eth_signTransaction", self._request(fields))
        except RpcRefusedError as refusal:
            raise ChainError(
                f"{what}: the signer refused: {refusal.text[:120]!r}",
                hint="check that it holds the account's key, and that it signs for this chain id",
            ) from refusal
        except ChainError as error:
            raise ChainError(
                f"{what}: {str(error).partition(': ')[2]}",
                hint="check web3signer_url, and that the signer is up; nothing was sent",
            ) from error
        raw = parse_bytes(answer, "transaction that the signer signed")
        check_signed(raw, fields, self.address, what)
        return raw

    def _request(self, fields: Fields) -> dict[str, Json]:
        request: dict[str, Json] = {name: hex(fields[name]) for name in (*_NUMBERS, "value", "type")}
        request |= {"from": to_hex(self.address), "data": fields["data"]}
        return request | {"to": to_hex(fields["to"])} if "to" in fields else request


def check_signed(raw: bytes, fields: Fields, address: bytes, what: str) -> None:
    """Raise VerificationError, which begins with ``what``, unless ``raw`` is the transaction ``fields``, signed by ``address``."""
    from eth_account import Account
    from eth_keys.exceptions import BadSignature

    hint = "nothing was sent; find out what stands between this machine and the signer"
    if raw[:1] != bytes([_TYPE]):
        raise VerificationError(f"{what}: it signed a transaction of another type than 2", hint=hint)
    try:
        signed = rlp.decode(raw[1:])
        author = Account.recover_transaction(raw)
    except (RLPException, BadSignature, ValidationError, ValueError, TypeError, KeyError) as error:
        raise VerificationError(f"{what}: what it returned is not a signed transaction", hint=hint) from error
    if signed[:9] != _unsigned(fields):
        raise VerificationError(f"{what}: it signed another transaction than the one asked for", hint=hint)
    if bytes.fromhex(author[2:]) != address:
        raise VerificationError(f"{what}: it signed as {author}, not as the account", hint=hint)


def _unsigned(fields: Fields) -> list[Any]:
    """Return the nine fields that EIP-1559 signs, as RLP has them.

    The access list is empty.
    """
    numbers = [_minimal(fields[name]) for name in _NUMBERS]
    data = bytes.fromhex(fields["data"][2:])
    return [*numbers, fields.get("to", b""), _minimal(fields["value"]), data, []]


def _minimal(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
