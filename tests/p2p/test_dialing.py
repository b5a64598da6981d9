"""Addresses that lead nowhere: what they cost the peer that they stand beside, and the other peers. Seconds are virtual."""

import math
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import trio

from eigenkms.p2p.dialing import resolver
from eigenkms.p2p.dialing.race import first_of
from eigenkms.p2p.dialing.resolver import ANSWERS, FRESH_SECONDS, SLOW_SECONDS, Resolver, choose
from eigenkms.p2p.host import Limits, PeerUnreachable, open_host
from eigenkms.p2p.identity import PeerKey, parse_transport
from eigenkms.p2p.limits import DialLimits
from tests.p2p.support import ANYWHERE, ECHO, echo, introduce
from tests.support.black_holes import black_holes
from tests.support.waiting import PATIENCE, eventually, pass_time

REFUSING = ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2"]
PUBLIC, PRIVATE = parse_transport("/ip4/9.9.9.9/tcp/9"), parse_transport("/ip4/127.0.0.1/tcp/9")
NAMED = parse_transport("/dns/kms.example/tcp/9")


@pytest.fixture
def holes() -> Iterator[list[str]]:
    """More than one dial tries."""
    with black_holes(12) as found:
        yield found


# ----- one peer


async def test_an_address_that_does_not_answer_delays_the_next_by_a_quarter_of_a_second(
    holes: list[str],
) -> None:
    """Not by the whole deadline."""
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, echo)
        client.set_addresses(server.peer_id, [*holes[:3], str(server.addresses[0])])
        begun = trio.current_time()
        assert await client.call(server.peer_id, ECHO, "echo", b"x", timeout=PATIENCE) == b"x"
        assert trio.current_time() - begun < 1.0
        assert client.statistics().dials == 4


async def test_a_dial_has_one_deadline_however_many_addresses_it_has(holes: list[str]) -> None:
    """Five seconds for eight black holes."""
    async with open_host(PeerKey.generate()) as client:
        peer = PeerKey.generate().peer_id
        client.set_addresses(peer, holes[:8])
        begun = trio.current_time()
        with pytest.raises(PeerUnreachable, match=r"at 8 addresses: no answer within 5 s"):
            await client.call(peer, ECHO, "echo", b"", timeout=PATIENCE)
        assert trio.current_time() - begun == pytest.approx(Limits().dialing.dial_timeout, abs=0.01)
        assert client.statistics().dials == 8


async def test_addresses_that_one_dial_has_no_room_for_are_tried_by_the_next(holes: list[str]) -> None:
    """However many liars put theirs before it, a peer's own address has its turn."""
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate(), limits=Limits(dialing=DialLimits(grace=0))) as client,
    ):
        client.set_addresses(server.peer_id, [*holes, str(server.addresses[0])])
        client.keep_connected({server.peer_id})
        begun = trio.current_time()
        await client.wait_connected(server.peer_id, PATIENCE)
        assert trio.current_time() - begun < Limits().dialing.dial_timeout + 2
        assert client.statistics().dials <= 2 * Limits().dialing.addresses


async def test_a_peer_that_comes_itself_ends_the_dial(holes: list[str]) -> None:
    """A caller that waits for it is served at once."""
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as here,
        open_host(PeerKey.generate()) as there,
        trio.open_nursery() as nursery,
    ):
        there.serve(ECHO, echo)
        here.set_addresses(there.peer_id, holes)
        introduce(there, here)
        begun = trio.current_time()
        nursery.start_soon(there._dialer.connect, here.peer_id)
        assert await here.call(there.peer_id, ECHO, "echo", b"x", timeout=PATIENCE) == b"x"
        assert trio.current_time() - begun < 1.0
        assert here.statistics().failed_dials == 0


@pytest.mark.slow
async def test_whoever_renews_its_addresses_without_end_is_not_dialled_without_end() -> None:
    """Else one member could have all nodes connect to anybody's port many times a second."""
    async with open_host(PeerKey.generate(), limits=Limits(dialing=DialLimits(grace=0))) as client:
        peer = PeerKey.generate().peer_id
        client.set_addresses(peer, REFUSING)
        client.keep_connected({peer})
        for turn in range(20):
            client.set_addresses(peer, REFUSING[:: 1 if turn % 2 else -1])
            await pass_time(0.2)
        assert 2 <= client.statistics().failed_dials <= 12


