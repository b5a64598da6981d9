"""Operators that die in the middle of a genesis, each at another persistence point, all in one session.

Whatever they had made durable, and whatever of it had left them, there is one master key in the end, certified once, and all four
hold their shares of it.
"""

import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from eigenkms.devnet.members import Timing
from eigenkms.protocols.frames import decode_frame
from eigenkms.protocols.messages import slot_of
from eigenkms.protocols.votes import VOID_HASH, Phase, decode_certificate
from tests.e2e.crashing_node import MOMENTS, POINTS
from tests.e2e.facts import events, query
from tests.e2e.harness import GENESIS_SECONDS, LiveNetwork, live_network

pytestmark = [pytest.mark.e2e]
TIMING = Timing(interval_blocks=6, block_seconds=1.0, window_seconds=0.5)
DYING_SECONDS = 90.0

PLANS = (POINTS[::2], POINTS[1::2])
"""The point of each operator, a network a plan. In its first life it dies before that is durable, in the second right after."""


@pytest.mark.parametrize("plan", PLANS, ids=["odd", "even"])
def test_crashes_lose_no_key_and_make_no_second_one(tmp_path: Path, plan: Sequence[str]) -> None:
    """All four die twice, each at another point; then they complete this session or a later one, and serve."""
    with live_network(tmp_path / "net", timing=TIMING) as net:
        _live_and_die(net, plan)
        said = [net.wait_status(index, lambda status: status["share"], GENESIS_SECONDS) for index in range(4)]
        assert len({status["mpk"] for status in said}) == 1
        assert len({status["transcript"] for status in said}) == 1
        secret = bytes(range(200))
        result, output = net.decrypt(net.encrypt(tmp_path, secret))
        assert result.code == 0, result.err
        assert output.read_bytes() == secret
        net.loop.run(net.stop_all)
        _check_stores(net, bytes.fromhex(said[0]["transcript"]))


def _live_and_die(net: LiveNetwork, plan: Sequence[str]) -> None:
    """Start all; whoever has crashed where it was told to is started again, in the end to live."""
    lives = {index: [(point, moment) for moment in MOMENTS] for index, point in enumerate(plan)}
    for index in lives:
        net.start_to_crash(index, *lives[index][0])
    deadline = time.monotonic() + DYING_SECONDS
    while lives:
        assert time.monotonic() < deadline, f"these did not get to where they should crash: {lives}"
        for index in [i for i in lives if net.has_ended(i)]:
            log = net.members[index].log
            assert net.network.nodes[index].process.returncode == -signal.SIGKILL, log.read_text()[-2000:]
            expected = lives[index].pop(0)
            crash = events(log, "crashing")[-1]
            assert (crash["point"], crash["moment"]) == expected
            _next_life(net, index, lives)
        for index in [i for i in lives if net.has_certified(i) and not net.has_ended(i)]:
            del lives[index]  # the others made the key without what it should have died at: it goes on living
        time.sleep(0.05)


def _next_life(net: LiveNetwork, index: int, lives: dict[int, list[tuple[str, str]]]) -> None:
    if lives[index]:
        net.start_to_crash(index, *lives[index][0])
    else:
        del lives[index]
        net.loop.run(net.network.start, index)


def _check_stores(net: LiveNetwork, transcript: bytes) -> None:
    """One version; one certified hash a session; no operator said two things in one slot; nobody was accused."""
    certified: dict[bytes, set[bytes]] = defaultdict(set)
    for member in net.members:
        database = member.folder / "data" / "eigenkms.db"
        assert [row[0] for row in query(database, "SELECT transcript_hash FROM versions")] == [transcript]
        assert query(database, "SELECT * FROM evidence") == []
        for (body,) in query(database, "SELECT body FROM records WHERE kind = 'certificate'"):
            certificate = decode_certificate(body)
            assert certificate.phase is Phase.COMMIT
            certified[certificate.session].add(certificate.hash)
        frames = [
            decode_frame(row[0]) for row in query(database, "SELECT body FROM records WHERE kind = 'frame'")
        ]
        assert {frame.sender for frame in frames} == {member.address}
        said = {(frame.session, slot_of(frame)): frame.encoded for frame in frames}
        assert all(said[frame.session, slot_of(frame)] == frame.encoded for frame in frames)
    assert all(len(hashes) == 1 for hashes in certified.values())
    assert {h for hashes in certified.values() for h in hashes} - {VOID_HASH} == {transcript}
    keys = {event["mpk"] for member in net.members for event in events(member.log, "certified")}
    assert len(keys) == 1
