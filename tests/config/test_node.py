"""Settings come from four places in a fixed order, and what is wrong is named with its place."""

from dataclasses import replace
from pathlib import Path

import pytest

from eigenkms.config.node import NodeConfig
from eigenkms.config.presets import PRESETS
from eigenkms.config.schema import SETTINGS
from eigenkms.config.sources import gather
from eigenkms.errors import InputError
from tests.support.nodes import with_attestation

AVS = "0x" + "a1" * 20
FLAGS = {
    "rpc_url": "http://localhost:8545",
    "chain_id": 31337,
    "avs": AVS,
    "allocation_manager": "0x" + "a2" * 20,
    "key_registrar": "0x" + "a3" * 20,
    "operator": "0x" + "a4" * 20,
    "bn254_keystore": "bn254.json",
}


def load(file: Path | None = None, environ: dict[str, str] | None = None, **flags: object) -> NodeConfig:
    return NodeConfig.load({**FLAGS, **flags}, environ=environ or {}, file=file)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "eigenkms.toml"


def test_defaults_are_the_cautious_ones() -> None:
    """Nobody gets partial signatures, only finalized blocks count, all operators are needed."""
    config = load()
    assert (config.policy.mode, str(config.chain.finality), config.session.genesis_quorum) == (
        "closed",
        "finalized",
        0,
    )
    assert (config.session.genesis, config.warnings) == (False, ())
    assert config.chain.avs == b"\xa1" * 20
    assert config.data_dir == Path.home() / ".eigenkms" / "node"
    assert config.network.listen == ("/ip4/0.0.0.0/tcp/9400",)


def test_flag_wins_over_environment_over_file_over_preset_over_default(file: Path) -> None:
    """The same key in every place, taken away one by one."""
    file.write_text('interval_blocks = 30\nenvironment = "sepolia"\n')
    environ = {"EIGENKMS_INTERVAL_BLOCKS": "20"}
    assert load(file, environ, interval_blocks=10).session.interval_blocks == 10
    assert load(file, environ).session.interval_blocks == 20
    assert load(file).session.interval_blocks == 30
    file.write_text('environment = "mainnet"\n')
    assert load(file).session.interval_blocks == 50
    assert load(file, environment="sepolia").session.interval_blocks == 10
    assert load().session.interval_blocks == 50


def test_a_flag_that_was_not_given_does_not_count() -> None:
    """None and an empty list are how a parser says "not given"; false and zero are values."""
    environ = {"EIGENKMS_GENESIS": "true", "EIGENKMS_LISTEN": "/ip4/1.2.3.4/tcp/1,/ip6/::/tcp/2"}
    config = load(None, environ, genesis=None, listen=())
    assert config.session.genesis
    assert config.network.listen == ("/ip4/1.2.3.4/tcp/1", "/ip6/::/tcp/2")
    assert not load(None, environ, genesis=False).session.genesis


def test_every_kind_of_value_is_read_from_a_file(file: Path) -> None:
    """Paths are relative to the file; an integer will do for a number."""
    file.write_text(
        'data_dir = "node"\np2p_keystore = "/keys/p2p.json"\nlisten = ["/ip4/0.0.0.0/tcp/1"]\n'
        'genesis = true\nblock_seconds = 2\npoll_seconds = 0.25\nfinality = "latest-3"\n'
    )
    config = load(file)
    assert config.data_dir == file.parent / "node"
    assert config.keys.p2p_keystore == Path("/keys/p2p.json")
    assert config.network.listen == ("/ip4/0.0.0.0/tcp/1",)
    assert (config.session.genesis, config.session.block_seconds, config.session.poll_seconds) == (
        True,
        2.0,
        0.25,
    )
    assert str(config.chain.finality) == "latest-3"


