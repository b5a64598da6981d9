"""No answer flatten before its entry is durable: with others at once, a client that goes away, a disk that refuses."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from eigenkms.attestation.interface import AttestationRefusedError, Claims, Container, Image
from eigenkms.authorisation import signature_issuer
from eigenkms.authorisation.pipeline import Grant
from eigenkms.authorisation.signature_issuer import IssueRequest, PartialSignatureIssuer
from eigenkms.cli.support.output import flatten
from eigenkms.crypto import sealing
from eigenkms.errors import StorageError, VerificationError
from eigenkms.p2p.errors import CallRefusedError
from eigenkms.p2p.identity import PeerKey
from eigenkms.protocols.records.audit_log import Entry, IssuedSignature, LogHead, LogVerifier
from eigenkms.storage.audit_log_store import AuditLog, Signer, read_releases
from eigenkms.types import AppId
from eigenkms.wire import rpc_methods
from eigenkms.wire.authorisation import Refusal
from eigenkms.wire.client_rpc import PartialRequest, open_partial
from eigenkms.wire.codec import MalformedError
from tests.authorisation.test_pipeline import APPLICATION
from tests.node.test_app import running
from tests.support.fake_network import CLUSTER, FakeNetwork
from tests.support.hosts import patient_host
from tests.support.local_node import LocalNode
from tests.support.nodes import a_node, keep_version, open_log
from tests.support.randomness import counter_rng
from tests.support.waiting import PATIENCE

KEY = b"\x03" * 32


class SlowLog:
    """A real log that waits before each addition until the test lets it go on."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self.additions: list[int] = []
        self.trouble: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    @property
    def head(self) -> LogHead:
        return self._log.head

    def append(self, releases: Sequence[IssuedSignature], sign: Signer) -> None:
        assert self.gate.wait(PATIENCE)
        if self.trouble is not None:
            raise self.trouble
        self._log.append(releases, sign)
        self.additions.append(len(releases))


@pytest.fixture
def log(network: FakeNetwork, tmp_path: Path) -> Iterator[SlowLog]:
    with closing(open_log(network, 0, tmp_path)) as log:
        yield SlowLog(log)


@pytest.fixture
def releaser(network: FakeNetwork, log: SlowLog) -> PartialSignatureIssuer:
    return PartialSignatureIssuer(log, network.operators[0].key, clock=lambda: 1_800_000_000.5)


@pytest.fixture
def released(network: FakeNetwork) -> IssueRequest:
    return IssueRequest(AppId("my-app"), 2, network.epoch.transcript, KEY)


def entries(folder: Path) -> list[Entry]:
    """All that is in the log, which verifies."""
    with read_releases(folder) as reader:
        verifier = LogVerifier(reader.header, reader.signed)
        found = [verifier.take(encoded) for encoded in reader.entries()]
        verifier.finish()
    return found


IMAGE = Image(b"\x0d" * 32, "", Container((), (), (), (), ""))
CLAIMS = Claims(
    app_id=AppId("my-app"),
    method="ecdsa",
    signer=b"\x0c" * 20,
    nonces=frozenset(),
    use_id=bytes(32),
    expires_at=0,
    evidence_digest=b"\x0e" * 32,
)


@pytest.mark.parametrize(
    ("grant", "recorded"),
    [
        (None, ("open", None, None)),
        (Grant(APPLICATION, CLAIMS), ("ecdsa", b"\x0e" * 32, b"\x0c" * 20)),
        (
            Grant(APPLICATION, replace(CLAIMS, method="gcp", signer=None, image=IMAGE)),
            ("gcp", b"\x0e" * 32, b"\x0d" * 32),
        ),
    ],
    ids=["open", "signed", "attested"],
)
async def test_an_answer_is_logged_with_what_it_rests_on(
    releaser: PartialSignatureIssuer,
    released: IssueRequest,
    tmp_path: Path,
    grant: Grant | None,
    recorded: tuple[str, bytes | None, bytes | None],
) -> None:
    """When, for which application and version, by what right, to which key."""
    assert await releaser.issue(released, grant, lambda: b"answer") == b"answer"
    (entry,) = entries(tmp_path)
    found, transcript = entry.release, released.transcript
    assert (found.method, found.evidence_digest, found.subject) == recorded
    assert (found.app_id, found.ciphertext_version, found.time_ms) == ("my-app", 2, 1_800_000_000_500)
    assert (found.version, found.transcript_hash) == (transcript.version, transcript.hash)
    assert found.reply_key_digest == hashlib.sha256(KEY).digest()
    assert releaser.head == LogHead(1, entry.hash)


