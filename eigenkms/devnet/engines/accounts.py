"""The funded accounts of a development chain.

Their keys are public: never send anything of worth to them.
"""

from typing import Final

from eigenkms.crypto.hashing import be32, keccak256

COUNT: Final = 32
BALANCE_WEI: Final = 10_000 * 10**18
DEPLOYER, AVS_OWNER = 0, 1
"""Accounts of a devnet by what they are used for; operators have those after."""

PRIVATE_KEYS: Final = tuple(keccak256(b"eigenkms/devnet/account/1", be32(i)) for i in range(COUNT))


def address_of(private_key: bytes) -> bytes:
    """Return the address of a key, 20 bytes."""
    from eth_keys.datatypes import PrivateKey  # slow to import, and not always needed

    return bytes(PrivateKey(private_key).public_key.to_canonical_address())