def test_the_window_is_a_twentieth_of_the_interval_unless_set() -> None:
    """A window p is interval / 20, in whole milliseconds for the session's parameters."""
    assert load(interval_blocks=50, block_seconds=12).session.window_ms == 30_000
    assert load(window_seconds=0.4).session.window_ms == 400


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        ("\nchain_idd = 1\n", "line 2: there is no setting 'chain_idd'", "did you mean chain_id?"),
        ('\n\nchain_id = "1"\n', r"read chain_id from .*eigenkms.toml line 3: it must be an integer", None),
        ("genesis = 1\n", "line 1: it must be true or false", None),
        ("interval_blocks = true\n", "line 1: it must be an integer", None),
        ('listen = "/ip4/0.0.0.0/tcp/1"\n', "line 1: it must be a list, each a string", None),
        ("listen = [1]\n", "line 1: it must be a list, each a string", None),
        ("[node]\nchain_id = 1\n", "line 1: there is no setting 'node'", None),
        ("avs = [\n", "read configuration file .*", "the file is TOML: key = value"),
        ("interval_blocks = 0\n", r"read interval_blocks from .* line 1: 0 is not in 1\.\.1000000", None),
        ('environment = "sepolai"\n', "there is no preset 'sepolai'", "use one of devnet, mainnet, sepolia"),
    ],
)
def test_a_wrong_file_is_named_with_line_and_key(
    file: Path, content: str, message: str, hint: str | None
) -> None:
    """A misspelt key or a wrong type is never a silent default."""
    file.write_text(content)
    with pytest.raises(InputError, match=message) as refused:
        NodeConfig.load({k: v for k, v in FLAGS.items() if k != "chain_id"}, environ={}, file=file)
    if hint is not None:
        assert refused.value.hint is not None
        assert refused.value.hint.startswith(hint)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a folder, or not text."""
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    for name in ("missing", ".", "latin"):
        with pytest.raises(InputError, match="read configuration file"):
            load(tmp_path / name)


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("chain_id", "abc", "read chain_id from --chain-id: 'abc' is not an integer"),
        ("chain_id", "0", "0 is not in 1.."),
        ("avs", "0x1234", "'0x1234' is not an address"),
        ("avs", "0x" + "00" * 20, "the zero address is nobody's"),
        ("avs", "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", r"its checksum is wrong \(EIP-55\)"),
        ("finality", "tomorrow", "'tomorrow' is not one of finalized"),
        ("policy", "ajar", "'ajar' is not one of open, attested, closed"),
        ("attestation_methods", ("gcp", "tpm"), "'tpm' is not one of gcp, intel, ecdsa"),
        ("attestation_gcp_keys", "http://example.org", "'http://example.org' is not an https:// URL"),
        ("poll_seconds", "nan", "'nan' is not a number of seconds"),
        ("poll_seconds", "0", "0 seconds are not in 0.05..60"),
        ("canary_seconds", "9.9", "9.9 seconds are neither 0 nor in 10..86400"),
        ("canary_seconds", "86401", "86401 seconds are not in 0..86400"),
        ("genesis", "maybe", "'maybe' is not true or false"),
        ("listen", ("localhost:9400",), "is not a multiaddr such as /ip4/0.0.0.0/tcp/9400"),
        ("listen", ("/ip4/1.2.3.4/udp/9400",), "is not a multiaddr"),
        ("listen", ("/dns4/example.org/tcp/9400",), "is not a multiaddr"),
        ("announce", ("/ip4/1.2.3.4",), "is not a multiaddr such as /ip4/192.0.2.7/tcp/9400"),
        ("announce", ("/ip4/0.0.0.0/tcp/9400",), "from --announce: nobody can dial /ip4/0.0.0.0/tcp/9400"),
        ("announce", ("/dns4/a.example/tcp/1", "/ip6/::/tcp/9400"), "nobody can dial /ip6/::/tcp/9400"),
        ("announce", ("/ip4/1.2.3.4/tcp/0",), "is not a multiaddr"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(flag: str, value: object, message: str) -> None:
    """Each parser says what it wanted."""
    with pytest.raises(InputError, match=message):
        load(**{flag: value})


def test_what_is_announced_is_this_machine_on_a_devnet_alone() -> None:
    """Where all operators are on it."""
    own = ("/ip4/127.0.0.1/tcp/9400", "/dns4/localhost/tcp/9400")
    assert load(announce=own).network.announce == own
    for address in own:
        with pytest.raises(InputError, match=f"^set announce: nobody can dial {address}: ") as error:
            load(announce=(address,), chain_id=1)
        assert "others reach this machine" in str(error.value.hint)


def test_one_rpc_in_two_spellings_is_refused() -> None:
    """Before anything starts; it would be a witness of its own word. No key is shown."""
    urls = ("https://eth.example/v3/SECRET", "https://user:SECRET@ETH.example.:443/v3/SECRET/?x=SECRET#a")
    with pytest.raises(InputError) as error:
        load(rpc_url=urls)
    assert str(error.value) == (
        "open the chain RPC: rpc 1 and rpc 2 are one endpoint (https://eth.example.:443), and so one witness"
    )


def test_a_value_from_the_environment_has_no_line_end_and_no_mark() -> None:
    """A file of variables was written by an editor of Windows."""
    environ = {"EIGENKMS_RPC_URL": "\ufeffhttp://one:8545\r", "EIGENKMS_FINALITY": "latest\r\n"}
    bare = {k: v for k, v in FLAGS.items() if k != "rpc_url"}
    config = NodeConfig.load(bare, environ=environ)
    assert (config.chain.rpc_url, str(config.chain.finality)) == (("http://one:8545",), "latest")


def test_a_byte_order_mark_before_a_file_is_no_part_of_it(file: Path) -> None:
    """And text of another encoding is named."""
    file.write_bytes(b"\xef\xbb\xbfinterval_blocks = 30\r\n")
    assert load(file).session.interval_blocks == 30
    file.write_bytes("interval_blocks = 30\n".encode("utf-16"))
    with pytest.raises(
        InputError, match=f"^read configuration file {file}: it is UTF-16 text; save it as UTF-8$"
    ):
        load(file)


def test_a_master_public_key_in_a_file_may_be_from_any_editor(tmp_path: Path) -> None:
    """Hex with a mark and a line end, or the bytes; UTF-16, which PowerShell writes, is named."""
    key, file = bytes(range(96)), tmp_path / "mpk.hex"
    for content in (f"\ufeff0x{key.hex()}\r\n".encode(), key):
        file.write_bytes(content)
        assert gather({"mpk": f"@{file}"}, environ={}).get("mpk") == key
    file.write_bytes(key.hex().encode("utf-16"))
    with pytest.raises(InputError, match=r"^read mpk from --mpk: it is UTF-16 text; save it as UTF-8$"):
        gather({"mpk": f"@{file}"}, environ={}).get("mpk")


def test_a_url_is_never_repeated() -> None:
    """It may hold an API key: neither an error nor the repr shows it."""
    with pytest.raises(InputError) as refused:
        load(rpc_url="ftp://host/SECRET")
    assert "SECRET" not in str(refused.value)
    assert "SECRET" not in repr(load(rpc_url="https://host/SECRET"))


def test_there_may_be_several_rpcs(file: Path) -> None:
    """A flag again and again, commas in the environment, a list in the file, where one alone needs none."""
    one, two = "http://one:8545", "https://two/KEY"
    bare = {k: v for k, v in FLAGS.items() if k != "rpc_url"}
    assert load(rpc_url=(one, two)).chain.rpc_url == (one, two)
    assert NodeConfig.load(bare, environ={"EIGENKMS_RPC_URL": f"{one}, {two}"}).chain.rpc_url == (one, two)
    file.write_text(f'rpc_url = ["{one}", "{two}"]\n')
    assert NodeConfig.load(bare, environ={}, file=file).chain.rpc_url == (one, two)
    file.write_text(f'rpc_url = "{two}"\n')
    assert NodeConfig.load(bare, environ={}, file=file).chain.rpc_url == (two,)
    file.write_text("rpc_url = []\n")
    with pytest.raises(InputError, match="read rpc_url: it is not set"):
        NodeConfig.load(bare, environ={}, file=file)
    file.write_text("rpc_url = 8545\n")
    with pytest.raises(InputError, match="line 1: it must be a string or a list, each a string"):
        NodeConfig.load(bare, environ={}, file=file)


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_what_is_missing_is_named_with_every_way_to_give_it(name: str) -> None:
    """The hint has flag, variable and key."""
    with pytest.raises(InputError, match=f"read {name}: it is not set") as refused:
        NodeConfig.load({k: v for k, v in FLAGS.items() if k != name}, environ={})
    assert refused.value.hint is not None
    for way in ("--" + name.replace("_", "-"), "EIGENKMS_" + name.upper(), f"{name} = "):
        assert way in refused.value.hint


def test_the_open_policy_is_for_a_devnet() -> None:
    """Refused on every other chain unless forced, and warned about wherever it is on."""
    with pytest.raises(InputError, match="set policy open on chain 1: everybody could decrypt"):
        load(policy="open", chain_id=1)
    assert load(policy="open").warnings[0].startswith("policy is open")
    assert load(policy="open", chain_id=1, force_open_policy=True).warnings[0].startswith("policy is open")


def test_the_attested_policy_needs_a_way_to_attest() -> None:
    """A method, and for tokens the project without which anybody's workload would pass."""
    with pytest.raises(InputError, match="set policy attested: no method is enabled"):
        load(policy="attested")
    with pytest.raises(InputError, match="enable the method intel: the Google Cloud project"):
        load(policy="attested", attestation_methods=("ecdsa", "intel"))
    config = load(policy="attested", attestation_methods=("ecdsa", "gcp"), attestation_project="mine")
    assert (config.policy.attestation.methods, config.warnings) == (("ecdsa", "gcp"), ())
    assert config.policy.attestation.audiences == ("https://sts.googleapis.com", "EigenX KMS")


