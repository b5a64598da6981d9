"""``eigenkms evidence``: out of a folder or the network, into a file, and verified by whoever has the file."""

import json
import os
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eigenkms.cli.main import run
from eigenkms.client.armor import EVIDENCE, armor, dearmor, header
from eigenkms.protocols.records.evidence import Fault
from eigenkms.protocols.records.evidence_bundle import Bundle, decode_bundles, encode_bundles
from eigenkms.storage.store import Store
from eigenkms.wire.codec import encode
from tests.cli.conftest import clean_environment, eigenkms, lines, on_terminal

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import libp2p.pubsub.gossipsub  # noqa: F401

from eigenkms.client import api, evidence_confirmation
from eigenkms.client import evidence as client_evidence
from tests.support.evidence_cases import EvidenceServer, bad_dealing, equivocation
from tests.support.fake_network import CHAIN, FakeNetwork, make_network, network_client, operator_hosts
from tests.support.nodes import open_store
from tests.support.waiting import PATIENCE

NOWHERE = (
    "--rpc-url",
    "http://127.0.0.1:1",
    "--chain-id",
    str(CHAIN.chain_id),
    "--avs",
    "0x" + CHAIN.avs.hex(),
)
CONTRACTS = ("--allocation-manager", "0x" + "01" * 20, "--key-registrar", "0x" + "02" * 20)
NETWORK = (*NOWHERE, *CONTRACTS)


@pytest.fixture(scope="module")
def network() -> FakeNetwork:
    """Four operators; changed by nobody but the tests of the network, which place its sockets anew."""
    return make_network()


@pytest.fixture(scope="module")
def bundles(network: FakeNetwork) -> tuple[Bundle, ...]:
    """Two faults of one operator, a fault of another, one of them about a version."""
    return (
        equivocation(network, 1, accused=2),
        bad_dealing(network, network.epoch.transcript),
        equivocation(network, 3, accused=3),
    )


def keep(store: Store, bundle: Bundle) -> None:
    evidence = bundle.evidence
    store.add_evidence(evidence.fault.value, evidence.accused, evidence.session, bundle.encoded)


@pytest.fixture
def folder(network: FakeNetwork, bundles: tuple[Bundle, ...], tmp_path: Path) -> Path:
    """Of a node that has noticed them all."""
    path = tmp_path / "node"
    with open_store(path, network.operators[0].address) as store:
        for bundle in bundles:
            keep(store, bundle)
    return path


@pytest.fixture
def file(bundles: tuple[Bundle, ...], tmp_path: Path) -> Path:
    path = tmp_path / "evidence.bin"
    path.write_bytes(encode_bundles(bundles))
    return path


def address(network: FakeNetwork, index: int) -> str:
    return "0x" + network.operators[index].address.hex()


# -- out of a folder ---------------------------------------------------------------------------------------------


def test_a_folder_is_listed_without_a_password(
    network: FakeNetwork, bundles: tuple[Bundle, ...], folder: Path
) -> None:
    """Fault, accused, block, version, session, and when the node noticed it; nothing on stderr."""
    done = eigenkms("evidence", "list", "--data-dir", folder)
    assert (done.returncode, done.stderr) == (0, b"")
    head, *rows = done.stdout.decode().splitlines()
    assert head.split() == ["fault", "accused", "block", "version", "session", "noticed", "by"]
    assert len(rows) == 3
    cells = [row.split()[:5] for row in rows]
    session = bundles[0].session
    for cell in cells:
        assert cell[2:] == ["100", str(session.version), session.id.hex()[:16]]
    assert sorted(cell[0] for cell in cells) == ["bad-dealing", "equivocation", "equivocation"]
    assert [cell[1] for cell in cells] == sorted(address(network, index) for index in (2, 3, 3))
    assert all("this node, 20" in row for row in rows)


def test_facts_of_a_folder(network: FakeNetwork, bundles: tuple[Bundle, ...], folder: Path) -> None:
    """The documented fields; filters choose among the pieces, and no piece is no error."""
    done = eigenkms("evidence", "list", "--json", "--data-dir", folder, "--accused", address(network, 2))
    facts = json.loads(done.stdout)
    assert facts.keys() == {"evidence", "rejected", "silent"}
    (piece,) = facts["evidence"]
    assert isinstance(piece.pop("noticed"), int)
    assert piece == {
        "fault": "equivocation",
        "accused": address(network, 2),
        "block": 100,
        "block_hash": "0x" + bundles[0].session.boundary.hash.hex(),
        "version": bundles[0].session.version,
        "session": bundles[0].session.id.hex(),
        "cluster": bundles[0].session.cluster.hex(),
        "noticed_by": [],
    }
    for flags in (("--fault", "bad-vote"), ("--accused", "0x" + "ab" * 20)):
        done = eigenkms("evidence", "list", "--data-dir", folder, *flags)
        assert (done.returncode, done.stdout, lines(done.stderr)) == (0, b"", ["no evidence"])