async def test_a_peer_that_moved_is_dialled_at_its_new_address_at_once() -> None:
    """Whatever back-off its old one has earned."""
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate(), limits=Limits(dialing=DialLimits(grace=0, backoff_min=20))) as client,
    ):
        client.set_addresses(server.peer_id, REFUSING)
        client.keep_connected({server.peer_id})
        await eventually(lambda: client.statistics().failed_dials == 1)
        begun = trio.current_time()
        introduce(client, server)
        await client.wait_connected(server.peer_id, PATIENCE)
        assert trio.current_time() - begun < 1.0


async def test_an_attempt_that_succeeds_in_the_same_step_as_another_is_thrown_away() -> None:
    """No connection stays open that nobody has."""
    arrived, thrown, won = trio.Event(), list[int](), list[int]()

    async def arrive(number: int) -> int:
        await arrived.wait()
        return number

    async def race() -> None:
        won.append(await first_of([partial(arrive, 0), partial(arrive, 1)], thrown.append))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(race)
        await pass_time(1)
        arrived.set()
    assert sorted(won + thrown) == [0, 1]
    assert len(won) == 1


async def test_an_attempt_that_succeeds_as_the_deadline_comes_is_thrown_away() -> None:
    """As when a peer proves itself at the very end of a dial."""
    thrown = list[int]()
    with trio.CancelScope() as scope:

        async def arrive() -> int:
            scope.cancel()
            return 7

        await first_of([arrive], thrown.append)
    assert scope.cancelled_caught
    assert thrown == [7]


# ----- many peers


async def test_peers_that_never_answer_keep_nobody_waiting(holes: list[str]) -> None:
    """As many as there are turns, each with eight black holes: the fifth peer's turn comes within a second."""
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate(), limits=Limits(dialing=DialLimits(grace=0))) as client,
    ):
        liars = {PeerKey.generate().peer_id for _ in range(Limits().dialing.at_once)}
        for liar in liars:
            client.set_addresses(liar, holes[:8])
        client.keep_connected(liars)
        await eventually(lambda: client.statistics().dials >= len(liars))
        introduce(client, server)
        client.keep_connected(liars | {server.peer_id})
        begun = trio.current_time()
        await client.wait_connected(server.peer_id, PATIENCE)
        assert trio.current_time() - begun <= Limits().dialing.turn + 0.5


async def test_a_tarpit_holds_a_turn_no_longer_than_a_black_hole() -> None:
    """It accepts, and then says nothing."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    tarpit = f"/ip4/127.0.0.1/tcp/{listener.socket.getsockname()[1]}"
    async with (
        listener,
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate(), limits=Limits(dialing=DialLimits(grace=0))) as client,
    ):
        liars = {PeerKey.generate().peer_id for _ in range(2 * Limits().dialing.at_once)}
        for liar in liars:
            client.set_addresses(liar, [tarpit])
        client.keep_connected(liars)
        await eventually(lambda: client.statistics().dials >= Limits().dialing.at_once)
        introduce(client, server)
        client.keep_connected(liars | {server.peer_id})
        begun = trio.current_time()
        await client.wait_connected(server.peer_id, PATIENCE)
        assert trio.current_time() - begun <= 2 * Limits().dialing.turn + 0.5


# ----- private networks


async def test_a_host_of_the_public_network_dials_no_private_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as such nor behind a name; in a private network, or without a home, it does."""
    names = {"kms.example": ["127.0.0.1"]}
    monkeypatch.setattr(resolver, "look_up", lambda name, _limiter: answer(names[name[1]]))
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, echo)
        port = server.addresses[0].transport.port
        client.set_home(PUBLIC)
        for address in (str(server.addresses[0]), f"/dns4/kms.example/tcp/{port}"):
            client.set_addresses(server.peer_id, [address])
            with pytest.raises(PeerUnreachable, match="address of a private network"):
                await client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE)
        assert server.statistics().accepted == 0
        for home in (PRIVATE, NAMED, None):
            client.set_home(home)
            await pass_time(1)
            assert await client.call(server.peer_id, ECHO, "echo", b"x", timeout=PATIENCE) == b"x"
            await client.disconnect(server.peer_id)


