"""Keys are made into private, encrypted files; passwords come from anywhere but an argument."""

import json
import os
import stat
from pathlib import Path

import pytest
from eth_keyfile import create_keyfile_json

from eigenkms.cli.main import run
from eigenkms.crypto import keystore
from eigenkms.crypto.app_ids import checksummed
from eigenkms.crypto.bn254 import KeyPair
from eigenkms.errors import InputError
from eigenkms.keys.keystores import PrivateKey, new_key, open_key, public_values, read_metadata
from tests.cli.conftest import eigenkms, lines, on_terminal
from tests.support.private_files import write_private
from tests.support.randomness import fixed_rng

CHEAP = keystore.ScryptCost(n=2, r=1, p=1)


def write(path: Path, key: PrivateKey, password: str = "pass") -> Path:
    path.write_bytes(key.seal(password, fixed_rng, cost=CHEAP))
    return path


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    write_private(path, "correct horse \nsecond line\n")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "inner", "public"),
    [("bn254", "bn254", {"g1", "g2"}), ("ecdsa", "secp256k1", {"address"}), ("p2p", "p2p", {"peer_id"})],
)
def test_a_new_key_is_a_private_file_that_its_password_opens(
    kind: str, inner: str, public: set[str], tmp_path: Path, password_file: Path
) -> None:
    """The first line of the password file, trailing space and all, is the password; show agrees with new."""
    path = tmp_path / "key.json"
    done = eigenkms("keys", "new", "--kind", kind, "-o", path, "--password-file", password_file, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    made = json.loads(done.stdout)
    assert made.keys() == {"file", "kind"} | public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    opened = open_key(path, inner, "correct horse ")
    assert {name: made[name] for name in public} == opened.public
    assert opened.secret.hex() not in done.stdout.decode() + path.read_text()
    shown = json.loads(eigenkms("keys", "show", path, "--json").stdout)
    assert shown == {**made, "verified": False}


def test_a_keystore_is_not_replaced_by_mistake(tmp_path: Path, password_file: Path) -> None:
    """The key in it would be lost; --force is explicit."""
    path = write(tmp_path / "key.json", new_key("p2p", fixed_rng))
    before = path.read_bytes()
    args = ("keys", "new", "--kind", "p2p", "-o", path, "--password-file", password_file)
    done = eigenkms(*args)
    assert done.returncode == 1
    assert lines(done.stderr)[0] == f"error: write {path}: it exists"
    assert path.read_bytes() == before
    assert eigenkms(*args, "--force").returncode == 0
    assert path.read_bytes() != before


def test_show_verifies_with_the_password(tmp_path: Path) -> None:
    """The right one confirms the public values, a wrong one is exit 1 and names the file."""
    path = write(tmp_path / "key.json", new_key("bn254", fixed_rng))
    done = eigenkms("keys", "show", "--verify", path, "--json", EIGENKMS_PASSWORD="pass")
    assert json.loads(done.stdout)["verified"] is True
    done = eigenkms("keys", "show", "--verify", path, EIGENKMS_PASSWORD="wrong")
    assert (done.returncode, done.stdout) == (1, b"")
    assert lines(done.stderr)[0].startswith(f"error: open keystore {path}: the password is wrong")
    assert "wrong" not in lines(done.stderr)[0].replace("is wrong", "")


def test_without_a_terminal_the_ways_to_give_a_password_are_named(tmp_path: Path) -> None:
    """No prompt that nobody answers, no key without a password."""
    done = eigenkms("keys", "new", "--kind", "p2p", "-o", tmp_path / "key.json")
    assert done.returncode == 1
    assert lines(done.stderr)[0].endswith("there is no terminal to ask at")
    assert "--password-file FILE, set EIGENKMS_PASSWORD" in lines(done.stderr)[1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_prompt_asks_twice_and_shows_nothing(tmp_path: Path) -> None:
    """A password that was mistyped once makes no key; one typed twice does."""
    path = tmp_path / "key.json"
    args = ("keys", "new", "--kind", "p2p", "-o", path)
    first, again = b"key.json: ", b"The same again: "
    code, shown = on_terminal(*args, typed=((first, b"hunter2\n"), (again, b"hunter3\n")))
    assert code == 1
    assert b"the two were not the same" in shown
    assert not path.exists()
    code, shown = on_terminal(*args, typed=((first, b"hunter2\n"), (again, b"hunter2\n")))
    assert code == 0
    assert b"hunter2" not in shown
    assert open_key(path, "p2p", "hunter2").public == dict(read_metadata(path)[1])


def test_ctrl_c_at_a_prompt_ends_with_130(tmp_path: Path) -> None:
    """No traceback, no file."""
    code, shown = on_terminal(
        "keys", "new", "--kind", "p2p", "-o", tmp_path / "key.json", typed=((b"key.json: ", b"\x03"),)
    )
    assert code == 130
    assert b"Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


def test_a_password_file_that_others_can_read_is_warned_about(tmp_path: Path, password_file: Path) -> None:
    """It still works."""
    password_file.chmod(0o644)
    path = tmp_path / "key.json"
    done = eigenkms("keys", "new", "--kind", "p2p", "-o", path, "--password-file", password_file)
    assert done.returncode == 0
    assert lines(done.stderr) == [
        f"warning: password file {password_file} can be read by others; run chmod 600 {password_file}"
    ]


@pytest.mark.parametrize(
    ("content", "reason"), [(b"\nsecond\n", "it is empty"), (b"\xff\n", "it is not UTF-8 text")]
)
def test_a_password_file_without_a_password(tmp_path: Path, content: bytes, reason: str) -> None:
    """An empty first line, or bytes that are no text; a missing file too."""
    path = tmp_path / "password"
    write_private(path, content)
    for file, why in ((path, reason), (tmp_path / "missing", "no such file or directory")):
        done = eigenkms("keys", "new", "--kind", "p2p", "-o", tmp_path / "key.json", "--password-file", file)
        assert done.returncode == 1
        assert lines(done.stderr)[0].endswith(why)
    assert not (tmp_path / "key.json").exists()


def test_known_keys_have_known_public_values() -> None:
    """Address and checksum of a secret that others have computed; EIP-55's own examples."""
    secret = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
    assert public_values("secp256k1", secret) == {"address": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"}
    for text in ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"):
        assert checksummed(bytes.fromhex(text[2:])) == text


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Each place takes its own kind; a file whose public values are another key's is refused as well."""
    path = write(tmp_path / "key.json", new_key("p2p", fixed_rng))
    with pytest.raises(InputError, match="it holds a p2p key, not a bn254 key"):
        open_key(path, "bn254", "pass")
    other = public_values("p2p", b"\x05" * 32)
    write(path, PrivateKey("p2p", b"\x06" * 32, other))
    with pytest.raises(InputError, match="its public values are another key's"):
        open_key(path, "p2p", "pass")
    write(path, PrivateKey("p2p", b"\x00" * 32, other))
    with pytest.raises(InputError, match="what it holds is not a p2p key"):
        open_key(path, "p2p", "pass")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"format": "eigenkms-keystore", "kind": "dsa", "public": {}}',
        b"[" * 9999,
    ],
)
def test_show_refuses_what_is_no_keystore(tmp_path: Path, content: bytes) -> None:
    """Any file at all."""
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match="it is no keystore that is known here") as caught:
        read_metadata(tmp_path / "file")
    assert str(caught.value.hint).startswith("give a keystore of eigenkms, of geth (version 3), or of ")


