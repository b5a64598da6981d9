"""The operators of a devnet: keys on disk, and registration on chain."""

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from eigenkms.chain import registration
from eigenkms.chain.config import Deployment
from eigenkms.chain.transactions import Sender
from eigenkms.crypto.bn254 import KeyPair
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.devnet.engines.accounts import PRIVATE_KEYS, address_of
from eigenkms.keys.keystores import PrivateKey, new_key, public_values
from eigenkms.types import OperatorAddress

_LIGHT = ScryptCost(n=2**12, r=8, p=1)
"""Devnet passwords are random and on the same disk; strong stretching would only slow the start."""


@dataclass
class DevnetOperator:
    """One operator.

    ``folder`` holds its keystores, configuration, data and log; ``port`` is where its node listens.
    """

    index: int
    address: OperatorAddress
    folder: Path
    port: int
    peer_id: str
    socket: str
    """The socket on chain: a multiaddr with the peer id."""
    key: KeyPair = field(repr=False)
    founder: bool = True
    """Whether its node may take part in genesis with a new data folder."""

    @property
    def name(self) -> str:
        return f"operator {self.index + 1}"

    @property
    def multiaddr(self) -> str:
        """Return the multiaddr at which its node listens."""
        return _multiaddr(self.port, self.peer_id)

    @property
    def config(self) -> Path:
        return self.folder / "node.toml"

    @property
    def log(self) -> Path:
        return self.folder / "node.log"


def make_operator_of(folder: Path, index: int, account: Sender, port: int) -> DevnetOperator:
    """Make the operator of one of the engine's accounts.

    CPU-bound: call in a worker thread.
    """
    key = next(key for key in PRIVATE_KEYS if address_of(key) == account.address)
    return make_operator(
        index, OperatorAddress(account.address), folder / f"operator-{index + 1}", port, account_key=key
    )


def make_operator(
    index: int, address: OperatorAddress, folder: Path, port: int, account_key: bytes | None = None
) -> DevnetOperator:
    """Make keystores under a random password.

    With the key of its account (32 bytes) there is one for it too. CPU-bound: call in a worker thread.
    """
    folder.mkdir(mode=0o700, parents=True)
    password = secrets.token_urlsafe(24)
    write_private(folder / "password", password + "\n")
    bn254, p2p = new_key("bn254", secrets.token_bytes), new_key("p2p", secrets.token_bytes)
    named = [(bn254, "bn254.json"), (p2p, "p2p.json")]
    if account_key is not None:
        named.append(
            (PrivateKey("secp256k1", account_key, public_values("secp256k1", account_key)), "account.json")
        )
    for key, name in named:
        sealed = key.seal(password, secrets.token_bytes, cost=_LIGHT)
        write_private(folder / name, sealed.decode())
    peer_id = str(p2p.public["peer_id"])
    socket = _multiaddr(port, peer_id)
    return DevnetOperator(index, address, folder, port, peer_id, socket, KeyPair.from_secret(bn254.secret))


def _multiaddr(port: int, peer_id: str) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_id}"


def write_private(path: Path, text: str) -> None:
    """Write a new file that its owner alone can read."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)


async def register_operator(
    member: DevnetOperator, account: Sender, owner: Sender, contracts: Deployment
) -> None:
    """Register an account as a member of the operator set, with its key and socket.

    Raises ``ChainError``.
    """
    await registration.add_to_allowlist(owner, contracts, member.address)
    await registration.register_as_operator(account, contracts)
    await registration.register_bn254_key(account, contracts, member.key)
    await registration.register_for_operator_set(account, contracts, member.socket)
