"""Kept connections: who dials, when, how often, and how a peer that is gone is noticed."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
import trio

from eigenkms.errors import InputError
from eigenkms.p2p.dialing.dialer import read_addresses
from eigenkms.p2p.host import CallTimeout, Host, Limits, PeerUnreachable, open_host
from eigenkms.p2p.identity import PeerAddress, PeerId, PeerKey, TransportAddress
from eigenkms.p2p.limits import ConnectionLimits, DialLimits, RpcLimits
from tests.p2p.support import ANYWHERE, ECHO, HASTY, echo, introduce, keys, link
from tests.support.p2p_attackers import raw_peer
from tests.support.waiting import PATIENCE, eventually, pass_time

UNUSED = "/ip4/127.0.0.1/tcp/1"


async def test_of_two_that_want_each_other_the_lower_id_dials() -> None:
    """One connection, not two, and no race."""
    low, high = keys(2)
    async with open_host(low, listen=[ANYWHERE]) as a, open_host(high, listen=[ANYWHERE]) as b:
        await link(b, a)

        assert (a.statistics().dials, b.statistics().dials) == (1, 0)


async def test_the_higher_id_dials_when_the_lower_cannot() -> None:
    """After a grace the other side tries, too."""
    low, high = keys(2)
    async with (
        open_host(low) as a,
        open_host(high, limits=HASTY) as b,
        open_host(low, listen=[ANYWHERE]) as listening,
    ):
        b.set_addresses(a.peer_id, [str(each) for each in listening.addresses])
        b.keep_connected({a.peer_id})
        await b.wait_connected(a.peer_id, PATIENCE)

        assert (a.statistics().dials, b.statistics().dials) == (0, 1)


async def test_a_lost_peer_is_dialled_until_it_is_back() -> None:
    """A kept peer that restarts on its port is connected again, without being asked for."""
    low, high = keys(2)
    async with open_host(low, limits=HASTY) as client:
        async with open_host(high, listen=[ANYWHERE]) as server:
            address = server.addresses[0].multiaddr
            introduce(client, server)
            client.keep_connected({high.peer_id})
            await client.wait_connected(high.peer_id, PATIENCE)
        await eventually(lambda: not client.connected())
        await eventually(lambda: client.statistics().failed_dials > 1)
        async with open_host(high, listen=[address]):
            await client.wait_connected(high.peer_id, PATIENCE)


async def test_back_off_keeps_dials_to_a_dead_address_few() -> None:
    """In half a second from 0.1 s on, doubling: a handful, not hundreds."""
    async with open_host(
        PeerKey.generate(), limits=Limits(dialing=DialLimits(backoff_min=0.1, grace=0))
    ) as client:
        peer = PeerKey.generate().peer_id
        client.set_addresses(peer, [UNUSED])
        client.keep_connected({peer})
        await pass_time(0.7)

        assert 2 <= client.statistics().failed_dials <= 6


@pytest.mark.slow
async def test_no_more_than_four_dials_run_at_once() -> None:
    """Twelve silent peers are dialled four at a time."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    open_now, most = 0, 0

    async def silent(socket: trio.SocketStream) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        try:
            while await socket.receive_some():
                pass
        except trio.BrokenResourceError:
            pass
        open_now -= 1

    async with (
        trio.open_nursery() as nursery,
        open_host(PeerKey.generate(), limits=Limits(dialing=DialLimits(dial_timeout=0.2))) as client,
    ):
        nursery.start_soon(trio.serve_listeners, silent, [listener])
        peers = {PeerKey.generate().peer_id for _ in range(12)}
        for peer in peers:
            client.set_addresses(peer, [f"/ip4/127.0.0.1/tcp/{port}"])
        client.keep_connected(peers)
        await eventually(lambda: client.statistics().failed_dials >= 12)
        nursery.cancel_scope.cancel()
    assert most == 4


async def test_every_address_of_a_peer_is_tried_in_order() -> None:
    """A dead first address costs a moment, not the peer."""
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, echo)
        client.set_addresses(server.peer_id, [UNUSED, str(server.addresses[0])])
        assert await client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE) == b""
        assert client.statistics().dials == 2


