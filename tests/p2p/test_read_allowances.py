"""What is read from strangers: so much from an address, whatever connections it makes."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
import trio

from eigenkms.p2p.host import Host, open_host
from eigenkms.p2p.identity import PeerKey
from eigenkms.p2p.listening import read_allowances
from eigenkms.p2p.listening.read_allowances import Allowances, new_allowance
from eigenkms.token_bucket import TokenBucket
from tests.p2p.support import ANYWHERE, ECHO, echo
from tests.support.p2p_attackers import raw_peer
from tests.support.waiting import eventually, pass_time

ELSEWHERE = "127.0.0.66"


async def allowances_of(server: Host, sources: Sequence[str]) -> list[TokenBucket]:
    """Of as many connections, while all of them are open."""
    async with AsyncExitStack() as stack:
        for source in sources:
            await stack.enter_async_context(raw_peer(server.addresses[0], source=source))
        await eventually(lambda: server.statistics().clients == len(sources))
        found = [each._paced.allowance for each in server._connections.clients()]
    await eventually(lambda: server.statistics().clients == 0)
    return found


async def test_all_connections_of_an_address_have_one_allowance() -> None:
    """Also those after them, so nothing is won by a new one. On this machine each has its own."""
    async with open_host(PeerKey.generate(), listen=[ANYWHERE], gate=lambda _, p: p == ECHO) as server:
        server.serve(ECHO, echo)
        found = await allowances_of(server, [ELSEWHERE] * 3)
        found += await allowances_of(server, [ELSEWHERE])
        assert len(set(map(id, found))) == 1
        others = await allowances_of(server, ["127.0.0.1"] * 3)
        assert len(set(map(id, [*found, *others]))) == 4


async def test_who_reads_more_waits_for_as_long_as_it_takes() -> None:
    """Whoever comes next waits for what was read before it, too; what was not used adds up to a second's worth."""
    allowance = new_allowance(1000)
    assert [allowance.spend(trio.current_time(), 500) for _ in range(4)] == pytest.approx(
        [0, 0, 0.5, 1.0], abs=0.05
    )
    await pass_time(100)
    assert [allowance.spend(trio.current_time(), 500) for _ in range(3)] == pytest.approx(
        [0, 0, 0.5], abs=0.05
    )


async def test_so_many_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPv6 addresses by their /64. Who connected the longest ago is forgotten."""
    monkeypatch.setattr(read_allowances, "REMEMBERED", 2)
    known = Allowances(1000)
    first, second = known.of("192.0.2.1"), known.of("2001:db8::1")
    assert known.of("2001:db8::2") is second
    assert known.of("192.0.2.1") is first
    known.of("192.0.2.3")
    assert len(known) == 2
    assert known.of("192.0.2.1") is first
    assert known.of("2001:db8::1") is not second
