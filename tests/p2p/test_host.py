"""Real hosts on loopback: calls and refusals, opening and closing."""

import subprocess
import sys

import pytest
import trio

from eigenkms.errors import InputError
from eigenkms.p2p.dialing import resolver
from eigenkms.p2p.host import (
    CallRefusedError,
    CallTimeout,
    HostStoppedError,
    Limits,
    PeerUnreachable,
    Request,
    RpcRefusal,
    open_host,
)
from eigenkms.p2p.identity import PeerId, PeerKey
from eigenkms.p2p.limits import RpcLimits
from tests.p2p.support import ANYWHERE, ECHO, HASTY, OPERATORS_ONLY, echo, introduce, keys, link
from tests.support.waiting import PATIENCE, eventually, pass_time


async def test_a_call_is_answered() -> None:
    """A client that knows an address gets the answer of the peer's handler, which sees who asks."""
    server_key, client_key = keys(2)
    seen: list[Request] = []

    async def handler(request: Request) -> bytes:
        seen.append(request)
        return request.body[::-1]

    async with open_host(server_key, listen=[ANYWHERE]) as server, open_host(client_key) as client:
        server.serve(ECHO, handler)
        introduce(client, server)

        assert await client.call(server.peer_id, ECHO, "reverse", b"abc", timeout=PATIENCE) == b"cba"

    assert [(each.peer, each.method, each.body) for each in seen] == [(client_key.peer_id, "reverse", b"abc")]


async def test_both_sides_of_a_connection_may_ask() -> None:
    """A server calls the client that dialled it over the same connection, without knowing an address."""
    client_key, server_key = keys(2)
    async with open_host(server_key, listen=[ANYWHERE]) as server, open_host(client_key) as client:
        client.serve(ECHO, echo)
        introduce(client, server)
        client.keep_connected({server.peer_id})
        await server.wait_connected(client.peer_id, PATIENCE)

        assert await server.call(client.peer_id, ECHO, "echo", b"back", timeout=PATIENCE) == b"back"
        assert server.statistics().dials == 0


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 1 << 20])
async def test_bodies_up_to_the_limit_arrive_whole(size: int) -> None:
    """Empty, odd and largest bodies come back as they were sent."""
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, echo)
        introduce(client, server)
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)

        assert await client.call(server.peer_id, ECHO, "echo", body, timeout=PATIENCE) == body


async def test_a_body_over_the_limit_is_refused_here() -> None:
    """The caller's fault is found before anything is sent."""
    async with open_host(PeerKey.generate()) as client:
        with pytest.raises(InputError, match="over the limit"):
            await client.call(
                PeerKey.generate().peer_id, ECHO, "echo", bytes((1 << 20) + 1), timeout=PATIENCE
            )
        with pytest.raises(InputError, match="not the name of a method"):
            await client.call(PeerKey.generate().peer_id, ECHO, "No Name", b"", timeout=PATIENCE)


async def test_a_refusal_reaches_the_caller_and_a_bug_does_not(caplog: pytest.LogCaptureFixture) -> None:
    """RpcRefusal travels with code and message; any other exception only as ``internal``, with its line in the log."""

    async def handler(request: Request) -> bytes:
        if request.method == "refuse":
            raise RpcRefusal("not-yet", "come back later")
        if request.method == "wrong-type":
            return "text"  # type: ignore[return-value]
        if request.method == "too-long":
            return bytes((1 << 20) + 1)
        raise ZeroDivisionError("detail for the log")

    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, handler)
        introduce(client, server)
        outcomes = []
        for method in ("refuse", "boom", "wrong-type", "too-long"):
            with pytest.raises(CallRefusedError) as caught:
                await client.call(server.peer_id, ECHO, method, b"", timeout=PATIENCE)
            outcomes.append((caught.value.code, caught.value.message))

        assert outcomes == [("not-yet", "come back later"), *[("internal", "")] * 3]
        assert server.statistics().handler_errors == 3
        assert server.statistics().requests_refused == 1
    assert "ZeroDivisionError: detail for the log" in caplog.text