def test_a_damaged_piece_is_told_and_left_out(
    network: FakeNetwork, bundles: tuple[Bundle, ...], folder: Path
) -> None:
    """The others are listed."""
    with open_store(folder, network.operators[0].address) as store:
        store.add_evidence("bad-vote", bundles[0].evidence.accused, bundles[0].session.id, b"damaged")
    done = eigenkms("evidence", "list", "--json", "--data-dir", folder)
    facts = json.loads(done.stdout)
    assert (len(facts["evidence"]), len(facts["rejected"])) == (3, 1)
    assert facts["rejected"][0]["operator"] is None
    assert lines(done.stderr)[0].startswith(
        f"warning: the folder {folder} has evidence that does not verify: decode"
    )


def test_a_running_nodes_folder_is_refused(network: FakeNetwork, folder: Path) -> None:
    """Exit code 1; the network is the way to it."""
    with open_store(folder, network.operators[0].address):
        done = eigenkms("evidence", "list", "--data-dir", folder)
    assert (done.returncode, done.stdout) == (1, b"")
    assert "is using it" in lines(done.stderr)[0]


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (("--fault", "treason"), "read --fault: there is no fault 'treason'"),
        (("--accused", "0x12"), "read --accused: '0x12' is not an address"),
        (("--operator", "nobody"), "read --operator: 'nobody' is not an address"),
        (("--operator", "0x" + "ab" * 20), "choose evidence: --operator and --data-dir exclude each other"),
    ],
)
def test_a_wrong_choice_is_told_first(folder: Path, args: tuple[str, ...], error: str) -> None:
    """Exit code 1, by the name of the flag."""
    done = eigenkms("evidence", "list", "--data-dir", folder, *args)
    assert (done.returncode, done.stdout) == (1, b"")
    assert lines(done.stderr)[0].startswith(f"error: {error}")


def test_faults_are_completed() -> None:
    """Their names, as one types."""
    words = "eigenkms evidence list --fault bad-"
    done = eigenkms(_EIGENKMS_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD="4")
    completed = {line.partition(",")[2] for line in done.stdout.decode().splitlines()}
    assert completed == {fault.value for fault in Fault if fault.value.startswith("bad-")}


# -- into a file -------------------------------------------------------------------------------------------------


def test_what_is_exported_verifies(
    network: FakeNetwork, bundles: tuple[Bundle, ...], folder: Path, tmp_path: Path
) -> None:
    """Binary to a file, text to stdout; all, or what was chosen; the file alone is enough to verify it."""
    done = eigenkms("evidence", "export", "--data-dir", folder, "-o", tmp_path / "out")
    assert (done.returncode, done.stdout) == (0, b"")
    assert lines(done.stderr) == [f"3 pieces of evidence written to {tmp_path / 'out'}"]
    content = (tmp_path / "out").read_bytes()
    assert set(decode_bundles(content)) == {bundle.encoded for bundle in bundles}
    assert eigenkms("evidence", "verify", tmp_path / "out").returncode == 0
    text = eigenkms("evidence", "export", "-a", "--data-dir", folder, "--accused", address(network, 2))
    assert text.stdout.startswith(header(EVIDENCE))
    assert decode_bundles(dearmor(text.stdout, EVIDENCE)) == (bundles[0].encoded,)
    assert lines(text.stderr) == ["1 piece of evidence written to stdout"]
    assert eigenkms("evidence", "verify", stdin=text.stdout).returncode == 0


def test_nothing_to_export_writes_nothing(folder: Path, tmp_path: Path) -> None:
    """Exit code 1 and no file."""
    done = eigenkms("evidence", "export", "--data-dir", folder, "--fault", "bad-vote", "-o", tmp_path / "out")
    assert (done.returncode, done.stdout) == (1, b"")
    assert lines(done.stderr) == [
        "error: export evidence: there is none that fits",
        "hint: nothing was written",
    ]
    assert not (tmp_path / "out").exists()


