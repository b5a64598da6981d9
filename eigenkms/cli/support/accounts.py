"""The account that a verb sends transactions from.

Its key is in a keystore here, or in a web3signer.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from eigenkms.cli.support.output import print_note
from eigenkms.cli.support.passwords import ACCOUNT, read_password
from eigenkms.errors import InputError
from eigenkms.types import to_hex

if TYPE_CHECKING:
    from eigenkms.chain.signing import Signer
    from eigenkms.chain.transactions import Terms
    from eigenkms.config.settings import Settings

ACCOUNT_OPTIONS = (
    "account_keystore",
    "account_password_file",
    "web3signer_url",
    "account",
    "max_gas_price_gwei",
    "confirmations",
)
REPLACE_SECONDS = 60.0
"""In no block for so long, a transaction is replaced by one that pays more."""
DEADLINE_SECONDS = 900.0
_HINT = "give --account-keystore FILE, or --web3signer-url URL and --account ADDRESS"


@dataclass(frozen=True, slots=True)
class Account:
    """An account (20 bytes), and its key or the URL of its signer.

    The repr has neither the key nor the URL.
    """

    address: bytes
    key: bytes | None = field(repr=False, default=None)
    url: str | None = field(repr=False, default=None)

    @asynccontextmanager
    async def signer(self) -> AsyncIterator["Signer"]:
        """Open the signer of the account."""
        from eigenkms.chain.rpc import JsonRpc
        from eigenkms.chain.signing import SIGNER_SECONDS, LocalSigner, RemoteSigner

        if self.key is not None:
            yield LocalSigner(self.key)
            return
        assert self.url is not None
        async with JsonRpc(self.url, deadline=SIGNER_SECONDS) as rpc:
            yield RemoteSigner(rpc, self.address)


def account(settings: "Settings", action: str) -> Account:
    """Return the account that the settings name; prompt for its password.

    ``action`` begins the message of each error. Raises InputError.
    """
    keystore: Path | None = settings.get("account_keystore")
    url: str | None = settings.get("web3signer_url")
    named: bytes | None = settings.get("account")
    if keystore is not None and url is not None:
        raise InputError(
            f"{action}: account_keystore and web3signer_url are both set", hint="use one of the two"
        )
    if url is not None:
        return Account(settings.require("account"), url=url)
    if keystore is None:
        raise InputError(f"{action}: the account that sends transactions is not given", hint=_HINT)
    return _unlocked(keystore, settings, named)


def _unlocked(path: Path, settings: "Settings", named: bytes | None) -> Account:
    from eigenkms.keys.keystores import open_key

    password_file = settings.get("account_password_file")
    password = read_password(f"keystore {path}", file=password_file, environ=os.environ, ways=ACCOUNT)
    opened = open_key(path, "secp256k1", password)
    address = bytes.fromhex(opened.public["address"][2:])
    if named not in (None, address):
        raise InputError(
            f"open keystore {path}: it is of account {to_hex(address)}, not of {settings.where('account')}",
            hint="give the keystore of that account, or leave account out",
        )
    return Account(address, key=opened.secret)


def account_address(settings: "Settings") -> bytes | None:
    """Return the address of the configured account, without its password.

    None if the settings name no account, or if the keystore does not record it.
    """
    named: bytes | None = settings.get("account")
    keystore: Path | None = settings.get("account_keystore")
    if named is not None or keystore is None:
        return named
    from eigenkms.keys.keystores import read_metadata

    address = read_metadata(keystore)[1].get("address")
    return None if address is None else bytes.fromhex(address[2:])


def fee_terms(settings: "Settings", *, replace_pending: bool = False) -> "Terms":
    """Return the settings of fees and confirmations.

    On a devnet gas costs nothing and estimating it takes long, so it is not estimated there.
    """
    from eigenkms.chain.transactions import Terms
    from eigenkms.config.presets import DEVNET_CHAIN_ID

    return Terms(
        max_fee_wei=settings.get("max_gas_price_gwei") * 10**9,
        estimate=settings.get("chain_id") != DEVNET_CHAIN_ID,
        replace_after=REPLACE_SECONDS,
        replace_pending=replace_pending,
        confirmations=settings.get("confirmations"),
        deadline=DEADLINE_SECONDS,
        tell=print_note,
    )


def checked_address(text: str) -> bytes:
    """Parse an address of 20 bytes.

    Raises InputError, also for a mixed-case address whose checksum (EIP-55) is wrong.
    """
    from eigenkms.config.parsers import address

    try:
        return bytes(address(text))
    except ValueError as error:
        raise InputError(f"read address: {error}", hint="copy it again, whole") from error