async def test_a_handler_has_a_deadline() -> None:
    """A handler that hangs costs its caller one refusal, and nobody else anything."""

    async def handler(request: Request) -> bytes:
        if request.method == "hang":
            await trio.sleep_forever()
        return request.body

    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE], limits=HASTY) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, handler)
        introduce(client, server)
        async with trio.open_nursery() as nursery:

            async def hanging() -> None:
                with pytest.raises(CallRefusedError, match="deadline"):
                    await client.call(server.peer_id, ECHO, "hang", b"", timeout=PATIENCE)

            nursery.start_soon(hanging)
            assert await client.call(server.peer_id, ECHO, "echo", b"x", timeout=PATIENCE) == b"x"


async def test_an_answer_that_does_not_come_is_a_timeout() -> None:
    """The caller waits as long as it said, and the session lives on."""
    release = trio.Event()

    async def handler(request: Request) -> bytes:
        if request.method == "wait":
            await release.wait()
        return request.body

    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, handler)
        introduce(client, server)
        await client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE)
        with pytest.raises(CallTimeout, match=r"no answer within 0\.1 s"):
            await client.call(server.peer_id, ECHO, "wait", b"", timeout=0.1)
        release.set()

        assert await client.call(server.peer_id, ECHO, "echo", b"on", timeout=PATIENCE) == b"on"
        assert server.statistics().accepted == 1


@pytest.mark.slow
async def test_a_hundred_calls_share_one_stream() -> None:
    """Calls run side by side and each gets its own answer."""

    async def handler(request: Request) -> bytes:
        await pass_time(0.001 * (request.body[0] % 7))
        return request.body

    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, handler)
        introduce(client, server)

        async def one(i: int) -> None:
            assert await client.call(server.peer_id, ECHO, "echo", bytes([i]), timeout=PATIENCE) == bytes([i])

        async with trio.open_nursery() as nursery:
            for i in range(100):
                nursery.start_soon(one, i)

        assert server.statistics().accepted == 1


async def test_no_more_than_the_limit_of_one_peer_is_carried_out_at_a_time() -> None:
    """The 33rd request waits until one of the 32 is answered, whatever the peer's own limit."""
    running, most, release = 0, 0, trio.Event()

    async def handler(request: Request) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1
        return request.body

    greedy = Limits(rpc=RpcLimits(in_flight=100))
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate(), limits=greedy) as client,
    ):
        server.serve(ECHO, handler)
        introduce(client, server)
        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(lambda: client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE))
            await eventually(lambda: running == 32)
            await pass_time(0.05)
            release.set()

        assert most == 32
        assert server.statistics().requests_served == 60


async def test_an_unknown_protocol_is_unreachable() -> None:
    """A peer that does not serve the protocol cannot be called on it."""
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate()) as client,
    ):
        introduce(client, server)
        with pytest.raises(PeerUnreachable, match="refused the stream"):
            await client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE)


async def test_a_peer_without_address_is_unreachable() -> None:
    """Nothing is dialled, and the error says why."""
    async with open_host(PeerKey.generate()) as client:
        with pytest.raises(PeerUnreachable, match="no address is known"):
            await client.call(PeerKey.generate().peer_id, ECHO, "echo", b"", timeout=PATIENCE)


async def test_the_gate_is_asked_for_each_protocol_and_may_change_its_mind() -> None:
    """A stranger reaches only what the gate allows, from the next request on when that changes."""
    operators: set[PeerId] = set()

    def gate(peer: PeerId, protocol: str) -> bool:
        return protocol == ECHO or peer in operators

    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE], gate=gate) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, echo)
        server.serve(OPERATORS_ONLY, echo)
        introduce(client, server)

        async def ask(protocol: str) -> bytes:
            return await client.call(server.peer_id, protocol, "echo", b"x", timeout=PATIENCE)

        assert await ask(ECHO) == b"x"
        with pytest.raises(PeerUnreachable):
            await ask(OPERATORS_ONLY)
        operators.add(client.peer_id)
        assert await ask(OPERATORS_ONLY) == b"x"
        operators.clear()
        with pytest.raises(PeerUnreachable):
            await ask(OPERATORS_ONLY)
        assert await ask(ECHO) == b"x"