def test_binary_is_refused_to_a_terminal(folder: Path) -> None:
    """Before anything is read."""
    code, shown = on_terminal("evidence", "export", "--data-dir", folder)
    assert code == 1
    assert b"error: write to the terminal: the result is binary" in shown


# -- verified ----------------------------------------------------------------------------------------------------


def test_a_file_is_verified_offline(network: FakeNetwork, bundles: tuple[Bundle, ...], file: Path) -> None:
    """Exit code 0; who, what, at which block; and where the keys come from."""
    done = eigenkms("evidence", "verify", file)
    assert done.returncode == 0
    told = done.stdout.decode()
    boundary = bundles[0].session.boundary
    for words in (
        "holds       yes",
        "fault       equivocation",
        f"accused     {address(network, 2)}",
        f"block       {boundary.number}",
        f"block hash  0x{boundary.hash.hex()}",
        f"HASH by {address(network, 2)}, HASH by {address(network, 2)}",
        "operators   4, not compared with the chain",
        f"source      version {network.epoch.transcript.version}, block 100 0x",
    ):
        assert words in told
    assert len(told.split("\n\n")) == 3
    (warning,) = lines(done.stderr)
    assert warning.startswith(
        "warning: the operators' keys are the file's own claim: compare them with the chain"
    )


def test_facts_of_a_file(network: FakeNetwork, bundles: tuple[Bundle, ...], file: Path) -> None:
    """The documented fields, with the operators and keys that a third party compares with the chain."""
    facts = json.loads(eigenkms("evidence", "verify", "--json", file).stdout)
    assert (facts["online"], len(facts["evidence"])) == (False, 3)
    first, second, _ = facts["evidence"]
    operators = [f"0x{o.address.hex()} 0x{o.key.g2.hex()}" for o in network.operators]
    assert first == {
        "holds": True,
        "reason": None,
        "fault": "equivocation",
        "accused": address(network, 2),
        "block": 100,
        "block_hash": "0x" + bundles[0].session.boundary.hash.hex(),
        "version": bundles[0].session.version,
        "session": bundles[0].session.id.hex(),
        "cluster": bundles[0].session.cluster.hex(),
        "frames": [f"HASH by {address(network, 2)}"] * 2,
        "operators": operators,
        "source": None,
    }
    assert second["source"] == {
        "version": network.epoch.transcript.version,
        "block": 100,
        "block_hash": "0x" + network.epoch.transcript.boundary.hash.hex(),
        "transcript_hash": network.epoch.transcript.hash.hex(),
        "operators": operators,
    }


def test_what_was_changed_does_not_hold(bundles: tuple[Bundle, ...], file: Path) -> None:
    """Exit code 4, the piece is named with its reason, and the others still hold."""
    evidence = bundles[0].evidence
    frame = evidence.frames[0]
    innocent = replace(bundles[0], evidence=replace(evidence, frames=(frame, frame)))
    file.write_bytes(encode([bundles[1].encoded, innocent.encoded, bundles[2].encoded[:-1]]))
    done = eigenkms("evidence", "verify", "--json", file)
    assert done.returncode == 4
    pieces = json.loads(done.stdout)["evidence"]
    assert [piece["holds"] for piece in pieces] == [True, False, False]
    assert "the frames do not prove it" in pieces[1]["reason"]
    assert (pieces[1]["accused"], pieces[2]["accused"]) == ("0x" + evidence.accused.hex(), None)
    assert pieces[2]["reason"].startswith("decode evidence bundle")
    assert pieces[2].keys() == pieces[0].keys()
    assert lines(done.stderr)[-2:] == [
        "error: verify evidence: 2 of 3 pieces do not hold",
        "hint: accuse nobody with what does not hold; export it anew",
    ]
    told = eigenkms("evidence", "verify", file).stdout.decode()
    assert [part.split()[1] for part in told.split("\n\n")] == ["yes", "no", "no"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "it is no list of evidence"),
        (b"IBE\x01 something else", "it is no list of evidence"),
        (b"\x90", "the list is empty"),
        (armor(b"\x90"), "line 1: it is EIGENKMS ENCRYPTED FILE, not EIGENKMS EVIDENCE"),
        (armor(b"\x90", EVIDENCE), "the list is empty"),
    ],
)
def test_a_file_of_something_else_is_exit_1(content: bytes, error: str) -> None:
    """Nothing is said to hold, or not to hold."""
    done = eigenkms("evidence", "verify", stdin=content)
    assert (done.returncode, done.stdout) == (1, b"")
    assert error in lines(done.stderr)[0]


