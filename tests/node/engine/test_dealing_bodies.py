"""Bodies of dealings that wait for the machines."""

import trio
from trio.testing import MockClock

from eigenkms.crypto.hashing import keccak256
from eigenkms.node.engine.dealing_bodies import MAX_BYTES, MAX_OF_ONE, DealingBodies

NAMES = [keccak256(b"%d" % number) for number in range(20)]


async def test_bodies_wait_until_they_are_wanted() -> None:
    """Each under its name, of all sources that sent one; what nobody wants stays, and a newer one takes an older one's place."""
    bodies = DealingBodies()
    bodies.put("a", NAMES[0], b"early")
    bodies.put("a", NAMES[0], b"one")
    bodies.put("b", NAMES[0], b"another")
    bodies.put("b", NAMES[1], b"two")
    await bodies.arrival()
    assert bodies.take([NAMES[2]]) == []
    assert sorted(bodies.take([NAMES[0], NAMES[2]])) == sorted([(NAMES[0], b"one"), (NAMES[0], b"another")])
    assert len(bodies) == 1
    assert bodies.take(NAMES) == [(NAMES[1], b"two")]
    assert len(bodies) == 0


async def test_a_source_displaces_its_own_bodies_only() -> None:
    """By number and by bytes, the oldest first; how many went is said."""
    bodies = DealingBodies()
    bodies.put("honest", NAMES[0], b"body")
    displaced = [bodies.put("liar", name, b"x") for name in NAMES]
    assert displaced == [0] * MAX_OF_ONE + [1] * (len(NAMES) - MAX_OF_ONE)
    assert bodies.put("liar", NAMES[0], bytes(MAX_BYTES)) == MAX_OF_ONE
    assert bodies.take(NAMES) == [(NAMES[0], b"body"), (NAMES[0], bytes(MAX_BYTES))]


async def test_an_arrival_is_told_once(autojump_clock: MockClock) -> None:
    """Whoever waits again waits for the next one."""
    bodies = DealingBodies()
    bodies.put("a", NAMES[0], b"one")
    await bodies.arrival()
    with trio.move_on_after(1) as waiting:
        await bodies.arrival()
    assert waiting.cancelled_caught
