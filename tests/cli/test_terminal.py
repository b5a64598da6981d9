"""Foreign text is shown by a terminal and a text log, and commands neither; what is data is written to the byte."""

import ast
import io
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import trio

import eigenkms
from eigenkms.chain.rpc import JsonRpc
from eigenkms.chain.transactions import Sender
from eigenkms.cli.support import logs, output
from eigenkms.cli.support.logs import TextFormatter
from eigenkms.cli.support.options import print_facts
from eigenkms.cli.support.progress import Progress
from eigenkms.cli.support.tables import print_table
from eigenkms.devnet.console import print_stderr
from eigenkms.errors import ChainError
from eigenkms.printable import printable

HOSTILE: Final = "\x1b]0;mine\x07\x1b]52;c;cm0gLXJm\x9b2J\u202e\rx\nhint: run this\u2028\x85error: \udcff"
SHOWN: Final = r"\x1b]0;mine\x07\x1b]52;c;cm0gLXJm\x9b2J\u202e\rx\nhint: run this\u2028\x85error: \udcff"
"""The same, as it is shown: no character of it commands anything."""
WAYS: Final = {
    "print", "click.echo", "click.secho", "click.echo_via_pager", "click.confirm", "click.prompt", "getpass.getpass",
    "traceback.print_exception", "traceback.print_exc", "logging.StreamHandler", "Console", "rich.print", "os.write",
    "sys.stderr.write", "sys.stdout.write", "sys.stderr.buffer.write", "sys.stdout.buffer.write", "warnings.warn",
}  # fmt: skip
"""Calls that write to a terminal, or may."""
WRITERS: Final = {
    "cli/anchor.py": {"click.confirm"},
    "cli/support/prompts.py": {"os.write"},
    "cli/support/logs.py": {"logging.StreamHandler"},
    "cli/main.py": {"click.echo"},  # the version
    "cli/support/passwords.py": {"getpass.getpass"},
    "cli/support/progress.py": {"Console"},
    "cli/support/output.py": {"click.echo"},
    "cli/support/tables.py": {"Console"},
    "devnet/engines/embedded.py": {"print"},  # the port, for the process that started it
    "devnet/engines/launch.py": {"os.write"},  # an engine's output into its own log
    "devnet/console.py": {"sys.stderr.write"},
}
"""Modules that do. A new one has to make foreign text printable, or to have none."""


@pytest.mark.parametrize(
    "text", ["", "plain", "größer – „so“ 日本語 ✓", "with\u00a0other\u3000spaces", "C:\\path\\x1b"]
)
def test_text_that_commands_nothing_stays(text: str) -> None:
    """Letters of all scripts, and spaces."""
    assert printable(text) == text


def test_what_commands_is_written_out() -> None:
    """Controls of 7 and 8 bits, marks of direction, ends of lines, and bytes of a file's name that are not text."""
    assert printable(HOSTILE) == SHOWN
    for code in (*range(32), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF):
        shown = printable(f"a{chr(code)}b")
        assert shown.isascii(), hex(code)
        assert shown.isprintable(), hex(code)