@pytest.mark.slow
def test_online_needs_a_chain(file: Path) -> None:
    """Exit code 1 where none is configured, 2 where it is down."""
    done = eigenkms("evidence", "verify", "--online", file)
    assert done.returncode == 1
    assert lines(done.stderr)[0] == "error: read rpc_url: it is not set"
    done = eigenkms("evidence", "verify", "--online", *NETWORK, file)
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["list", "export"])
def test_a_chain_that_is_down_is_exit_2_and_no_file(verb: str, tmp_path: Path) -> None:
    """As with every verb that asks the network."""
    more = ("-o", tmp_path / "out") if verb == "export" else ()
    done = eigenkms("evidence", verb, *NETWORK, "--known-clusters", tmp_path / "known", *more)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "no connection" in lines(done.stderr)[-2]
    assert list(tmp_path.iterdir()) == []


# -- over the network --------------------------------------------------------------------------------------------


Ways = Callable[..., None]


@pytest.fixture
def operators(network: FakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ways:
    """Real hosts that answer in the ways given, while a verb runs in this process; the chain is the network's."""
    ways: list[Any] = []

    @asynccontextmanager
    async def open_client(_settings: object) -> AsyncIterator[api.Client]:
        async with operator_hosts(network, ways), network_client(network, tmp_path / "known") as client:
            yield client

    @asynccontextmanager
    async def open_chain(_config: object) -> AsyncIterator[object]:
        yield network.chain

    monkeypatch.setattr(api, "open_client", open_client)
    monkeypatch.setattr(evidence_confirmation, "open_chain", open_chain)
    monkeypatch.setattr(client_evidence, "PAGE_SECONDS", PATIENCE)
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("EIGENKMS_TIMEOUT", str(PATIENCE))
    return lambda *given: ways.extend(given)


def test_the_network_is_listed(
    network: FakeNetwork, bundles: tuple[Bundle, ...], operators: Ways, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each piece once with those who noticed it; liars and the silent are named on stderr; and asked for one, only it."""
    operators(
        EvidenceServer(network, *bundles),
        EvidenceServer(network, bundles[0]),
        EvidenceServer(network, b"nonsense"),
        None,
    )
    assert run(["evidence", "list", *NETWORK]) == 0
    out, err = capsys.readouterr()
    rows = out.splitlines()[1:]
    assert sorted(row.split("  ")[-1].strip() for row in rows) == ["1 of 4 operators"] * 2 + [
        "2 of 4 operators"
    ]
    assert (
        f"warning: operator {address(network, 2)} has evidence that does not verify: decode evidence" in err
    )
    assert f"warning: operator {address(network, 3)} did not give all its evidence: " in err
    assert run(["evidence", "list", "--json", *NETWORK, "--operator", address(network, 1)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [piece["noticed_by"] for piece in facts["evidence"]] == [[address(network, 1)]]
    assert (facts["evidence"][0]["noticed"], facts["rejected"], facts["silent"]) == (None, [], {})


def test_a_network_that_is_silent_is_exit_2(
    network: FakeNetwork, operators: Ways, capsys: pytest.CaptureFixture[str]
) -> None:
    """No evidence is not the same as nobody who would tell."""
    operators(*[None] * 4)
    assert run(["evidence", "list", *NETWORK]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "error: read evidence: no operator gave all it has; 0x" in err


def test_what_the_network_gave_verifies_online(
    network: FakeNetwork,
    bundles: tuple[Bundle, ...],
    operators: Ways,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exported, then compared with the chain; made-up operators are found out by it alone."""
    operators(EvidenceServer(network, *bundles), *[EvidenceServer(network)] * 3)
    out = str(tmp_path / "out")
    assert run(["evidence", "export", *NETWORK, "-o", out]) == 0
    assert run(["evidence", "verify", "--online", *NETWORK, out]) == 0
    told = capsys.readouterr()
    assert told.out.count("operators   4, the chain's at that block") == 3
    assert "the file's own claim" not in told.err
    strangers = equivocation(make_network(seed="strangers"))
    Path(out).write_bytes(encode_bundles([bundles[0], strangers]))
    assert run(["evidence", "verify", out]) == 0
    capsys.readouterr()
    assert run(["evidence", "verify", "--online", "--json", *NETWORK, out]) == 4
    facts = json.loads(capsys.readouterr().out)
    assert [piece["holds"] for piece in facts["evidence"]] == [True, False]
    assert "are not the 4 that the chain had at block 100" in facts["evidence"][1]["reason"]
