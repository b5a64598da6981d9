"""The documentation agrees with itself and with the code."""

import ast
import inspect
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree as ET

import click
import pytest

import eigenkms.errors
from eigenkms.cli.main import VERBS, cli
from eigenkms.cli.support.output import INTERRUPTED, PIPE_CLOSED
from eigenkms.config.node import NodeConfig
from eigenkms.config.schema import SETTINGS
from eigenkms.config.sources import gather
from eigenkms.crypto.scalars import threshold
from eigenkms.protocols.ceremony.effects import RecordKind
from eigenkms.protocols.records.evidence import Fault
from eigenkms.wire import client_rpc, messages, peer_record, rpc_methods
from eigenkms.wire.authorisation import FINAL_REFUSALS, Refusal
from tests.docs.sources import NamedTest, can_say, named_tests, sentences
from tests.support.doc_pages import PAGES, ROOT, Page, page

each_page = pytest.mark.parametrize("page_", PAGES, ids=str)


# --- links


@each_page
def test_links_resolve(page_: Page) -> None:
    """A relative link names a file that is there, and an anchor that one of its headings makes."""
    for link in page_.links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page_.path.parent / name).resolve() if name else page_.path
        assert target.is_relative_to(ROOT), f"{page_}: {link} leaves the repository"
        assert target.exists(), f"{page_}: {link} leads nowhere"
        if anchor:
            assert anchor in Page(target).anchors, f"{page_}: {link} has no such heading"


def test_every_page_is_reached_from_the_readme() -> None:
    """Nobody has to guess that a page exists."""
    linked = {link.partition("#")[0] for link in page("README.md").links}
    assert {str(p) for p in PAGES if str(p).startswith("docs/")} <= linked


def test_sections_that_the_code_cites_exist() -> None:
    """``docs/protocol.md, Crashes`` in a docstring is a heading, or a bold entry, of that page."""
    cited: set[tuple[str, str]] = set()
    for path in [*(ROOT / "eigenkms").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        cited |= set(re.findall(r"(docs/[a-z]+\.md), ([A-Z][a-z]+(?: [a-z]+)?)", path.read_text()))
    assert ("docs/protocol.md", "Crashes") in cited
    for name, section in sorted(cited):
        target = page(name)
        parts = section.split(" and ") if " and " in section else [section.removesuffix(" and")]
        for part in parts:
            assert part in target.headings or f"**{part}" in target.text, f"{name} has no section {part!r}"


# --- code


@each_page
def test_python_blocks_compile(page_: Page) -> None:
    """What is offered to be copied is Python."""
    for block in page_.blocks:
        if block.language == "python":
            compile(block.text, f"{page_} line {block.line}", "exec")


@each_page
def test_toml_blocks_are_settings(page_: Page) -> None:
    """Configuration that is shown would be accepted: known keys, right types."""
    for block in page_.blocks:
        if block.language == "toml":
            for key, value in tomllib.loads(block.text).items():
                assert SETTINGS[key].fits(value), f"{page_} line {block.line}: {key}"


def _commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))


COMMANDS = dict(_commands(cli))
FLAGS = {
    p: {o for q in c.params for o in (*q.opts, *q.secondary_opts)} | {"--help"} for p, c in COMMANDS.items()
}
OTHER_FLAGS = {"--check", "--debug", "--version"}
"""Of the scripts, and of the command as a whole."""


def _lines_with_commands(page_: Page) -> Iterator[str]:
    yield from (span for span in page_.spans if "eigenkms " in span)
    for block in page_.blocks:
        if block.language in ("console", "text", "ini"):
            yield from (line for line in block.text.splitlines() if "eigenkms " in line)


@each_page
def test_verbs_and_flags_exist(page_: Page) -> None:
    """Every ``eigenkms VERB --flag`` that a page shows is one that the command line knows."""
    for line in _lines_with_commands(page_):
        for call in re.findall(r"(?:^|[$|] |/)eigenkms ([a-z][^&;`]*)", line.strip()):
            own = re.sub(r" -- .*", "", call)
            words = tuple(own.split())
            path = next((words[:n] for n in (3, 2, 1) if words[:n] in COMMANDS), ())
            assert path, f"{page_}: no verb {call!r}"
            for flag in re.findall(r"(?<=[ \[])--?[a-z][a-z-]*", own):
                assert flag in FLAGS[path] | OTHER_FLAGS, f"{page_}: {' '.join(path)} has no {flag}"