def test_images_without_support_are_a_setting_of_each_service_and_warned_about() -> None:
    """Intel's tokens say EXPERIMENTAL of every image; of Google's that is no production image. An empty list is a mistake."""
    flags = {
        "policy": "attested",
        "attestation_methods": ("gcp", "intel"),
        "attestation_project": "mine",
    }
    usual = load(**flags)
    assert {name: service.support for name, service in usual.policy.attestation.services.items()} == {
        "gcp": ("STABLE",),
        "intel": ("STABLE", "EXPERIMENTAL"),
    }
    assert usual.warnings == ()
    for name, attribute in (("gcp", "EXPERIMENTAL"), ("gcp", "USABLE"), ("intel", "USABLE")):
        (told,) = load(**flags, **{f"attestation_{name}_support": (attribute,)}).warnings
        assert told.startswith(f"attestation_{name}_support has {attribute}")
    with pytest.raises(InputError, match="'stable' is not one of LATEST, STABLE, USABLE, EXPERIMENTAL"):
        load(**flags, attestation_gcp_support=("stable",))
    with pytest.raises(InputError, match="use attestation_gcp_support: the list is empty"):
        with_attestation(usual, gcp=replace(usual.policy.attestation.gcp, support=()))


def test_the_references_text_is_warned_about() -> None:
    """It opens a hole that version 2 closes."""
    flags = {"policy": "attested", "attestation_methods": ("ecdsa",), "attestation_ecdsa_reference": True}
    assert load(**flags).warnings[0].startswith("the reference's signed text is accepted")
    assert not load(policy="attested", attestation_methods=("ecdsa",)).warnings