async def test_a_gate_that_raises_refuses(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in the gate locks peers out; it does not let them in, and it does not end the host."""

    def gate(_peer: PeerId, _protocol: str) -> bool:
        raise ZeroDivisionError

    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE], gate=gate) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, echo)
        introduce(client, server)
        with pytest.raises(PeerUnreachable):
            await client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE)
    assert "gate for" in caplog.text


async def test_a_client_may_not_send_what_only_operators_may() -> None:
    """A request of a client is bounded more tightly; its stream is reset, the next call works."""

    def gate(_peer: PeerId, protocol: str) -> bool:
        return protocol == ECHO

    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE], gate=gate) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, echo)
        introduce(client, server)
        with pytest.raises(PeerUnreachable, match="broke"):
            await client.call(server.peer_id, ECHO, "echo", bytes(100_000), timeout=PATIENCE)
        assert await client.call(server.peer_id, ECHO, "echo", bytes(65_536), timeout=PATIENCE) == bytes(
            65_536
        )
        assert server.statistics().bad_frames == 1


async def test_a_port_in_use_is_an_input_error_that_names_it() -> None:
    """Neither a host of ours nor any other listener shares its port; nothing is left open."""
    async with open_host(PeerKey.generate(), listen=[ANYWHERE]) as first:
        taken = first.addresses[0].multiaddr
        with pytest.raises(InputError, match=f"listen on {taken}: Address already in use") as caught:
            async with open_host(PeerKey.generate(), listen=[ANYWHERE, taken]):
                pytest.fail("two hosts on one port")
        assert caught.value.hint is not None


@pytest.mark.parametrize(
    "address", ["/ip4/192.0.2.1/tcp/0", "/ip4/127.0.0.1/udp/1", "nonsense", "/dns4/localhost/tcp/0"]
)
async def test_an_address_that_cannot_be_had_is_an_input_error(address: str) -> None:
    """An address of another machine, and text that is none."""
    with pytest.raises(InputError):
        async with open_host(PeerKey.generate(), listen=[address]):
            pytest.fail("listens on an impossible address")


async def test_a_port_is_free_again_as_soon_as_the_host_is_closed() -> None:
    """A restart takes the same port, although connections of before are still in TIME_WAIT."""
    key = PeerKey.generate()
    address = ANYWHERE
    async with open_host(PeerKey.generate()) as client:
        for _ in range(3):
            async with open_host(key, listen=[address]) as server:
                address = server.addresses[0].multiaddr
                server.serve(ECHO, echo)
                introduce(client, server)
                assert await client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE) == b""
            await eventually(lambda: not client.connected())


async def test_ipv6_works_where_there_is_any() -> None:
    """Listening on and dialling ::1."""
    try:
        context = open_host(PeerKey.generate(), listen=["/ip6/::1/tcp/0"])
        server = await context.__aenter__()
    except InputError:
        pytest.skip("this machine has no IPv6")
    async with open_host(PeerKey.generate()) as client:
        server.serve(ECHO, echo)
        introduce(client, server)
        assert await client.call(server.peer_id, ECHO, "echo", b"6", timeout=PATIENCE) == b"6"
    await context.__aexit__(None, None, None)


async def test_a_name_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator may publish a DNS name."""

    async def look_up(name: tuple[str, str], _limiter: trio.CapacityLimiter) -> list[str]:
        assert name == ("dns4", "operator.example")
        return ["127.0.0.1"]

    monkeypatch.setattr(resolver, "look_up", look_up)
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, echo)
        port = server.addresses[0].transport.port
        client.set_addresses(server.peer_id, [f"/dns4/operator.example/tcp/{port}"])
        assert await client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE) == b""