@each_page
def test_flags_in_prose_exist(page_: Page) -> None:
    """A flag named alone belongs to some verb."""
    known = set().union(*FLAGS.values()) | OTHER_FLAGS
    for span in page_.spans:
        if re.fullmatch(r"--[a-z][a-z-]*[a-z]( .*)?", span):
            assert span.split()[0] in known, f"{page_}: {span}"


def test_every_verb_and_its_own_flags_are_documented() -> None:
    """docs/cli.md has a section for each verb, and names each flag that is no setting."""
    text = page("docs/cli.md").text
    settings = {flag for s in SETTINGS.values() for flag in (s.flag, f"--no-{s.flag[2:]}")}
    common = {"--help", "--config", "--debug", "--output", "--armor"}
    for path, flags in FLAGS.items():
        assert path[0] in page("docs/cli.md").headings
        for flag in flags - settings - common:
            if flag.startswith("--"):
                assert flag in text, f"docs/cli.md does not name {flag} of {' '.join(path)}"
    assert set(VERBS) == {path[0] for path in COMMANDS}


# --- what is made from the code


@pytest.mark.slow
def test_generated_parts_are_current() -> None:
    """Tables of settings, presets, kinds, errors, limits and the schema are what the code says now."""
    run = subprocess.run(
        [sys.executable, "scripts/docs", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_defaults_that_are_worked_out_are_as_documented(tmp_path: Path) -> None:
    """The defaults which the table of settings names in words."""
    address = "0x" + "11" * 20
    names = ("avs", "allocation_manager", "key_registrar", "operator")
    flags = {**dict.fromkeys(names, address), "rpc_url": "http://localhost", "chain_id": "1"}
    flags["bn254_keystore"] = str(tmp_path / "key")
    config = NodeConfig.from_settings(gather(flags, environ={}))
    documented = {
        row[0].strip("`"): row[2].strip("`")
        for row in page("docs/configuration.md").all_rows()
        if len(row) == 4
    }
    assert documented["data_dir"] == str(config.data_dir).replace(str(Path.home()), "~")
    assert documented["listen"] == config.network.listen[0]
    assert documented["finality"] == str(config.chain.finality)
    assert config.session.window_seconds == config.session.interval_blocks * config.session.block_seconds / 20


def test_exit_codes_are_those_of_the_errors() -> None:
    """The table of exit codes is complete, and `eigenkms --help` tells the same."""
    rows = page("docs/cli.md").rows("code")
    errors = [c for _, c in inspect.getmembers(eigenkms.errors, inspect.isclass) if hasattr(c, "exit_code")]
    assert {int(row[0]) for row in rows} == {0, INTERRUPTED, PIPE_CLOSED} | {c.exit_code for c in errors}
    for code in sorted({c.exit_code for c in errors}):
        assert f"{code} " in (cli.epilog or "")


def test_environment_variables_are_documented() -> None:
    """Every EIGENKMS_ variable that the code or the scripts read stands in docs/cli.md, or is a setting's."""
    documented = set(re.findall(r"EIGENKMS_[A-Z_]+", page("docs/cli.md").text))
    named = {setting.variable for setting in SETTINGS.values()} | {"EIGENKMS_COMPLETE", "EIGENKMS_NAME"}
    paths = [*(ROOT / "eigenkms").rglob("*.py"), *(p for p in (ROOT / "scripts").iterdir() if p.is_file())]
    for path in paths:
        used = set(re.findall(r"EIGENKMS_[A-Z][A-Z_]*", path.read_text()))
        assert used <= documented | named, f"{path.name}: {used - documented - named}"


# --- the protocol


def _arity(body: str) -> int:
    """How many items the outermost list of ``[a, [b, c], d]`` has."""
    depth, count = 0, 0
    for char in body:
        depth += (char in "[(") - (char in ")]")
        count += depth == 1 and char == ","
        if depth == 0:
            break
    return count + 1


def _said_by_the_code() -> dict[str, str]:
    rows = re.findall(r"^\| ([A-Z_]+) \| ``(\[.*?\])``", inspect.getdoc(messages) or "", re.MULTILINE)
    return dict(rows)


def test_bodies_of_frames_have_the_code_s_arity() -> None:
    """A field that is added to a frame, or taken away, is added to the page."""
    documented = {
        row[0]: row[1].partition("`")[2].partition("`")[0] for row in page("docs/protocol.md").rows("kind")
    }
    said = _said_by_the_code()
    assert len(said) == 8
    for kind, body in said.items():
        if ":" in body:
            continue  # one item, told in words
        assert _arity(documented[kind]) == _arity(body), f"{kind}: {documented[kind]} is not {body}"
    statement = inspect.getsource(client_rpc.build_statement) + inspect.getsource(client_rpc.seal_partial)
    for kind, source in (
        ("STATEMENT", statement),
        ("PARTIAL", statement),
        ("PEER_RECORD", inspect.getsource(peer_record)),
    ):
        arities = {_arity(found) for found in re.findall(r"body ?= ?(\[.*\])", source)}
        assert _arity(documented[kind]) in arities


def test_faults_that_are_borne_are_computed() -> None:
    """The table of n, t, absent and Byzantine operators, and of the recipients that a version serves at least."""
    for n, t, absent, byzantine, served in (map(int, row) for row in page("docs/protocol.md").rows("n")):
        assert t == threshold(n) == -(-2 * n // 3)
        assert absent == n - t
        assert 3 * byzantine < n <= 3 * (byzantine + 1)
        assert served == n - byzantine == n - -(-n // 3) + 1


def test_faults_that_are_proven_are_the_code_s() -> None:
    """Every kind of evidence has its row, and none that there is not."""
    assert {row[0].strip("`") for row in page("docs/protocol.md").rows("fault")} == {
        fault.value for fault in Fault
    }


def test_records_of_the_journal_are_the_code_s() -> None:
    """Every record that a session leaves on disk has its row, and says whether it is sealed."""
    rows = page("docs/protocol.md").rows("record")
    assert {row[0].split("`")[1] for row in rows} == set(get_args(RecordKind))
    code = "".join(path.read_text() for path in (ROOT / "eigenkms" / "protocols").rglob("*.py"))
    sealed = set(re.findall(r'JournalRecord\("([a-z-]+)", [^\n]*secret=True', code))
    assert {row[0].split("`")[1] for row in rows if row[3] == "yes"} == sealed


def test_methods_among_operators_are_the_code_s() -> None:
    """What an operator may be asked by another."""
    rows = page("docs/protocol.md").rows(f"method of `{rpc_methods.OPERATOR_PROTOCOL}`")
    assert {row[0].strip("`") for row in rows} == {
        rpc_methods.SYNC,
        rpc_methods.PUSH,
        rpc_methods.BODY,
        rpc_methods.ROW,
        rpc_methods.HEAD,
        rpc_methods.PING,
        rpc_methods.CANARY,
    }


def test_hash_tags_stand_in_the_code() -> None:
    """Each domain tag that the page names is one that the code hashes with."""
    code = "".join(path.read_text() for path in (ROOT / "eigenkms").rglob("*.py"))
    tags = set(re.findall(r'"(eigenkms/[a-z/-]+/[12])"', page("docs/protocol.md").text))
    assert len(tags) > 8
    for tag in tags:
        assert f'b"{tag}"' in code, tag


def test_refusal_codes_are_the_code_s() -> None:
    """Every refusal that a node answers with is named on the page, and none other."""
    code = "".join(
        (ROOT / "eigenkms" / name).read_text()
        for name in (
            *(
                "node/network/client_handlers.py",
                "node/network/operator_handlers.py",
                "node/network/peer_records.py",
            ),
            *("node/network/dial_back.py", "node/monitor/canary.py", "p2p/rpc/server.py"),
        )
    )
    used = set(re.findall(r'RpcRefusal\(\s*"([a-z-]+)"', code))
    text = page("docs/protocol.md").text
    sentence = text[text.index("Refusals have a code") :].split("\n\n")[0]
    assert set(re.findall(r"`([a-z]+(?:-[a-z]+)*)`", sentence)) == used


def test_refusals_of_a_key_are_the_code_s() -> None:
    """Every code that a request for a key may be refused with has its row, in the code's order."""
    rows = page("docs/attestation.md").rows("code")
    assert [row[0].strip("`") for row in rows] == [str(refusal) for refusal in Refusal]
    assert {row[0].strip("`") for row in rows if "try again" in row[1]} == set(
        map(str, Refusal)
    ) - FINAL_REFUSALS


# --- messages


@pytest.mark.slow
def test_messages_in_troubleshooting_are_real() -> None:
    """Each message that the page explains is one that the program can say."""
    said = list(sentences())
    quoted = [
        row[0].strip("`") for row in page("docs/troubleshooting.md").all_rows() if row[0].startswith("`")
    ]
    assert len(quoted) > 60
    unknown = [message for message in quoted if not can_say(message, said)]
    assert not unknown
    assert not can_say("lock data folder …: the moon is full", said)


def test_every_warning_of_a_node_is_explained() -> None:
    """What a node logs as a warning or an error, an operator can look up."""
    quoted = [
        row[0].strip("`") for row in page("docs/troubleshooting.md").all_rows() if row[0].startswith("`")
    ]
    logging = (
        "node/boundary_handler.py",
        "node/registration.py",
        "node/vote_guard.py",
        "authorisation/pipeline.py",
        "node/network/peer_book.py",
        "node/engine/session_reporter.py",
        "node/network/version_sync.py",
        "config/node.py",
    )
    for name in logging:
        for warning in _warnings(ROOT / "eigenkms" / name):
            assert any(can_say(q, [warning]) for q in quoted), f"{name}: {warning}"


def _warnings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        text = node.args[0]
        is_log = node.func.attr in ("warning", "error") and isinstance(text, ast.Constant)
        if is_log and text.value != "operator 0x%s: %s":  # type: ignore[attr-defined]
            yield re.sub(r"%[a-z]", "…", text.value).replace("0x…", "…")  # type: ignore[attr-defined]


# --- attacks


def _attacks() -> list[list[str]]:
    return [
        row
        for row in page("docs/attacks.md").all_rows()
        if len(row) == 3 and "---" not in row[0] and row[0] != "attack"
    ]


def test_every_attack_names_a_test() -> None:
    """What is said to be stopped is tried."""
    attacks = _attacks()
    assert len(attacks) > 60
    for row in attacks:
        assert named_tests(row[2]), f"no test of: {row[0]}"


@pytest.mark.slow
def test_tests_of_attacks_exist() -> None:
    """Every test that the page names is there, and every case of it."""
    for row in _attacks():
        for test in named_tests(row[2]):
            assert test.exists, f"{test}, named for: {row[0]}"
    leads = "test_a_rotation_comes_although_the_first_leaders_lie"
    assert NamedTest("sim/test_promises.py", leads, "a flood").exists
    assert not NamedTest("sim/test_promises.py", "test_of_the_moon", "").exists
    assert not NamedTest("sim/test_promises.py", leads, "moonlight").exists
    assert not NamedTest("moon.py", leads, "").exists


# --- claims


def test_python_versions_are_those_of_the_project_file() -> None:
    """The page on the state names the versions that the classifiers name, and no others as tested."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tested = [c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert f"All tests pass on Python {' and '.join(tested)};" in page("docs/status.md").text
    assert project["requires-python"] == f">={min(tested)}"


def test_the_readme_is_one_page() -> None:
    """What needs more words has a page of its own."""
    assert len(page("README.md").text.split()) <= 450


def test_pictures_have_a_description() -> None:
    """The page describes each one; a drawing also has a description inside, and colours for light and dark."""
    pictures = [(p, *found) for p in PAGES for found in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", p.prose)]
    assert "docs/overview.md" in {str(page_) for page_, _, _ in pictures}
    for page_, description, name in pictures:
        assert len(description.split()) > 3, f"{page_}: {name}"
        if name.endswith(".svg"):
            drawing = ET.parse(page_.path.parent / name).getroot()
            parts = {part.tag.rpartition("}")[2]: part.text or "" for part in drawing}
            assert parts["title"]
            assert parts["desc"]
            assert "prefers-color-scheme: dark" in parts["style"]


def test_scripts_that_are_named_can_be_run() -> None:
    """The commands of the README are there and executable."""
    for page_ in PAGES:
        for name in re.findall(r"(?:\./)?(scripts/[a-z-]+)", page_.text):
            assert os.access(ROOT / name, os.X_OK), f"{page_}: {name}"


@each_page
def test_paths_that_are_named_exist(page_: Page) -> None:
    """A file or folder of the repository that a page names in code is there."""
    for span in page_.spans:
        if re.fullmatch(
            r"(eigenkms|tests|scripts|docs|contracts|benchmarks|changelog\.d|\.ci)/[\w./-]*", span
        ):
            assert (ROOT / span).exists(), f"{page_}: {span}"


def test_every_changelog_fragment_is_rendered() -> None:
    """The draft of the next changelog contains the text of each fragment."""
    draft = subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert draft.returncode == 0, draft.stderr
    rendered = " ".join(draft.stdout.split())
    fragments = sorted((ROOT / "changelog.d").iterdir())
    assert fragments
    assert [each.name for each in fragments if " ".join(each.read_text().split()) not in rendered] == []
