"""The status of the network: which operators could serve, and what a stranger's answer can do."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from eigenkms.client.cluster_info import ClusterInfo
from eigenkms.client.network_status import (
    MAX_ATTEMPTS,
    Answers,
    NetworkHealth,
    NetworkStatus,
    fetch_status,
    read_status,
)
from eigenkms.client.settings import ClientSettings
from eigenkms.p2p.operator_socket import describe_unusable
from eigenkms.types import BlockRef, ClusterId, Member, OperatorAddress, OperatorSet, SessionId
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.transcript import Transcript
from eigenkms.wire.votes import Certificate, Phase


def operators(count: int) -> tuple[OperatorAddress, ...]:
    return tuple(OperatorAddress(bytes([i + 1]) * 20) for i in range(count))


def info(count: int, threshold: int) -> ClusterInfo:
    members = OperatorSet(tuple(Member(a, bytes(128)) for a in operators(count)))
    block, session = BlockRef(10, bytes(32), 7), SessionId(bytes(32))
    transcript = Transcript(
        ClusterId(bytes(32)), session, block, members, threshold, 0, bytes(32), (), bytes(96), ()
    )
    certificate = Certificate(session, 0, Phase.COMMIT, transcript.hash, b"\xf0", bytes(64))
    return ClusterInfo(transcript.cluster, CertifiedTranscript(transcript, certificate))


def test_status_counts_who_could_serve_the_verified_version() -> None:
    """An operator serves if it answers and has a share of this version; others are named or shown as they
    are.
    """
    good, old, bare = (
        read_status(json.dumps({"version": version, "share": share}).encode())
        for version, share in ((7, True), (6, True), (7, False))
    )
    a, b, c, d = operators(4)

    def facts(answers: Answers) -> tuple[object, ...]:
        found = NetworkStatus(info(4, 3), answers).to_json()
        return found["health"], found["serving"], found["silent"]

    assert facts({a: good, b: good, c: good, d: good}) == ("healthy", 4, [])
    assert facts({a: good, b: good, c: good, d: None}) == ("degraded", 3, ["0x" + d.hex()])
    for other in (old, bare):
        assert facts({a: good, b: good, c: other, d: None}) == ("cannot serve", 2, ["0x" + d.hex()])


def test_status_names_operators_that_nobody_can_dial() -> None:
    """With the reason, such as a socket of the reference; they are silent too."""
    a, b = operators(2)
    answer = read_status(b'{"version": 7, "share": true}')
    reason = describe_unusable("http://localhost:7501")
    facts = NetworkStatus(info(2, 2), {a: answer, b: None}, {b: reason}).to_json()
    assert facts["undialable"] == {"0x" + b.hex(): reason}
    assert facts["silent"] == ["0x" + b.hex()]
    assert reason == "its socket on chain is no multiaddr with a peer id: 'http://localhost:7501'"


def test_status_sees_that_a_rotation_is_under_way() -> None:
    """Some have another version than the verified one, newer or older still, or decrypt their share of it. Silence, rubbish and
    having none are no rotation.
    """
    here, decrypting, older, newer, none, odd = (
        read_status(json.dumps({"version": version, "share": share}).encode())
        for version, share in ((7, True), (7, False), (6, True), (8, True), (None, False), ("7", True))
    )
    a, b = operators(2)
    for other, changing in (
        (here, False),
        (decrypting, True),
        (older, True),
        (newer, True),
        (none, False),
        (odd, False),
        (None, False),
    ):
        assert NetworkStatus(info(2, 2), {a: here, b: other}).is_changing == changing


@pytest.mark.parametrize(
    "behind", [{"version": 6, "share": True}, {"version": 7, "share": False}], ids=["version", "share"]
)
@pytest.mark.parametrize(
    ("lag", "looks", "health"), [(0, 1, "healthy"), (1, 2, "healthy"), (99, MAX_ATTEMPTS, "cannot serve")]
)
async def test_status_asks_again_in_the_midst_of_a_rotation(
    lag: int,
    looks: int,
    health: str,
    behind: dict[str, object],
    autojump_clock: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who is behind for a moment is not degraded; who stays so is, after a few looks."""

    class Client:
        """Its second operator goes on to the version of the others after ``lag`` looks."""

        looks = 0

        def __init__(self) -> None:
            self.transport = self

        async def fetch(self, _progress: object) -> ClusterInfo:
            self.looks += 1
            return info(2, 2)

        async def call(self, operator: OperatorAddress, *_: object) -> bytes:
            late = operator == operators(2)[1] and self.looks <= lag
            return json.dumps(behind if late else {"version": 7, "share": True}).encode()

    client = Client()

    @asynccontextmanager
    async def opened(_settings: object) -> AsyncIterator[Client]:
        yield client

    monkeypatch.setattr("eigenkms.client.api.open_client", opened)
    found = await fetch_status(ClientSettings.__new__(ClientSettings), lambda _: None)
    assert client.looks == looks
    assert found.health is NetworkHealth(health)


@pytest.mark.parametrize("answer", [b"", b"[]", b"\xff", b"1", b"[" * 100_000])
def test_an_operator_may_answer_anything(answer: bytes) -> None:
    """What is no status counts as no answer."""
    assert read_status(answer) is None


def test_an_operators_word_cannot_command_the_terminal() -> None:
    """Numbers, truths and short printable texts pass; the rest is dropped, unknown fields too."""
    said = {
        "version": [1],
        "policy": "open",
        "phase": "\x1b]0;x\x07",
        "peers": 10,
        "share": True,
        "more": "x",
    }
    shown = read_status(json.dumps(said).encode())
    assert shown is not None
    assert (shown.policy, shown.peers, shown.share) == ("open", 10, True)
    assert (shown.version, shown.phase) == (None, None)
    assert "more" not in shown.to_json()
    nothing = read_status(json.dumps({"policy": "x" * 101}).encode())
    assert nothing is not None
    assert nothing.to_json() == {**dict.fromkeys(shown.to_json()), "accused": []}


def test_whom_operators_accuse_is_named_once() -> None:
    """As their word, whoever says it; what is no address is dropped, and so is more than there can be operators."""
    address = "0x" + "ab" * 20
    many = [f"0x{number:040x}" for number in range(300)]
    one, two, three = (
        read_status(json.dumps({"version": 7, "share": True, "evidence": 1, "accused": named}).encode())
        for named in ([address, "0xAB", 7, None, address + "\n", "\x1b[2J"], [address], "0x")
    )
    a, b, c, d = operators(4)
    assert one is not None
    assert (one.accused, one.evidence) == ((address,), 1)
    facts = NetworkStatus(info(4, 3), {a: one, b: two, c: three, d: None}).to_json()
    assert facts["accused"] == [address]
    flood = read_status(json.dumps({"accused": many}).encode())
    assert flood is not None
    assert len(flood.accused) == 256
