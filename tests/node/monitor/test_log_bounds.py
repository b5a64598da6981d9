"""What strangers can bring about fills no log: so many lines a minute of each kind, and the number of the rest."""

import ast
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import eigenkms
from eigenkms.applications import Application
from eigenkms.attestation.interface import AttestationRefusedError
from eigenkms.authorisation.pipeline import Authoriser, KeyRequest
from eigenkms.errors import ChainError
from eigenkms.node.monitor.log_bounds import LINES, PERIOD_SECONDS, REACHED, bounded_lines
from eigenkms.storage.replay_cache import ReplayCache
from eigenkms.types import AppId, OperatorAddress
from eigenkms.wire.authorisation import Authorisation
from tests.support.fake_network import CLUSTER

FLOOD = 2_000


class Clock:
    """Seconds, until a test changes them."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    """Of the bounds, which are in force."""
    found = Clock()
    with bounded_lines(found):
        yield found


class Refusing:
    """A chain that refuses every lookup, as in a flood."""

    async def lookup(self, app_id: AppId, client: str = "") -> Application | None:
        raise ChainError(f"read application {app_id}: too many are asked for that were never found")


async def test_made_up_applications_write_a_few_lines_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    """Of two thousand ten are written, and the first one of the next minute says how many were not."""
    spent = ReplayCache.open(tmp_path)
    authoriser = Authoriser(
        cluster=CLUSTER,
        operator=OperatorAddress(bytes(20)),
        applications=Refusing(),
        methods=(),
        spent=spent,
    )

    async def ask(number: int) -> None:
        request = KeyRequest(AppId(f"0x{number:040x}"), bytes(32), Authorisation("gcp", b""))
        with pytest.raises(AttestationRefusedError):
            await authoriser.authorise(request)

    with caplog.at_level(logging.INFO, "eigenkms"):
        for number in range(FLOOD):
            await ask(number)
        assert len(caplog.records) == LINES
        clock.now += PERIOD_SECONDS
        await ask(FLOOD)
    spent.close()
    assert len(caplog.records) == LINES + 1
    assert f"(and {FLOOD - LINES} more like it" in caplog.records[-1].getMessage()


def test_each_line_of_the_code_has_its_own_bound(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    """What is beyond is written if the log is to have all. Others' loggers have no bound; afterwards none has."""
    log, other = logging.getLogger(REACHED[0]), logging.getLogger("eigenkms.node.engine")
    with caplog.at_level(logging.DEBUG, "eigenkms"):
        for number in range(LINES + 5):
            log.warning("a request of %d failed", number)
            other.info("vote %d", number)
        log.error("another line")
    levels = [record.levelname for record in caplog.records if record.name == log.name]
    assert levels == ["WARNING"] * LINES + ["DEBUG"] * 5 + ["ERROR"]
    assert sum(record.levelname == "INFO" for record in caplog.records) == LINES + 5


def test_loggers_that_strangers_reach_are_bounded() -> None:
    """All of what listens to them: a module with a new logger must be put on the list."""
    root = Path(eigenkms.__file__).parent
    at_the_start = {"eigenkms.node.http.api_listener"}
    found = set()
    for path in [*root.glob("p2p/**/*.py"), *root.glob("attestation/*.py"), *root.glob("node/http/*.py")]:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "logging.getLogger" and call.args:
                name = ".".join(path.relative_to(root.parent).with_suffix("").parts)
                given = call.args[0]
                found.add(str(given.value) if isinstance(given, ast.Constant) else name)
    ours = {name for name in found if name.startswith("eigenkms.")}
    assert ours - at_the_start <= set(REACHED)