async def test_what_the_body_raises_passes_as_it_is() -> None:
    """No exception group around the caller's own error, and cancellation stays cancellation."""
    with pytest.raises(InputError, match="mine"):
        async with open_host(PeerKey.generate(), listen=[ANYWHERE]):
            raise InputError("mine")
    with trio.move_on_after(0.1) as scope:
        async with open_host(PeerKey.generate(), listen=[ANYWHERE]):
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_calls_of_a_closed_host_fail_at_once() -> None:
    """A host is unusable after its context, with an error and not a hang."""
    async with open_host(PeerKey.generate()) as client:
        pass
    with pytest.raises(PeerUnreachable, match="closed"):
        await client.call(PeerKey.generate().peer_id, ECHO, "echo", b"", timeout=PATIENCE)


@pytest.mark.slow
async def test_ten_peers_are_parted_from_within_two_seconds() -> None:
    """Leaving the context takes as long as one goodbye, not one for each peer, and everybody notices."""
    async with open_host(PeerKey.generate(), listen=[ANYWHERE]) as server, trio.open_nursery() as nursery:
        done = trio.Event()

        async def client() -> None:
            async with open_host(PeerKey.generate()) as host:
                introduce(host, server)
                host.keep_connected({server.peer_id})
                await done.wait()
                host.keep_connected(set())
                await eventually(lambda: not host.connected())

        for _ in range(10):
            nursery.start_soon(client)
        await eventually(lambda: len(server.connected()) == 10)
        for other in server.connected():
            assert other != server.peer_id
        start = trio.current_time()
        done.set()
        await server._stop()

        assert trio.current_time() - start < 2.0


async def test_the_death_of_the_swarm_ends_the_context(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever holds a host learns that it died: the body is cancelled and HostStoppedError raised."""
    with pytest.raises(HostStoppedError, match="ZeroDivisionError"):  # noqa: PT012 - the context raises, not its body
        async with open_host(PeerKey.generate(), listen=[ANYWHERE]) as host:

            async def die() -> None:
                raise ZeroDivisionError("swarm")

            host._libp2p.get_network().manager.run_task(die)
            await pass_time(PATIENCE)
            pytest.fail("the body went on")
    assert "stopped" in caplog.text


async def test_statistics_count_what_happens() -> None:
    """The published counters move, and cannot be written."""
    server_key, client_key = keys(2)
    async with (
        open_host(server_key, listen=[ANYWHERE]) as server,
        open_host(client_key, listen=[ANYWHERE]) as client,
    ):
        server.serve(ECHO, echo)
        await link(server, client)
        await client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE)

        assert server.statistics().connected == client.statistics().connected == 1
        assert server.statistics().requests_served == 1
        assert server.statistics().dials + client.statistics().dials == 1
        assert server.statistics().clients == 0
        with pytest.raises(AttributeError):
            server.statistics().dials = 0  # type: ignore[misc]


async def test_a_handler_may_be_replaced() -> None:
    """The handler that is registered last answers."""

    async def other(_request: Request) -> bytes:
        return b"other"

    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, echo)
        introduce(client, server)
        assert await client.call(server.peer_id, ECHO, "echo", b"first", timeout=PATIENCE) == b"first"
        server.serve(ECHO, other)
        assert await client.call(server.peer_id, ECHO, "echo", b"first", timeout=PATIENCE) == b"other"


async def test_a_refusal_cannot_write_on_the_callers_terminal() -> None:
    """Control characters in a peer's words are replaced."""

    async def handler(_request: Request) -> bytes:
        raise RpcRefusal("no", "\x1b[2Jgone\nand more")

    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, handler)
        introduce(client, server)
        with pytest.raises(CallRefusedError) as caught:
            await client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE)
        assert caught.value.message == "?[2Jgone?and more"


def test_reading_the_module_costs_no_libp2p() -> None:
    """The command line imports the transport for its types; libp2p comes when a host is opened."""
    code = "import sys, eigenkms.p2p.host, eigenkms.p2p.identity; print('libp2p' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "False"
