"""Presets: contracts and intervals of public networks, by name.

A preset never names an RPC URL: the operator chooses which RPC to trust. Nor does it name an operator set. The one that the
reference's own preset names on Sepolia takes ECDSA keys, and nodes of this program sign with BN254 keys. The preset ``devnet``
names no contracts, since each devnet deploys its own.
"""

from collections.abc import Mapping

DEVNET_CHAIN_ID = 31337

# The addresses of public networks are those in EigenLayer's repositories. They have not been verified on chain.
PRESETS: Mapping[str, Mapping[str, str]] = {
    "sepolia": {
        "chain_id": "11155111",
        "allocation_manager": "0x42583067658071247ec8CE0A516A58f682002d07",
        "delegation_manager": "0xD4A7E1Bd8015057293f0D0A557088c286942e84b",
        "key_registrar": "0xA4dB30D08d8bbcA00D40600bee9F029984dB162a",
        "app_controller": "0xa86DC1C47cb2518327fB4f9A1627F51966c83B92",
        "finality": "finalized",
        "interval_blocks": "10",
        "block_seconds": "12",
    },
    "mainnet": {
        "chain_id": "1",
        "allocation_manager": "0x948a420b8CC1d6BFd0B6087C2E7c344a2CD0bc39",
        "delegation_manager": "0x39053D51B77DC0d36036Fc1fCc8Cb819df8Ef37A",
        "key_registrar": "0x54f4bC6bDEbe479173a2bbDc31dD7178408A57A4",
        "app_controller": "0xc38d35Fc995e75342A21CBd6D770305b142Fbe67",
        "finality": "finalized",
        "interval_blocks": "50",
        "block_seconds": "12",
    },
    "devnet": {
        "chain_id": str(DEVNET_CHAIN_ID),
        "finality": "latest",
        "interval_blocks": "10",
        "block_seconds": "1",
    },
}