def test_a_lower_genesis_quorum_is_warned_about() -> None:
    """The operator reads what it costs."""
    assert "does not prevent a second one" in load(genesis_quorum=3).warnings[0]


@pytest.mark.parametrize(("preset", "seconds"), [("mainnet", 600), ("sepolia", 120), ("devnet", 10)])
def test_presets_name_the_time_between_boundaries(preset: str, seconds: float) -> None:
    """Ten minutes, two, ten seconds: what the documentation says of how often shares are renewed."""
    settings = gather({"environment": preset}, environ={})
    assert settings.get("interval_blocks") * settings.get("block_seconds") == seconds


def test_presets_never_say_whom_to_believe() -> None:
    """No preset has an RPC URL; each preset's values parse; mainnet names no AVS, as none is deployed."""
    for name, preset in PRESETS.items():
        assert "rpc_url" not in preset
        settings = gather({"environment": name}, environ={})
        for key in preset:
            assert settings.get(key) is not None
            assert settings.where(key) == f"the preset {name}"
    assert "avs" not in PRESETS["mainnet"]


def test_a_master_public_key_is_hex_or_a_file(tmp_path: Path) -> None:
    """With or without 0x, as text or as bytes in a file; nothing of another length."""
    (tmp_path / "hex").write_text("0x" + "ab" * 96 + "\n")
    (tmp_path / "raw").write_bytes(b"\xab" * 96)
    (tmp_path / "long").write_bytes(b"\xab" * 97)
    for given in ("ab" * 96, "0x" + "AB" * 96, f"@{tmp_path / 'hex'}", f"@{tmp_path / 'raw'}"):
        assert gather({"mpk": given}, environ={}).get("mpk") == b"\xab" * 96
    for given in ("", "ab" * 95, f"@{tmp_path / 'long'}", f"@{tmp_path / 'missing'}", "@"):
        with pytest.raises(InputError, match="read mpk from --mpk"):
            gather({"mpk": given}, environ={}).get("mpk")


def test_names_are_regular() -> None:
    """Flag, variable and key of a setting follow from one another."""
    setting = SETTINGS["operator_set_id"]
    assert (setting.flag, setting.variable) == ("--operator-set-id", "EIGENKMS_OPERATOR_SET_ID")
    setting = SETTINGS["devnet_operators"]
    assert (setting.flag, setting.variable) == ("--operators", "EIGENKMS_DEVNET_OPERATORS")


ANCHOR = {
    "anchor_rpc_url": "http://localhost:9545",
    "anchor_chain_id": 8453,
    "anchor_registry": "0x" + "b1" * 20,
}


def test_an_anchor_is_whole_or_not_there() -> None:
    """Off by default; half of one names what is missing; a keystore without one is an error; without a keystore it only reads."""
    assert load().anchor.registry is None
    for left_out in ANCHOR:
        with pytest.raises(InputError, match=f"{left_out} is not set"):
            load(**{**ANCHOR, left_out: None})
    with pytest.raises(InputError, match="there is no anchor to write to"):
        load(anchor_account_keystore="account.json")
    reading = load(**ANCHOR, anchor_finality="finalized")
    anchor = reading.anchor.registry
    assert anchor is not None
    assert (anchor.chain_id, anchor.registry) == (8453, b"\xb1" * 20)
    assert str(anchor.finality) == "latest"
    assert any("not anchored" in warning for warning in reading.warnings)
    assert load(**ANCHOR, anchor_account_keystore="account.json").warnings == ()
    assert "9545" not in repr(reading)
