"""Operators that die in the middle of a session, each at another persistence point.

Whatever they had made durable, and whatever of it had left them: after a genesis there is one master key, certified once, and all
four hold their shares of it; and rotations go on, with that key, and nobody has said two things in one slot.
"""

import signal
from collections import defaultdict
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from eigenkms.wire.frames import decode_frame
from eigenkms.wire.messages import GENESIS_SOURCE, slot_of
from eigenkms.wire.transcript import decode_transcript
from eigenkms.wire.votes import Phase, decode_certificate
from tests.e2e.crashing_node import MOMENTS, POINTS, ROTATION_POINTS
from tests.support.databases import query
from tests.support.live_network import LiveNetwork, live_network
from tests.support.node_observation import events
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e]

DEATHS = {
    0: ("polynomial", "dealing"),
    1: ("revealed", "certificate"),
    2: ("prepare", "open"),
    3: ("commit", "version"),
}
"""Points at which each operator dies: in its first life before that is durable, in the second right after.

Every point is there once, at one of the two moments; real processes and files show it here. The simulator crashes between whole
transactions, at every point and in thousands of orders (``tests/sim``).
"""
ROTATION_DEATHS = ("key", "share", "commit", "erase", "prepare", "erase keys")
"""Those that a rotation alone has, and two votes."""


def test_crashes_lose_no_key_and_make_no_second_one(tmp_path: Path) -> None:
    """All four die twice, each time at another point; then they complete this session or a later one, and serve."""
    assert sorted(point for points in DEATHS.values() for point in points) == sorted(POINTS)
    with live_network(tmp_path / "net") as net:
        lives = {index: list(zip(points, MOMENTS, strict=True)) for index, points in DEATHS.items()}
        _live_through(net, lives)
        said = [net.wait_status(index, lambda status: status["share"]) for index in range(4)]
        assert len({status["mpk"] for status in said}) == 1
        secret = bytes(range(200))
        result, output = net.decrypt(net.encrypt(tmp_path, secret))
        assert result.code == 0, result.err
        assert output.read_bytes() == secret
        net.loop.run(net.stop_all)
        _check_stores(net)


Lives: TypeAlias = dict[int, list[tuple[str, str]]]
"""Of each operator by its index: the points and moments at which it is to die, one a life."""


def _live_through(net: LiveNetwork, lives: Lives) -> None:
    """Start these; whoever has crashed where it was told to is started again, in the end to live."""
    for index in lives:
        net.start_to_crash(index, *lives[index][0])
    with net.turning():
        while lives:
            _await_the_next(net, lives)


def _await_the_next(net: LiveNetwork, lives: Lives) -> None:
    """Wait until one has ended, or cannot end where it should any more, and begin its next life."""
    wait_until(
        lambda: any(net.has_ended(index) or _missed(net, index, lives) for index in lives),
        f"these did not get to where they should crash: {lives}",
    )
    for index in list(lives):
        if net.has_ended(index):
            log = net.members[index].log
            assert net.network.nodes[index].process.returncode == -signal.SIGKILL, log.read_text()[-2000:]
            expected = lives[index].pop(0)
            crash = events(log, "crashing")[-1]
            assert (crash["point"], crash["moment"]) == expected
            _next_life(net, index, lives)
        elif _missed(net, index, lives):
            net.kill(index)
            lives[index] = []
            _next_life(net, index, lives)


def _missed(net: LiveNetwork, index: int, lives: Lives) -> bool:
    """Whether the others made the key without what an operator should have died at, which no rotation has either."""
    gone = lives[index][0][0] not in ROTATION_POINTS
    return gone and net.has_certified(index) and not net.has_ended(index)


def _next_life(net: LiveNetwork, index: int, lives: Lives) -> None:
    if lives[index]:
        net.start_to_crash(index, *lives[index][0])
    else:
        del lives[index]
        net.loop.run(net.network.start, index)


def test_crashes_in_rotations_lose_no_key_and_say_nothing_twice(tmp_path: Path) -> None:
    """Two of four die again and again, each time at another point, while the others go on; in the end all hold the newest shares,
    older ones are erased, and a file from before all of it is decrypted.
    """
    with live_network(tmp_path / "net") as net:
        net.start_all([0, 1, 2, 3])
        genesis = [net.wait_status(index, lambda status: status["share"]) for index in range(4)]
        secret = bytes(range(200))
        ciphertext = net.encrypt(tmp_path, secret)
        net.stop(2, 3)
        deaths = [(point, MOMENTS[number // 2 % 2]) for number, point in enumerate(ROTATION_DEATHS)]
        _live_through(net, {2: deaths[::2], 3: deaths[1::2]})
        known = max(net.status(index)["version"] for index in range(4))

        def has_erased(status: dict[str, Any]) -> bool:
            """Whether it took in the certificate of a later version, with which older shares go."""
            return bool((status["version"] or 0) > known and status["share"])

        said = [net.wait_status(index, has_erased) for index in range(4)]
        assert {status["mpk"] for status in [*genesis, *said]} == {genesis[0]["mpk"]}
        result, output = net.decrypt(ciphertext)
        assert result.code == 0, result.err
        assert output.read_bytes() == secret
        net.loop.run(net.stop_all)
        _check_stores(net, known)


def _check_stores(net: LiveNetwork, known: int = 0) -> None:
    """One certified hash a session, one genesis that made a key; no share as old as ``known``; nobody contradicts itself."""
    certified: dict[bytes, set[bytes]] = defaultdict(set)
    geneses: set[bytes] = set()
    for member in net.members:
        database = member.folder / "data" / "eigenkms.db"
        held = "SELECT version FROM versions WHERE sealed_share IS NOT NULL"
        assert all(version > known for (version,) in query(database, held))
        for (encoded,) in query(database, "SELECT transcript FROM versions WHERE prepared = 0"):
            transcript = decode_transcript(encoded)
            certified[transcript.session].add(transcript.hash)
            if transcript.source_version == GENESIS_SOURCE:
                geneses.add(transcript.hash)
        for (body,) in query(database, "SELECT body FROM records WHERE kind = 'certificate'"):
            certificate = decode_certificate(body)
            assert certificate.phase is Phase.COMMIT
            certified[certificate.session].add(certificate.hash)
        _check_words(member.address, database)
    assert all(len(hashes) == 1 for hashes in certified.values())
    assert len(geneses) <= 1, "two master keys were made"
    assert len({event["mpk"] for member in net.members for event in events(member.log, "certified")}) == 1


def _check_words(address: bytes, database: Path) -> None:
    """An operator accused nobody, and said nothing twice in one slot."""
    assert query(database, "SELECT * FROM evidence") == []
    rows = query(database, "SELECT body FROM records WHERE kind = 'frame'")
    frames = [decode_frame(body) for (body,) in rows]
    assert {frame.sender for frame in frames} <= {address}
    said = {(frame.session, slot_of(frame)): frame.encoded for frame in frames}
    assert all(said[frame.session, slot_of(frame)] == frame.encoded for frame in frames)
