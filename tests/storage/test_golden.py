"""The stored format is frozen: changing it on purpose means a new schema number, and these files made anew.

Run this module as a script to write the golden files.
"""

import hashlib
import json
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from eigenkms.storage.open_store import DATABASE_NAME
from eigenkms.storage.schema import SCHEMA_VERSION
from eigenkms.storage.store import Record, ScryptCost, Store, VersionRow
from eigenkms.types import Version
from tests.storage.conftest import IDENTITY, PASSWORD, repeatable_rng, session
from tests.support.databases import Row, query, tables_text

GOLDEN = Path(__file__).parent / "golden"
HASH = b"\x77" * 32
NUMBER, SECRET = 4660, b"secret of an encryption key of 32"[:32]
COST = ScryptCost(n=16, r=8, p=1)


def example(folder: Path) -> Store:
    store = Store.open(folder, password=PASSWORD, identity=IDENTITY, rng=repeatable_rng("golden"), kdf=COST)
    store.open_session(session(1), 100, b"header")
    store.append(session(1), [Record("vote", b"public", False), Record("share", b"secret record", True)])
    store.add_version(
        VersionRow(Version(1_700_000_000), session(1), HASH, b"t", b"c", False), b"secret share"
    )
    store.keep_key(NUMBER, SECRET)
    return store


def schema(folder: Path) -> str:
    return f"-- schema {SCHEMA_VERSION}\n" + tables_text(folder / DATABASE_NAME)


def sealed(folder: Path) -> dict[str, object]:
    database = folder / DATABASE_NAME

    def one(sql: str) -> Row:
        (row,) = query(database, sql)
        return row

    n, r, p, salt, root = one("SELECT scrypt_n, scrypt_r, scrypt_p, salt, wrapped_root FROM store")
    slots = {
        owner.hex(): wrapped.hex()
        for owner, wrapped in query(database, "SELECT owner, wrapped FROM key_slots")
    }
    return {
        "scrypt": [n, r, p],
        "salt": salt.hex(),
        "wrapped_root": root.hex(),
        "key_slots": slots,
        "secret_record": one("SELECT body FROM records WHERE secret = 1")[0].hex(),
        "sealed_share": one("SELECT sealed_share FROM versions")[0].hex(),
        "sealed_encryption_key": one("SELECT sealed FROM encryption_keys")[0].hex(),
    }


def test_schema_is_the_golden_one(tmp_path: Path) -> None:
    """Tables, indices and their text."""
    with example(tmp_path):
        assert schema(tmp_path) == (GOLDEN / "schema.sql").read_text()


def test_sealed_layout_is_the_golden_one(tmp_path: Path) -> None:
    """With the same randomness the same bytes are stored."""
    with example(tmp_path):
        assert sealed(tmp_path) == json.loads((GOLDEN / "sealed.json").read_text())


def test_golden_bytes_open_by_the_description_alone() -> None:
    """An independent reading of the layout, from the password down, with nothing of ours but the golden
    file.
    """
    golden = json.loads((GOLDEN / "sealed.json").read_text())

    def open_(key: bytes, text: str, aad: bytes) -> bytes:
        sealed_bytes = bytes.fromhex(text)
        return AESGCM(key).decrypt(sealed_bytes[:12], sealed_bytes[12:], aad)

    n, r, p = golden["scrypt"]
    key = hashlib.scrypt(PASSWORD.encode(), salt=bytes.fromhex(golden["salt"]), n=n, r=r, p=p, dklen=32)
    root = open_(key, golden["wrapped_root"], b"eigenkms/store-root/1" + b"\xc1" * 32 + b"\x0a" * 20)
    owner = b"s" + session(1)
    session_key = open_(root, golden["key_slots"][owner.hex()], b"eigenkms/store-key/1" + owner)
    place = (1).to_bytes(8, "big") + (5).to_bytes(2, "big") + b"share"
    aad = b"eigenkms/record/1" + place + session(1)
    assert open_(session_key, golden["secret_record"], aad) == b"secret record"
    version_key = open_(root, golden["key_slots"][(b"v" + HASH).hex()], b"eigenkms/store-key/1v" + HASH)
    assert open_(version_key, golden["sealed_share"], b"eigenkms/share/1" + HASH) == b"secret share"
    name = NUMBER.to_bytes(32, "big")
    own = open_(root, golden["key_slots"][(b"k" + name).hex()], b"eigenkms/store-key/1k" + name)
    assert open_(own, golden["sealed_encryption_key"], b"eigenkms/encryption-key/1" + name) == SECRET


def write() -> None:
    """Write the golden files; only together with a new schema number."""
    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, example(Path(folder)):
        (GOLDEN / "schema.sql").write_text(schema(Path(folder)))
        (GOLDEN / "sealed.json").write_text(json.dumps(sealed(Path(folder)), indent=1) + "\n")


if __name__ == "__main__":
    write()