async def test_no_answer_leaves_before_its_entry_is_durable(
    releaser: PartialSignatureIssuer, released: IssueRequest, log: SlowLog, tmp_path: Path
) -> None:
    """While the disk takes its time, whoever asked waits."""
    log.gate.clear()
    answers: list[bytes] = []

    async def ask() -> None:
        answers.append(await releaser.issue(released, None, lambda: b"answer"))
        assert len(entries(tmp_path)) == 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        while not releaser.statistics().is_writing:
            await trio.testing.wait_all_tasks_blocked()
        assert (answers, entries(tmp_path)) == ([], [])
        log.gate.set()
    assert answers == [b"answer"]


async def test_what_waits_is_written_together(
    releaser: PartialSignatureIssuer, released: IssueRequest, log: SlowLog, tmp_path: Path
) -> None:
    """One addition, so one signature and one flush, for all that came meanwhile; each has its own answer and its own entry."""
    log.gate.clear()
    answers: list[bytes] = []
    asked: list[int] = []

    def answer(number: int) -> bytes:
        asked.append(number)
        return b"%d" % number

    async def ask(number: int) -> None:
        one = replace(released, app_id=AppId(f"app-{number}"))
        answers.append(await releaser.issue(one, None, lambda: answer(number)))

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(ask, number)
            while len(asked) < 50 or releaser.statistics().waiting < 49:
                await trio.lowlevel.checkpoint()
            log.gate.set()
    assert log.additions == [1, 49]
    assert {int(a) for a in answers} == set(range(50))
    assert {e.release.app_id for e in entries(tmp_path)} == {f"app-{n}" for n in range(50)}


@pytest.mark.parametrize("who", ["first", "second", "third"])
async def test_whoever_goes_away_takes_nobodys_entry_along(
    releaser: PartialSignatureIssuer, released: IssueRequest, log: SlowLog, tmp_path: Path, who: str
) -> None:
    """The one that is being written, the one that writes the next batch, one that waits for it: all others are answered."""
    log.gate.clear()
    answers: set[str] = set()
    scopes = {name: trio.CancelScope() for name in ("first", "second", "third", "fourth")}

    async def ask(name: str) -> None:
        with scopes[name]:
            await releaser.issue(replace(released, app_id=AppId(f"app-{name}")), None, lambda: b"")
            answers.add(name)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for number, name in enumerate(scopes):
                nursery.start_soon(ask, name)
                while (releaser.statistics().waiting, releaser.statistics().is_writing) != (number, True):
                    await trio.lowlevel.checkpoint()
            scopes[who].cancel()
            await trio.testing.wait_all_tasks_blocked()
            log.gate.set()
    assert answers >= set(scopes) - {who}
    assert {e.release.app_id for e in entries(tmp_path)} == {f"app-{name}" for name in scopes}


async def test_a_disk_that_refuses_lets_nothing_go_and_ends_the_node(
    releaser: PartialSignatureIssuer, released: IssueRequest, log: SlowLog, tmp_path: Path
) -> None:
    """Neither what waits for it, nor what comes later."""
    log.gate.clear()
    log.trouble = StorageError("write release log: the disk is full", hint="free some disk space")
    refused: list[str] = []

    async def ask() -> None:
        with pytest.raises(StorageError, match="the disk refused"):
            await releaser.issue(released, None, lambda: b"answer")
        refused.append("refused")

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
            while releaser.statistics().waiting < 4:
                await trio.lowlevel.checkpoint()
            log.gate.set()
        log.trouble = None
        await ask()
        assert len(refused) == 6
        with pytest.raises(StorageError, match="the disk is full"):
            await releaser.run()
    assert entries(tmp_path) == []


async def test_an_answer_that_cannot_be_made_is_not_logged(
    releaser: PartialSignatureIssuer, released: IssueRequest, tmp_path: Path
) -> None:
    """Nothing was released."""

    def fail() -> bytes:
        raise VerificationError("nothing can be sealed to that key")

    with pytest.raises(VerificationError):
        await releaser.issue(released, None, fail)
    assert entries(tmp_path) == []