def test_a_key_does_not_print_its_secret() -> None:
    """Neither in repr nor in a message."""
    key = new_key("secp256k1", fixed_rng)
    assert key.secret.hex() not in repr(key)
    assert str(key.secret) not in repr(key)


def foreign(kind: str, password: str = "theirs") -> bytes:
    """The EigenLayer CLI's keystore of either kind of key, with a cheap key derivation."""
    secret = KeyPair(4711 << 200).secret_bytes()
    fields = create_keyfile_json(secret, password.encode(), kdf="pbkdf2", iterations=2)
    if kind == "bn254":
        x, y = (int.from_bytes(KeyPair.from_secret(secret).g1[i : i + 32], "big") for i in (0, 32))
        fields = {"pubKey": f"E([{x},{y}])", "crypto": fields["crypto"]}
    return json.dumps(fields).encode()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "inner"), [("bn254", "bn254"), ("ecdsa", "secp256k1")])
def test_a_key_of_the_eigenlayer_cli_is_imported(
    kind: str, inner: str, tmp_path: Path, password_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each file has its own password; the new one is private, and show says of the old one what it claims."""
    source, output, theirs = tmp_path / "theirs.json", tmp_path / "ours.json", tmp_path / "their-password"
    source.write_bytes(foreign(kind))
    write_private(theirs, "theirs\n")
    passwords = ("--from-password-file", theirs, "--password-file", password_file)
    args = ("keys", "import", "--kind", kind, source, "-o", output, *passwords, "--json")

    def eigenkms_said(*words: str | Path) -> tuple[int, str, str]:
        code = run([str(word) for word in words])
        return code, *capsys.readouterr()

    code, out, err = eigenkms_said(*args)
    assert (code, err) == (0, "")
    secret = KeyPair(4711 << 200).secret_bytes()
    assert open_key(output, inner, "correct horse ").secret == secret
    made = json.loads(out)
    assert made == {"file": str(output), "kind": kind, **public_values(inner, secret)}
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    claimed = json.loads(eigenkms_said("keys", "show", source, "--json")[1])
    assert claimed.items() <= {**made, "file": str(source), "verified": False}.items()
    before = output.read_bytes()
    assert eigenkms_said(*args)[2].startswith(f"error: write {output}: it exists")
    assert output.read_bytes() == before


@pytest.mark.parametrize(
    ("kind", "content", "reason"),
    [
        (
            "bn254",
            foreign("ecdsa"),
            "it is a keystore of geth (version 3, secp256k1), which holds no bn254 key",
        ),
        (
            "secp256k1",
            foreign("bn254"),
            "it is a keystore of the EigenLayer CLI (BN254), which holds no secp",
        ),
        ("bn254", b'{"crypto": {}, "version": 4}', "it is a keystore of EIP-2335 (version 4, BLS12-381)"),
        ("p2p", foreign("ecdsa"), "which holds no p2p key"),
        (
            "secp256k1",
            b'{"crypto": {}, "version": 1}',
            "it is no keystore of eigenkms and no keystore of version 3",
        ),
        ("bn254", b"not a keystore", "it is not JSON"),
        ("bn254", foreign("bn254", "another"), "the password is wrong"),
    ],
)
def test_a_keystore_of_another_format_is_named(
    kind: str, content: bytes, reason: str, tmp_path: Path
) -> None:
    """Also where the node itself would open it."""
    path = tmp_path / "key.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        open_key(path, kind, "theirs")
    assert str(error.value).startswith(f"open keystore {path}: ")
    assert reason in str(error.value)
    assert error.value.hint is not None


def test_a_geth_keystore_of_another_address_is_refused(tmp_path: Path) -> None:
    """Its address must be its key's."""
    path = tmp_path / "key.json"
    path.write_text(json.dumps(json.loads(foreign("ecdsa")) | {"address": "00" * 20}))
    with pytest.raises(InputError, match="its public values are another key's"):
        open_key(path, "secp256k1", "theirs")


PASSWORD = "correct horse é "
AS_FILES = {
    "LF": PASSWORD.encode() + b"\n",
    "CR LF": PASSWORD.encode() + b"\r\nsecond line\r\n",
    "CR": PASSWORD.encode() + b"\rsecond line",
    "BOM": b"\xef\xbb\xbf" + PASSWORD.encode(),
    "rubbish below": PASSWORD.encode() + b"\n\xff\xff",
}


@pytest.mark.parametrize("content", AS_FILES.values(), ids=AS_FILES.keys())
@pytest.mark.parametrize("place", ["file", "variable"])
def test_a_password_is_the_same_from_a_file_and_from_a_variable(
    place: str,
    content: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its first line without a byte-order mark and a line end; spaces count."""
    path = write(tmp_path / "key.json", new_key("p2p", fixed_rng), PASSWORD)
    words = ["keys", "show", "--verify", str(path)]
    if place == "file":
        file = tmp_path / "password"
        write_private(file, content)
        words += ["--password-file", str(file)]
    else:
        monkeypatch.setenv("EIGENKMS_PASSWORD", os.fsdecode(content))
    assert run(words) == 0, capsys.readouterr().err


def test_a_password_from_stdin_is_one_line_of_it(tmp_path: Path) -> None:
    """In UTF-8, as a file, whatever the locale; of two passwords each has its line."""
    path = write(tmp_path / "key.json", new_key("p2p", fixed_rng), PASSWORD)
    words = ("keys", "show", "--verify", path, "--password-file", "-")
    done = eigenkms(*words, stdin=AS_FILES["CR LF"], LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("place", "content", "reason"),
    [
        ("file", "pass\n".encode("utf-16"), "it is UTF-16 text; save it as UTF-8"),
        ("file", b"x" * 4097, "its first line is longer than 4096 bytes"),
        ("file", b"\xef\xbb\xbf\n", "it is empty"),
        ("variable", b"p\xffss", "the environment variable EIGENKMS_PASSWORD: it is not UTF-8 text"),
        ("variable", b"x" * 4097, "its first line is longer than 4096 bytes"),
        ("variable", b"\xef\xbb\xbf\n", "it is empty"),
    ],
)
def test_what_is_no_password_is_named(
    place: str,
    content: bytes,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With where it came from; nothing is cut in silence."""
    words = ["keys", "new", "--kind", "p2p", "-o", str(tmp_path / "key.json")]
    if place == "file":
        write_private(tmp_path / "password", content)
        words += ["--password-file", str(tmp_path / "password")]
    else:
        monkeypatch.setenv("EIGENKMS_PASSWORD", os.fsdecode(content))
    assert run(words) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "key.json").exists()


def test_a_wrong_password_for_any_keystore_is_said_to_be_one(tmp_path: Path) -> None:
    """Its hint is about passwords, whoever wrote the file."""
    ours = write(tmp_path / "ours.json", new_key("bn254", fixed_rng))
    theirs, account = tmp_path / "theirs.json", tmp_path / "account.json"
    theirs.write_bytes(foreign("bn254"))
    account.write_bytes(foreign("ecdsa"))
    for path, kind in ((ours, "bn254"), (theirs, "bn254"), (account, "secp256k1")):
        with pytest.raises(InputError, match=f"open keystore {path}: the password is wrong") as error:
            open_key(path, kind, "wrong")
        assert error.value.hint == keystore.PASSWORD_HINT


@pytest.mark.parametrize("kind", ["bn254", "ecdsa"])
def test_a_byte_order_mark_before_a_keystore_is_no_part_of_it(kind: str, tmp_path: Path) -> None:
    """An editor put it there."""
    mark = b"\xef\xbb\xbf"
    theirs, ours = tmp_path / "theirs.json", write(tmp_path / "ours.json", new_key("bn254", fixed_rng))
    theirs.write_bytes(mark + foreign(kind))
    ours.write_bytes(mark + ours.read_bytes())
    inner = {"bn254": "bn254", "ecdsa": "secp256k1"}[kind]
    secret = KeyPair(4711 << 200).secret_bytes()
    assert open_key(theirs, inner, "theirs").secret == secret
    assert read_metadata(theirs)[0] == inner
    assert read_metadata(ours)[1] == dict(open_key(ours, "bn254", "pass").public)


def test_a_devkit_keystore_is_shown_and_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command: what it claims without a password is the key in G2, and with it all."""
    pair = KeyPair(4711 << 200)
    fields = {
        "publicKey": pair.g2.hex(),
        "crypto": json.loads(foreign("ecdsa"))["crypto"],
        "uuid": "20e14f79-5274-46c4-a081-99f45bf8824d",
        "version": 4,
        "curveType": "bn254",
    }
    path = tmp_path / "operator1.keystore.json"
    path.write_text(json.dumps(fields))
    monkeypatch.setenv("EIGENKMS_PASSWORD", "theirs")
    assert run(["keys", "show", str(path), "--json"]) == 0
    claimed = json.loads(capsys.readouterr().out)
    assert claimed == {"file": str(path), "verified": False, "kind": "bn254", "g2": pair.g2.hex()}
    assert run(["keys", "show", str(path), "--verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == claimed | {"verified": True, "g1": pair.g1.hex()}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b'{"version": 4, "crypto": {}, "curve": "bn254"}',
            "it is a keystore of Cerberus (version 4, BN254)",
        ),
        (b'{"version": "1", "Crypto": {}}', "it is a keystore of geth in its version 1 (2014)"),
        (b"ab" * 32, "it is a bare key in hexadecimal digits"),
        (b"-----BEGIN PRIVATE KEY-----", "it is PEM (private key)"),
    ],
)
def test_what_is_not_read_is_named_and_what_is_read_is_said(
    content: bytes, words: str, tmp_path: Path
) -> None:
    """Opened or shown."""
    path = tmp_path / "key.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        open_key(path, "bn254", "pass")
    assert f"open keystore {path}: {words}" in str(error.value)
    assert "EigenLayer CLI or devkit" in str(error.value.hint)
    with pytest.raises(InputError) as error:
        read_metadata(path)
    assert f"read keystore {path}: {words}" in str(error.value)


def test_a_keystore_under_no_password_is_imported(
    tmp_path: Path, password_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The devkit's default; the new keystore has one. It must be said which password is empty."""
    theirs, ours, empty = tmp_path / "theirs.json", tmp_path / "ours.json", tmp_path / "empty"
    theirs.write_bytes(foreign("bn254", ""))
    empty.touch(0o600)
    words = ["keys", "import", "--kind", "bn254", str(theirs), "-o", str(ours)]
    assert run([*words, "--password-file", str(empty)]) == 1
    assert "it is empty" in capsys.readouterr().err
    assert run([*words, "--from-password-file", str(empty), "--password-file", str(password_file)]) == 0
    assert open_key(ours, "bn254", "correct horse ").secret == KeyPair(4711 << 200).secret_bytes()
