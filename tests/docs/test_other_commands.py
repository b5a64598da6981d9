"""The commands of all pages but the two that are followed word by word: run too, on the tutorial's network."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.commands import shown
from tests.docs.run_doc_commands import Terminal
from tests.support.doc_pages import PAGES, page

FOLLOWED = {"docs/tutorial.md", "docs/operator-guide.md"}
"""By tests of their own."""
BLOCKS = {
    "configure": ("docs/install.md", "config example"),
    "keys": ("docs/operators.md", "keys new"),
    "http": ("docs/http.md", "devnet up"),
    "deploy": ("docs/cli.md", "devnet app create"),
}
"""Console blocks, each by its page and a text in it."""
IN_A_CONTAINER = re.compile(r"(docker|podman) ")
GATE = {("devnet", "run")}
"""What the gate runs itself."""
IMAGE = "sha256:" + "5e" * 32


def typed(name: str) -> Iterator[str]:
    """The commands of one of the blocks, without comments."""
    path, text = BLOCKS[name]
    (block,) = (
        block
        for block in page(path).blocks
        if block.language == "console" and text in block.text and not IN_A_CONTAINER.search(block.text)
    )
    yield from (line.partition("  #")[0].strip() for line in re.findall(r"(?m)^\$ (.*)$", block.text))


def enter(terminal: Terminal, command: str, *, code: int = 0) -> list[str]:
    """What it prints."""
    terminal.type(command)
    got, printed = terminal.finish()
    assert got == code, f"{command}: exit code {got}\n" + "\n".join(printed)
    return printed


def http_variables() -> str:
    """The variables that docs/http.md gives to the tutorial's command."""
    up, *_ = typed("http")
    found = re.fullmatch(r"((?:\w+=\S+ )+)eigenkms devnet up --dir my-devnet", up)
    assert found, up
    return found[1]


def follow_other_pages(clone: Path, folder: Path, user: Terminal) -> None:
    """Each command does what its page says. Only a node's port, an image and a secret are the test's.

    In ``folder``, on the network ``my-devnet`` of the clone, which was started with ``http_variables``.
    """
    folder.mkdir()
    (folder / "my-devnet").symlink_to(clone / "my-devnet")
    enter(user, f"source .venv/bin/activate; cd {folder}")
    _configure(user)
    _make_keys(user)
    _ask_over_http(user)
    _deploy(user)


def _configure(user: Terminal) -> None:
    """The example has lines to fill in, and the check names them."""
    example, check = typed("configure")
    enter(user, example)
    told = "\n".join(enter(user, check, code=1))
    assert "bn254_keystore" in told


def _make_keys(user: Terminal) -> None:
    enter(user, "mkdir keys; cd keys")
    *_, shown_key = [enter(user, command) for command in typed("keys")]
    enter(user, "cd ..")
    assert any("16Uiu2HA" in line for line in shown_key)


def _ask_over_http(user: Terminal) -> None:
    _, where, *asks = typed("http")
    told = "\n".join(enter(user, where))
    bound = re.search(r"http://127\.0\.0\.1:\d+", told)
    assert bound, told
    answers = ["\n".join(enter(user, re.sub(r"http://127\.0\.0\.1:\d+", bound[0], ask))) for ask in asks]
    assert len(answers) == 2
    assert '"masterPublicKey"' in answers[0]
    assert '"PartialSignature"' in answers[1] or '"partial' in answers[1], answers[1]


def _deploy(user: Terminal) -> None:
    enter(user, f'IMAGE={IMAGE}; echo \'{{"API_KEY": "s3cr3t"}}\' > secrets.json')
    *_, last = [enter(user, command) for command in typed("deploy")]
    assert any("s3cr3t" in line for line in last)


def test_no_command_of_a_page_is_run_by_no_test() -> None:
    """A page that gets commands must be followed. What runs in a container is left out: no container engine is at hand here."""
    elsewhere = {call.words for name in FOLLOWED for call in shown(page(name))}
    for each in PAGES:
        for block in each.blocks:
            calls = {call.words for call in shown(each) if call.line == block.line}
            run = any(str(each) == path and text in block.text for path, text in BLOCKS.values())
            exempt = str(each) in FOLLOWED or IN_A_CONTAINER.search(block.text)
            assert run or exempt or calls <= elsewhere | GATE, f"{each} line {block.line}: {calls}"