@pytest.mark.slow
async def test_a_failed_dial_fails_the_next_calls_at_once_and_then_is_tried_again() -> None:
    """Callers do not queue up behind a dead peer, and do not need to be told when it is back."""
    key = PeerKey.generate()
    async with open_host(key, listen=[ANYWHERE]) as server:
        address = server.addresses[0].multiaddr
    async with open_host(PeerKey.generate()) as client:
        client.set_addresses(key.peer_id, [address])
        for _ in range(20):
            with pytest.raises(PeerUnreachable, match="connection refused"):
                await client.call(key.peer_id, ECHO, "echo", b"", timeout=PATIENCE)
        assert client.statistics().dials == 1
        async with open_host(key, listen=[address]) as server:
            server.serve(ECHO, echo)
            await pass_time(1.0)
            assert await client.call(key.peer_id, ECHO, "echo", b"", timeout=PATIENCE) == b""


async def test_waiting_for_a_peer_that_does_not_come_ends() -> None:
    """The error names the peer and how long was waited."""
    async with open_host(PeerKey.generate()) as client:
        peer = PeerKey.generate().peer_id
        with pytest.raises(PeerUnreachable, match=rf"wait for {peer}: not connected within 0\.05 s"):
            await client.wait_connected(peer, 0.05)


async def test_a_peer_that_reaches_itself_gives_up() -> None:
    """Our own address under another name is no connection, and our own id is never dialled."""
    key = PeerKey.generate()
    async with open_host(key, listen=[ANYWHERE]) as host:
        introduce(host, host)
        host.keep_connected({host.peer_id})
        await pass_time(0.1)
        assert host.statistics().dials == 0
        with pytest.raises(PeerUnreachable, match=r"this host|hung up"):
            await host.call(host.peer_id, ECHO, "echo", b"", timeout=PATIENCE)
        assert host.connected() == frozenset()


async def test_a_peer_with_many_connections_keeps_the_last_four() -> None:
    """One identity does not fill the host; its oldest connections go."""
    key = PeerKey.generate()
    async with open_host(PeerKey.generate(), listen=[ANYWHERE]) as server, trio.open_nursery() as nursery:

        async def one() -> None:
            async with raw_peer(server.addresses[0], key) as peer:
                await peer.read_until_closed(60)

        for i in range(7):
            nursery.start_soon(one)
            await eventually(
                lambda i=i: (
                    server.statistics().evicted == max(0, i - 3)
                    and len(server._connections.of(key.peer_id)) == min(4, i + 1)
                )
            )
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_full_house_takes_a_newcomer_and_parts_from_the_idlest() -> None:
    """Clients that ask keep their place; one that never asked loses it."""
    limits = Limits(connections=ConnectionLimits(clients=3))
    async with open_host(
        PeerKey.generate(), listen=[ANYWHERE], limits=limits, gate=lambda _, p: p == ECHO
    ) as server:
        server.serve(ECHO, echo)
        async with (
            open_host(PeerKey.generate()) as idle,
            open_host(PeerKey.generate()) as busy,
            open_host(PeerKey.generate()) as third,
            open_host(PeerKey.generate()) as newcomer,
        ):
            for client in (idle, busy, third, newcomer):
                introduce(client, server)
            idle.keep_connected({server.peer_id})
            await idle.wait_connected(server.peer_id, PATIENCE)
            idle.keep_connected(set())
            for client in (busy, third, newcomer):
                await client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE)
            await eventually(lambda: not idle.connected())

            assert server.connected() == {busy.peer_id, third.peer_id, newcomer.peer_id}
            assert server.statistics().clients == 3


async def test_operators_have_places_of_their_own() -> None:
    """However many clients there are, a trusted peer gets in and stays."""
    trusted: set[PeerId] = set()
    limits = Limits(connections=ConnectionLimits(clients=2))
    async with (
        open_host(
            PeerKey.generate(),
            listen=[ANYWHERE],
            limits=limits,
            gate=lambda peer, p: p == ECHO or peer in trusted,
        ) as server,
        open_host(PeerKey.generate()) as operator,
    ):
        server.serve(ECHO, echo)
        trusted.add(operator.peer_id)
        introduce(operator, server)
        operator.keep_connected({server.peer_id})
        await operator.wait_connected(server.peer_id, PATIENCE)
        for _ in range(5):
            async with open_host(PeerKey.generate()) as client, open_host(PeerKey.generate()) as other:
                for each in (client, other):
                    introduce(each, server)
                    await each.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE)

        assert operator.peer_id in server.connected()
        assert operator.statistics().lost_connections == 0