async def test_a_home_whose_name_stands_for_nothing_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while its lookup does not end; what the name stands for decides as soon as it is known."""
    found = trio.Event()

    async def look_up(_name: object, _limiter: object) -> list[str]:
        await found.wait()
        return ["127.0.0.1"]

    monkeypatch.setattr(resolver, "look_up", look_up)
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, echo)
        introduce(client, server)
        client.set_home(NAMED)
        with pytest.raises(PeerUnreachable, match="address of a private network"):
            await client.call(server.peer_id, ECHO, "echo", b"", timeout=PATIENCE)
        found.set()
        await pass_time(1)
        assert await client.call(server.peer_id, ECHO, "echo", b"x", timeout=PATIENCE) == b"x"


# ----- names


async def silence(*_question: object) -> list[str]:
    """A lookup that does not end."""
    await trio.sleep_forever()
    raise AssertionError


async def answer(ips: list[str]) -> list[str]:
    """What a lookup gives."""
    return ips


async def test_a_name_that_its_server_does_not_answer_delays_the_next_address_by_a_quarter_of_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Like an address that does not answer."""
    monkeypatch.setattr(resolver, "look_up", silence)
    async with (
        open_host(PeerKey.generate(), listen=[ANYWHERE]) as server,
        open_host(PeerKey.generate()) as client,
    ):
        server.serve(ECHO, echo)
        silent = [f"/dns4/silent-{i}.example/tcp/9" for i in range(3)]
        client.set_addresses(server.peer_id, [*silent, str(server.addresses[0])])
        begun = trio.current_time()
        assert await client.call(server.peer_id, ECHO, "echo", b"x", timeout=PATIENCE) == b"x"
        assert trio.current_time() - begun < 1.0


@pytest.mark.slow
async def test_lookups_that_do_not_end_take_one_thread_a_peer_and_none_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The threads that the rest of the node shares stay free, although a thread cannot be cancelled."""
    end, begun, lock = threading.Event(), list[str](), threading.Lock()

    def getaddrinfo(host: str, *_args: object, **_options: object) -> list[object]:
        with lock:
            begun.append(host)
        end.wait(PATIENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    async with open_host(PeerKey.generate(), limits=Limits(dialing=DialLimits(grace=0))) as client:
        monkeypatch.setattr(resolver.stdlib_socket, "getaddrinfo", getaddrinfo)
        try:
            peers = [PeerKey.generate().peer_id for _ in range(3)]
            for index, peer in enumerate(peers):
                names = [f"/dns4/silent-{index}-{i}.example/tcp/9" for i in range(8)]
                client.set_addresses(peer, names)
            client.keep_connected(set(peers))
            await eventually(lambda: client.statistics().failed_dials >= len(peers))
            assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
            assert len(begun) == len(peers)
        finally:
            end.set()


async def test_a_name_stands_for_its_last_addresses_while_its_server_is_silent_or_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a second; a name that never stood for anything is an error."""
    peer, address = PeerKey.generate().peer_id, parse_transport("/dns/kms.example/tcp/9")
    behaviour: list[Callable[[], object]] = [lambda: answer(["192.0.2.1"])]
    monkeypatch.setattr(resolver, "look_up", lambda _name, _limiter: behaviour[0]())
    async with trio.open_nursery() as nursery:
        names = Resolver()
        names.open(nursery)
        assert await names.resolve(peer, address) == ("192.0.2.1",)
        behaviour[0] = no_such_name
        assert await names.resolve(peer, address) == ("192.0.2.1",), "the answer is fresh"
        await pass_time(FRESH_SECONDS)
        assert await names.resolve(peer, address) == ("192.0.2.1",)
        with pytest.raises(OSError, match="no such name"):
            await names.resolve(peer, parse_transport("/dns/other.example/tcp/9"))
        await pass_time(FRESH_SECONDS)
        behaviour[0] = silence
        begun = trio.current_time()
        assert await names.resolve(peer, address) == ("192.0.2.1",)
        assert math.isclose(trio.current_time() - begun, SLOW_SECONDS)
        nursery.cancel_scope.cancel()


async def no_such_name() -> list[str]:
    """A lookup that fails."""
    raise socket.gaierror(socket.EAI_NONAME, "no such name")


def test_few_answers_of_a_name_are_used_and_families_take_turns() -> None:
    """However many the name's server gives."""
    many = [f"192.0.2.{i}" for i in range(200)]
    assert choose(many) == tuple(many[:ANSWERS])
    assert choose([*many, "2001:db8::1", *many]) == ("192.0.2.0", "2001:db8::1", "192.0.2.1", "192.0.2.2")
    assert choose(["2001:db8::1", "2001:db8::2", "192.0.2.1"]) == (
        "2001:db8::1",
        "192.0.2.1",
        "2001:db8::2",
    )
    assert choose([]) == ()
