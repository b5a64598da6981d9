"""Real hosts on loopback in one loop, under a virtual clock; libp2p is imported once, with its own warnings set aside."""

import warnings

import pytest
from trio.testing import MockClock

from eigenkms.p2p import host

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import libp2p
    import libp2p.pubsub.gossipsub  # noqa: F401


host._load()  # here, because the first host of a process imports in a thread, which virtual time does not wait for


@pytest.fixture(autouse=True)
def clock(virtual_clock: MockClock) -> MockClock:
    """Deadlines pass when nothing else can happen, whatever the machine does meanwhile."""
    return virtual_clock
