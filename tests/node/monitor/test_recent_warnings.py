"""The last warnings of a node."""

import logging

from eigenkms.node.monitor.log_bounds import REACHED
from eigenkms.node.monitor.recent_warnings import KEPT, MAX_CHARACTERS, RecentWarnings

log = logging.getLogger("eigenkms.node.app")


async def test_warnings_and_errors_are_kept_while_somebody_listens() -> None:
    """Neither what is only news, nor other programs' lines, nor anything from before or after."""
    log.warning("before")
    async with RecentWarnings.collect() as recent:
        log.warning("operator %s is late", "0x01")
        log.info("a day in the life")
        logging.getLogger("another").warning("not ours")
        log.error("the disk is gone")
    log.warning("after")
    assert [(w.level, w.message, w.count) for w in recent.list()] == [
        ("warning", "operator 0x01 is late", 1),
        ("error", "the disk is gone", 1),
    ]


async def test_what_is_said_again_is_counted_and_what_is_long_is_cut() -> None:
    """A line that repeats pushes no other out; the newest is last."""
    async with RecentWarnings.collect() as recent:
        log.warning("first")
        for number in range(KEPT + 5):
            log.warning("the same")
            log.warning("line %d", number)
        log.warning("x" * 10_000)
    kept = recent.list()
    assert len(kept) == KEPT
    assert ("the same", KEPT + 5) in [(w.message, w.count) for w in kept]
    assert len(kept[-1].message) == MAX_CHARACTERS
    assert "first" not in [w.message for w in kept]


async def test_what_strangers_bring_about_pushes_nothing_out() -> None:
    """It has one place for each kind, whatever it names; the newest is shown, with how many there were."""
    strangers = logging.getLogger(REACHED[0])
    async with RecentWarnings.collect() as recent:
        log.error("the disk is full")
        for number in range(KEPT + 5):
            strangers.warning("request of peer %d: not done", number)
        strangers.warning("another kind")
    assert [(w.message, w.count) for w in recent.list()] == [
        ("the disk is full", 1),
        (f"request of peer {KEPT + 4}: not done", KEPT + 5),
        ("another kind", 1),
    ]
