"""Stores in temporary folders, with cheap scrypt and randomness that repeats."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eigenkms.storage.store import ScryptCost, Store, StoreIdentity
from eigenkms.types import ClusterId, OperatorAddress, SessionId

IDENTITY = StoreIdentity(ClusterId(b"\xc1" * 32), OperatorAddress(b"\x0a" * 20))
CHEAP = ScryptCost(n=2, r=1, p=1)
PASSWORD = "correct horse"


def repeatable_rng(seed: str = "") -> Callable[[int], bytes]:
    """Randomness for tests: a SHA-256 counter stream."""
    counter = 0

    def rng(size: int) -> bytes:
        nonlocal counter
        out = b""
        while len(out) < size:
            out += hashlib.sha256(f"{seed}/{counter}".encode()).digest()
            counter += 1
        return out[:size]

    return rng


def open_store(folder: Path, *, password: str = PASSWORD, identity: StoreIdentity = IDENTITY) -> Store:
    return Store.open(folder, password=password, identity=identity, rng=repeatable_rng(), kdf=CHEAP)


def session(number: int) -> SessionId:
    return SessionId(hashlib.sha256(b"session %d" % number).digest())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "node"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with open_store(folder) as opened:
        yield opened