async def test_idle_clients_are_parted_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks for nothing is let go after a while; an operator is not."""
    monkeypatch.setattr("eigenkms.p2p.connections._SWEEP", 0.1)
    trusted: set[PeerId] = set()
    async with (
        open_host(
            PeerKey.generate(),
            listen=[ANYWHERE],
            limits=Limits(rpc=RpcLimits(idle_stream=0.3)),
            gate=lambda peer, p: p == ECHO or peer in trusted,
        ) as server,
        open_host(PeerKey.generate()) as operator,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, echo)
        trusted.add(operator.peer_id)
        for each in (operator, client):
            introduce(each, server)
            await each.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE)
        await eventually(lambda: server.connected() == {operator.peer_id})
        assert await client.call(server.peer_id, ECHO, "echo", b"again", timeout=PATIENCE) == b"again"


@pytest.mark.slow
async def test_an_idle_session_closes_its_stream_and_the_next_call_opens_another() -> None:
    """The asking side closes first, so that no request meets a closing stream; the connection stays."""
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate(), limits=Limits(rpc=RpcLimits(idle_session=0.1))) as client,
    ):
        server.serve(ECHO, echo)
        introduce(client, server)
        for _ in range(5):
            assert await client.call(server.peer_id, ECHO, "echo", b"x", timeout=PATIENCE) == b"x"
            await eventually(lambda: not client._rpc_client.get(server.peer_id, ECHO).running)
        assert server.statistics().accepted == 1


@pytest.mark.slow
async def test_calls_at_the_very_end_of_a_session_are_answered() -> None:
    """Twenty calls that come just before, just when and just after the idle session closes."""
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate(), limits=Limits(rpc=RpcLimits(idle_session=0.01))) as client,
    ):
        server.serve(ECHO, echo)
        introduce(client, server)
        failures = 0
        for i in range(20):
            try:
                assert await client.call(server.peer_id, ECHO, "echo", b"x", timeout=PATIENCE) == b"x"
            except PeerUnreachable:
                failures += 1
            await pass_time(0.0099 + 0.00001 * i)
        assert failures == 0


@pytest.mark.slow
async def test_a_storm_of_cancelled_calls_reconnects_nothing() -> None:
    """Dozens of callers give up at different moments; the one connection and its stream live on."""

    async def slow(request: object) -> bytes:
        await pass_time(0.003)
        return bytes(20_000)

    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, slow)
        introduce(client, server)
        await client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE)
        gave_up = 0

        async def impatient(i: int) -> None:
            nonlocal gave_up
            with trio.move_on_after(0.0004 * (i % 12)) as scope:
                await client.call(server.peer_id, ECHO, "echo", bytes(1000 * (i % 50)), timeout=PATIENCE)
            gave_up += scope.cancelled_caught

        for _ in range(4):
            async with trio.open_nursery() as nursery:
                for i in range(60):
                    nursery.start_soon(impatient, i)

        assert 60 < gave_up < 240
        assert len(await client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE)) == 20_000
        assert server.statistics().accepted == 1
        assert client.statistics().lost_connections == 0
        assert server.statistics().bad_streams == 0


async def test_a_session_whose_answers_stay_out_is_given_up() -> None:
    """When all places are taken by requests that nobody answers, the next session starts afresh."""
    hang = True

    async def handler(request: object) -> bytes:
        if hang:
            await trio.sleep_forever()
        return b"done"

    limits = Limits(rpc=RpcLimits(in_flight=2, stuck_session=0.2))
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate(), limits=limits) as client,
    ):
        server.serve(ECHO, handler)
        introduce(client, server)
        for _ in range(4):
            with pytest.raises((CallTimeout, PeerUnreachable)):
                await client.call(server.peer_id, ECHO, "echo", b"", timeout=0.15)
        hang = False
        await eventually(lambda: not client._rpc_client.get(server.peer_id, ECHO).running)
        assert await client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE) == b"done"


CHILD = textwrap.dedent(
    """
    import sys, trio
    from eigenkms.p2p.host import open_host
    from eigenkms.p2p.identity import PeerKey

    async def echo(request):
        return request.body

    async def main():
        async with open_host(PeerKey(bytes.fromhex(sys.argv[1])), listen=["/ip4/127.0.0.1/tcp/0"]) as host:
            host.serve("/test/echo/1", echo)
            print(host.addresses[0].transport.port, flush=True)
            await trio.sleep_forever()

    trio.run(main)
    """
)


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_stopped_process_is_found_and_a_killed_one_at_once() -> None:
    """SIGSTOP is found by the keepalive, SIGKILL by the closed socket without one; calls fail instead of hanging."""
    key = PeerKey.generate()
    child = await trio.lowlevel.open_process(
        [sys.executable, "-W", "ignore", "-c", CHILD, key.secret.hex()], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        with trio.fail_after(PATIENCE):
            port = int(await child.stdout.receive_some(100))
        address = str(PeerAddress(TransportAddress("ip4", "127.0.0.1", port), key.peer_id))
        watchful = Limits(
            connections=ConnectionLimits(keepalive_interval=0.5, keepalive_timeout=0.5),
            dialing=DialLimits(backoff_min=0.1),
        )
        trustful = Limits(connections=ConnectionLimits(keepalive_interval=2 * PATIENCE))
        async with (
            open_host(PeerKey.generate(), limits=watchful) as pinging,
            open_host(PeerKey.generate(), limits=trustful) as waiting,
        ):

            async def is_answered(client: Host) -> bool:
                try:
                    return await client.call(key.peer_id, ECHO, "echo", b"x", timeout=PATIENCE) == b"x"
                except PeerUnreachable:  # a busy machine may miss a ping; the connection is made again
                    return False

            for client in (pinging, waiting):
                client.set_addresses(key.peer_id, [address])
                client.keep_connected({key.peer_id})
                await eventually(lambda client=client: is_answered(client))

            os.kill(child.pid, signal.SIGSTOP)
            await eventually(lambda: not pinging.connected())
            assert waiting.connected() == {key.peer_id}
            os.kill(child.pid, signal.SIGCONT)
            await eventually(lambda: is_answered(pinging))

            os.kill(child.pid, signal.SIGKILL)
            await eventually(lambda: not waiting.connected())
            with pytest.raises(PeerUnreachable):
                await waiting.call(key.peer_id, ECHO, "echo", b"x", timeout=PATIENCE)
    finally:
        child.kill()
        await child.wait()


def test_an_address_of_another_peer_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """The address book takes what names the peer or nobody; text that is no address is an error."""
    peer, other = PeerKey.generate().peer_id, PeerKey.generate().peer_id
    here = "/ip4/127.0.0.1/tcp/9000"

    assert read_addresses(peer, [here, f"{here}/p2p/{peer}", f"{here}/p2p/{other}"]) == (
        TransportAddress("ip4", "127.0.0.1", 9000),
    )
    assert "names another peer" in caplog.text
    with pytest.raises(InputError):
        read_addresses(peer, ["nonsense"])


def test_multiaddr_objects_are_addresses_too() -> None:
    """Whatever prints as a multiaddr is read as one."""
    from multiaddr import Multiaddr

    peer = PeerKey.generate().peer_id
    assert read_addresses(peer, [Multiaddr(f"/ip4/127.0.0.1/tcp/9000/p2p/{peer}")]) == (
        TransportAddress("ip4", "127.0.0.1", 9000),
    )


async def test_hosts_that_keep_each_other_close_in_any_order() -> None:
    """A host that is closing dials nobody, whatever it sees going away."""
    for _ in range(3):
        async with trio.open_nursery() as nursery:
            hosts: list[Host] = []
            leave = trio.Event()

            async def run(key: PeerKey, hosts: list[Host] = hosts, leave: trio.Event = leave) -> None:
                async with open_host(key, listen=[ANYWHERE], limits=HASTY) as host:
                    hosts.append(host)
                    await leave.wait()

            for key in keys(4):
                nursery.start_soon(run, key)
            await eventually(lambda hosts=hosts: len(hosts) == 4)
            await link(*hosts)
            leave.set()


async def test_calls_that_wait_for_a_place_when_the_host_closes_fail() -> None:
    """Whoever still calls a host that is closing gets an error, not a hang or a surprise."""
    outcomes: list[BaseException] = []

    async def hang(_request: object) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async with open_host(PeerKey.generate(), listen=[ANYWHERE]) as server, trio.open_nursery() as nursery:
        server.serve(ECHO, hang)
        async with open_host(PeerKey.generate(), limits=Limits(rpc=RpcLimits(in_flight=1))) as client:
            introduce(client, server)

            async def ask() -> None:
                try:
                    await client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE)
                except PeerUnreachable as error:
                    outcomes.append(error)

            for _ in range(3):
                nursery.start_soon(ask)
            await eventually(lambda: len(client._rpc_client.get(server.peer_id, ECHO)._pending) == 1)
            await pass_time(0.05)
    assert len(outcomes) == 3