def test_an_error_is_two_lines_whatever_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Its own, and its own hint."""
    assert output.conclude(ChainError(f"read it: {HOSTILE}", hint=f"do that: {HOSTILE}"), debug=False) == 2
    assert capsys.readouterr().err == f"error: read it: {SHOWN}\nhint: do that: {SHOWN}\n"


def test_a_traceback_has_no_line_that_looks_like_another(capsys: pytest.CaptureFixture[str]) -> None:
    """With --debug its lines are indented, and the error stands below."""
    output.conclude(ChainError(f"read it: {HOSTILE}"), debug=True)
    *traceback, error, hint = capsys.readouterr().err.rstrip("\n").split("\n")
    assert error == f"error: read it: {SHOWN}"
    assert hint.startswith("hint: check the RPC URL")
    assert all(line.startswith("  ") and line.isprintable() for line in traceback)


def test_notes_results_and_tables_keep_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """One for each that the program writes."""
    output.warn(HOSTILE)
    print_stderr(HOSTILE)
    assert capsys.readouterr().err == f"warning: {SHOWN}\n{SHOWN}\n"
    output.print_result("first", HOSTILE)
    print_facts({"socket": HOSTILE, "many": [HOSTILE]}, as_json=False)
    print_table(("name", "says"), [["one", HOSTILE], ["[bold]two", "b"]])
    out = capsys.readouterr().out.rstrip("\n").split("\n")
    assert out[:4] == ["first", SHOWN, f"socket  {SHOWN}", f"many    {SHOWN}"]
    assert [line.split()[0] for line in out[4:]] == ["name", "one", "[bold]two"]
    assert SHOWN in out[5]


def test_json_is_what_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    """To the character, and in ASCII."""
    print_facts({"socket": HOSTILE}, as_json=True)
    out = capsys.readouterr().out
    assert json.loads(out) == {"socket": HOSTILE}
    assert out.isascii()
    output.print_data("a script\n\x1b")
    assert capsys.readouterr().out == "a script\n\x1b\n"


def test_progress_on_a_terminal_shows_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what draws the line itself there is no command in it."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    with Progress("begin") as progress:
        progress("\x1b]0;mine\x07")
    assert "\x1b]0" not in terminal.getvalue()
    assert "\x07" not in terminal.getvalue()


@contextmanager
def _fallback(stream: io.StringIO) -> Iterator[logging.Handler]:
    """What Python logs with if nobody said how."""
    handler = logging.StreamHandler(stream)
    before, logging.lastResort = logging.lastResort, handler  # type: ignore[assignment]
    try:
        logs.tame_warnings()
        yield handler
    finally:
        logging.lastResort = before


def test_a_text_log_has_a_line_for_each_record() -> None:
    """A node's, and the fallback of verbs that keep none; a traceback is indented, so no line of it passes as a record."""
    record = logging.LogRecord("eigenkms.x", logging.WARNING, __file__, 1, "peer said %s", (HOSTILE,), None)
    line = TextFormatter().format(record)
    assert line.split("Z ", 1)[1] == f"warning  peer said {SHOWN}"
    stream = io.StringIO()
    with _fallback(stream) as handler:
        handler.handle(record)
    assert stream.getvalue() == f"peer said {SHOWN}\n"
    record.exc_info = (ValueError, ValueError(f"of the peer\n{line}"), None)
    first, *below = TextFormatter().format(record).split("\n")
    assert first == line
    assert all(each.startswith("  ") and each.isprintable() for each in below)


def test_what_an_rpc_says_to_a_transaction_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Over a real connection, from the refusal to what a person reads."""
    with _refusing_rpc() as url, pytest.raises(ChainError) as error:
        trio.run(partial(_send, url))
    assert output.conclude(error.value, debug=False) == 2
    told = capsys.readouterr().err.rstrip("\n").split("\n")
    assert [line.partition(" ")[0] for line in told] == ["error:", "hint:"]
    assert told[0].startswith(r"error: pay: the node refused the transaction: \x1b]0;mine\x07")
    assert "run this" not in told[1]
    assert all(line.isprintable() for line in told)


async def _send(url: str) -> None:
    async with JsonRpc(url) as rpc:
        await Sender(rpc, b"\x01" * 32, 31337).send("pay", b"\x02" * 20, b"", gas=21_000)


@contextmanager
def _refusing_rpc() -> Iterator[str]:
    """An RPC that answers all that is asked before a transaction, and refuses it; its URL."""
    answers = {
        "eth_chainId": "0x7a69",
        "eth_getTransactionCount": "0x0",
        "eth_getBlockByNumber": {"baseFeePerGas": "0x1"},
    }

    def answer(call: dict[str, Any]) -> dict[str, Any]:
        if call["method"] in answers:
            return {"jsonrpc": "2.0", "id": call["id"], "result": answers[call["method"]]}
        return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32000, "message": HOSTILE}}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            told = [answer(call) for call in asked] if isinstance(asked, list) else answer(asked)
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_text_reaches_a_terminal_in_known_places_only() -> None:
    """No other module writes to one, so none can forget what foreign text may hold."""
    root = Path(eigenkms.__file__).parent
    found: dict[str, set[str]] = {}
    for path in root.rglob("*.py"):
        calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        if ways := {ast.unparse(call) for call in calls} & WAYS:
            found[path.relative_to(root).as_posix()] = ways
    assert found == WRITERS