@pytest.mark.parametrize("app_id", ["\ud800 lone", "long" * 300])
async def test_what_could_not_be_read_again_is_not_released(
    releaser: PartialSignatureIssuer, released: IssueRequest, tmp_path: Path, app_id: str
) -> None:
    """Nor does it harm anybody else's entry."""
    with pytest.raises((UnicodeEncodeError, MalformedError)):
        await releaser.issue(replace(released, app_id=AppId(app_id)), None, lambda: b"answer")
    assert await releaser.issue(released, None, lambda: b"answer") == b"answer"
    assert len(entries(tmp_path)) == 1


async def test_more_than_fit_are_refused_as_busy(
    releaser: PartialSignatureIssuer, released: IssueRequest, log: SlowLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once; when the disk has caught up, there is room again."""
    monkeypatch.setattr(signature_issuer, "MAX_UNDER_WAY", 2)
    log.gate.clear()

    async def ask() -> None:
        await releaser.issue(released, None, lambda: b"")

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(AttestationRefusedError, match="too many answers") as error:
                await ask()
            log.gate.set()
        assert error.value.code == Refusal.BUSY
        await ask()
    assert log.head.number == 3


ANSWERER = """
import sys
from dataclasses import replace
from pathlib import Path
import trio
from eigenkms.authorisation.signature_issuer import IssueRequest, open_issuer
from eigenkms.types import AppId
from tests.support.fake_network import CLUSTER, make_network

async def main():
    network = make_network()
    operator = network.operators[0]
    released = IssueRequest(AppId("app"), 2, network.epoch.transcript, bytes(32))

    async def ask(releaser, number):
        while True:
            app_id = f"app-{number}"
            await releaser.issue(replace(released, app_id=AppId(app_id)), None, lambda: b"")
            print(app_id, flush=True)
            number += 10

    async with open_issuer(Path(sys.argv[1]), CLUSTER, operator.address, operator.key) as releaser:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(ask, releaser, number)

trio.run(main)
"""


@pytest.mark.slow
def test_whoever_was_answered_is_in_the_log_whatever_kills_the_node(tmp_path: Path) -> None:
    """SIGKILL while ten ask without pause: the log verifies, and has each one whose answer left."""
    process = subprocess.Popen(
        [sys.executable, "-c", ANSWERER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        answered = [process.stdout.readline().strip() for _ in range(100)]
        os.kill(process.pid, signal.SIGKILL)
        answered += [line.strip() for line in process.stdout if line.endswith("\n")]
    logged = [entry.release.app_id for entry in entries(tmp_path)]
    assert set(answered) <= set(logged)
    assert len(logged) == len(set(logged)) <= len(answered) + 10


@pytest.mark.slow
async def test_a_node_whose_disk_is_full_answers_nobody_and_ends(
    network: FakeNetwork, tmp_path: Path
) -> None:
    """Through a real connection: what it cannot log it does not answer, and it says why it stops."""
    keep_version(network, 0, tmp_path)
    private, public = sealing.x25519_keypair(counter_rng("reply key"))
    request = PartialRequest(CLUSTER, AppId("my-app"), 2, network.epoch.transcript.hash, public, bytes(32))
    answered: list[bytes] = []

    async def live(node: LocalNode) -> None:
        async with running(network, node) as host, patient_host(PeerKey.generate()) as client:
            client.set_addresses(host.peer_id, host.addresses)
            with suppress(CallRefusedError):
                while True:
                    answered.append(
                        await client.call(
                            host.peer_id,
                            rpc_methods.CLIENT_PROTOCOL,
                            rpc_methods.PARTIAL,
                            request.encoded,
                            timeout=PATIENCE,
                        )
                    )
                    node.backing.issuer._log._database.execute("PRAGMA max_page_count = 1")  # type: ignore[attr-defined]
            await trio.sleep_forever()

    with a_node(network, 0, tmp_path) as node, trio.fail_after(PATIENCE):
        with pytest.raises(ExceptionGroup) as ended:
            await live(node)
        (cause,) = flatten(ended.value)
        assert isinstance(cause, StorageError)
        assert "the disk is full" in str(cause)
    assert len(answered) == len(entries(tmp_path)) > 0
    open_partial(private, request, network.epoch.transcript, answered[0])
