"""A decryption succeeds while versions change under it: from whichever version enough operators hold, and from one at a time."""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from eigenkms.client.api import Client
from eigenkms.client.errors import QuorumError
from eigenkms.client.key_recovery import IDLE_ROUNDS
from eigenkms.crypto import bls
from eigenkms.crypto.ibe_identities import identity_v2
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import RefusedError
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.host import Host, Request
from eigenkms.p2p.identity import PeerKey
from eigenkms.types import AppId, OperatorAddress
from eigenkms.wire import rpc_methods
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.client_rpc import decode_info_request, decode_partial_request
from tests.support.fake_network import (
    CLUSTER,
    FakeNetwork,
    Honest,
    Keeper,
    KeyVersion,
    Operator,
    make_network,
    network_client,
    operator_host,
)
from tests.support.faulty_operators import other_polynomial
from tests.support.waiting import PATIENCE, eventually

APP = AppId("my-app")
LONG = 16 * PATIENCE
"""A timeout so long that nothing which waits for a part of it ends before ``PATIENCE``."""


@pytest.fixture
def network(network: FakeNetwork) -> FakeNetwork:
    """All four hold the first version."""
    for operator in network.operators:
        operator.learn(network.first)
    return network


@asynccontextmanager
async def living(network: FakeNetwork, ways: Sequence[Honest | None]) -> AsyncIterator[list[Host | None]]:
    """Each operator answers in its way; ``None`` is not there, and nobody listens where its socket points."""
    hosts: list[Host | None] = []
    async with AsyncExitStack() as stack:
        for index, way in enumerate(ways):
            if way is None:
                network.place(index, f"/ip4/127.0.0.1/tcp/1/p2p/{network.operators[index].peer.peer_id}")
                hosts.append(None)
            else:
                hosts.append(await stack.enter_async_context(operator_host(network, index, way)))
        yield hosts


def app_key(network: FakeNetwork) -> bytes:
    return bls.partial_sign(network.secret, identity_v2(CLUSTER, APP))


def name(version: KeyVersion) -> bytes:
    return version.epoch.transcript.hash


def turn(network: FakeNetwork, old: KeyVersion, new: KeyVersion) -> None:
    """The new version is certified, and everybody has its share and has erased the old one."""
    for operator in network.operators:
        operator.learn(new)
        operator.erase(old)


def asked_for(network: FakeNetwork, version: KeyVersion) -> set[OperatorAddress]:
    """Who was asked for a partial signature of this version."""
    return {address for address, what in network.asked if what == name(version)}


# -- versions that change under the request ----------------------------------------------------------------------


class Turning(Keeper):
    """Before it answers the request for a partial signature with this number, the new version replaces the old one everywhere."""

    def __init__(self, network: FakeNetwork, old: KeyVersion, new: KeyVersion, at: int) -> None:
        super().__init__(network)
        self.old, self.new, self.at = old, new, at
        self.seen = 0
        self.asked_of: dict[AppId, set[bytes]] = {}

    def partial(self, operator: Operator, body: bytes) -> bytes:
        if self.seen == self.at:
            turn(self.network, self.old, self.new)
        self.seen += 1
        request = decode_partial_request(body)
        self.asked_of.setdefault(request.app_id, set()).add(request.transcript_hash)
        return super().partial(operator, body)


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_version_that_is_erased_between_info_and_partial_signature(
    network: FakeNetwork, known: Path, at: int
) -> None:
    """Also if some had answered for it: theirs are left alone, and the key comes from the new version."""
    old = network.first
    new = network.reshare(old, 110)
    turning = Turning(network, old, new, at)
    async with living(network, [turning] * 4), network_client(network, known) as client:
        assert (await client.fetch()).version == old.epoch.transcript.version
        assert (await client.application_key(APP)).secret == app_key(network)
        assert asked_for(network, new) == {o.address for o in network.operators}
        yours = AppId("your-app")
        assert (await client.application_key(yours)).secret == bls.partial_sign(
            network.secret, identity_v2(CLUSTER, yours)
        )
        assert turning.asked_of[yours] == {name(new)}, "the version that gave the key is kept"


async def test_a_client_that_lives_long_finds_the_version_of_today(network: FakeNetwork, known: Path) -> None:
    """Its own was erased long ago, and two of its four operators left; it neither fails nor waits."""
    keeper, first = Keeper(network), network.first
    async with AsyncExitStack() as stack:
        for index in range(4):
            await stack.enter_async_context(operator_host(network, index, keeper))
        client = await stack.enter_async_context(network_client(network, known, within=LONG))
        assert (await client.application_key(APP)).secret == app_key(network)
        joiners = network.join(2)
        network.change_set([*network.operators[:2], *joiners])
        for index in (4, 5):
            await stack.enter_async_context(operator_host(network, index, keeper))
        second = network.reshare(first, 110)
        third = network.reshare(second, 120)
        turn(network, first, second)
        turn(network, second, third)
        with trio.fail_after(PATIENCE):
            assert (await client.application_key(APP)).secret == app_key(network)
        assert asked_for(network, third) == set(third.shares)
        assert not asked_for(network, second)


async def test_operators_that_move_between_calls_are_found_at_once(network: FakeNetwork, known: Path) -> None:
    """Two of four are at other addresses than the client knew, by the chain; the same call finds them."""
    keeper = Keeper(network)
    async with living(network, [keeper, keeper, None, None]), network_client(network, known) as client:
        async with operator_host(network, 2, keeper), operator_host(network, 3, keeper):
            assert (await client.application_key(APP)).secret == app_key(network)
        async with operator_host(network, 2, keeper):
            assert (await client.application_key(APP)).secret == app_key(network)


# -- versions that not everybody has -----------------------------------------------------------------------------


class Later(Keeper):
    """Tells of versions only when somebody has been asked for a partial signature: others are heard first."""

    def __init__(self, network: FakeNetwork) -> None:
        super().__init__(network)
        self.begun = trio.Event()

    async def answer(self, operator: Operator, request: Request) -> bytes:
        if request.method == rpc_methods.INFO:
            await self.begun.wait()
        self.begun.set()
        return await super().answer(operator, request)


async def test_a_newest_version_that_too_few_know_gives_way_to_the_one_before(
    network: FakeNetwork, known: Path
) -> None:
    """Two of four have the newest; all four hold the one before."""
    new = network.reshare(network.first, 110)
    for operator in network.operators[:2]:
        operator.learn(new)
    keeper, later = Keeper(network), Later(network)
    async with living(network, [keeper, keeper, later, later]), network_client(network, known) as client:
        with trio.fail_after(PATIENCE):
            assert (await client.fetch()).version == new.epoch.transcript.version
        later.begun.set()
        assert (await client.application_key(APP)).secret == app_key(network)
        assert asked_for(network, new) == asked_for(network, network.first) == set(new.shares)


class Hearing(Keeper):
    """Hears of a version when it is first asked for it, and refuses that once."""

    def __init__(self, network: FakeNetwork, version: KeyVersion) -> None:
        super().__init__(network)
        self.version = version

    def partial(self, operator: Operator, body: bytes) -> bytes:
        try:
            return super().partial(operator, body)
        finally:
            operator.learn(self.version)


async def test_an_operator_that_had_no_share_yet_is_asked_again(network: FakeNetwork, known: Path) -> None:
    """Nobody has the old version any more, and two had not the new one when they were asked first."""
    new = network.reshare(network.first, 110)
    turn(network, network.first, new)
    for operator in network.operators[2:]:
        operator.known, operator.shares = [network.epoch], {}
    keeper, hearing = Keeper(network), Hearing(network, new)
    async with living(network, [keeper, keeper, hearing, hearing]), network_client(network, known) as client:
        client._epoch = new.epoch
        await client.refresh()
        assert (await client.application_key(APP)).secret == app_key(network)


class Holding(Keeper):
    """Has no share, and tells of versions only once another operator was asked often enough for a partial signature."""

    def __init__(self, network: FakeNetwork, other: Operator, times: int) -> None:
        super().__init__(network)
        self.other, self.times = other, times

    def _often_enough(self) -> bool:
        asked = [what for address, what in self.network.asked if address == self.other.address]
        return sum(isinstance(what, bytes) for what in asked) >= self.times

    async def answer(self, operator: Operator, request: Request) -> bytes:
        if request.method == rpc_methods.INFO:
            await eventually(self._often_enough)
        return await super().answer(operator, request)


@pytest.mark.slow
async def test_a_survey_that_one_operator_holds_up_holds_up_nobody_else(
    network: FakeNetwork, known: Path
) -> None:
    """Who says now to have the version that it lacked is asked at once, and so is who moved, by another's word."""
    third, fourth = network.operators[2:]
    fourth.erase(network.first)
    keeper, holding = Keeper(network), Holding(network, third, 2)
    hearing = Hearing(network, network.first)
    third.known, third.shares = [], {}
    async with living(network, [keeper, keeper, hearing, holding]) as hosts:
        async with network_client(network, known, within=LONG) as client:
            await client.fetch()
            with trio.fail_after(PATIENCE):
                assert (await client.application_key(APP)).secret == app_key(network)
        network.asked.clear()
        holding.times, host = 1, hosts[2]
        assert host is not None
        network.place(2, f"/ip4/127.0.0.1/tcp/1/p2p/{PeerKey.generate().peer_id}")
        async with network_client(network, known, within=LONG) as client:
            await client.fetch()
            for operator in network.operators[:2]:
                operator.records = [third.record([str(host.addresses[0]).partition("/p2p/")[0]])]
            with trio.fail_after(PATIENCE):
                assert (await client.application_key(APP)).secret == app_key(network)


async def test_a_newer_version_is_found_when_holders_of_the_one_before_are_gone(
    network: FakeNetwork, known: Path
) -> None:
    """The client knew the one before, of which two of four holders are gone."""
    keeper, joiners = Keeper(network), network.join(2)
    async with network_client(network, known) as client:
        async with living(network, [keeper] * 4):
            await client.fetch()
        network.change_set([*network.operators[:2], *joiners])
        new = network.reshare(network.first, 110)
        for operator in (*network.operators[:2], *joiners):
            operator.learn(new)
        async with AsyncExitStack() as stack:
            for index in (0, 1, 4, 5):
                await stack.enter_async_context(operator_host(network, index, keeper))
            assert (await client.application_key(APP)).secret == app_key(network)


class Hanging(Keeper):
    """Takes a request for a partial signature and never answers; ``taken`` is called with how many there were."""

    def __init__(self, network: FakeNetwork) -> None:
        super().__init__(network)
        self.requests = 0
        self.taken: Callable[[int], None] = lambda _count: None

    async def answer(self, operator: Operator, request: Request) -> bytes:
        if request.method == rpc_methods.PARTIAL:
            self.requests += 1
            self.taken(self.requests)
            await trio.sleep_forever()
        return await super().answer(operator, request)


@pytest.mark.slow
async def test_operators_that_hang_do_not_keep_the_version_before_from_being_asked(
    network: FakeNetwork, known: Path, clock: MockClock
) -> None:
    """One of the newest version's four has its share, one does not know it, and two never answer: they could complete it. The one
    before is found in time, with two that left.
    """
    joiners = network.join(2)
    keeper, hanging = Keeper(network), Hanging(network)
    async with living(network, [keeper] * 4):
        network.change_set([*network.operators[:2], *joiners])
        new = network.reshare(network.first, 110)
        for operator in (network.operators[0], *joiners):
            operator.learn(new)
            operator.erase(network.first)
        async with (
            operator_host(network, 4, hanging),
            operator_host(network, 5, hanging),
            network_client(network, known, within=LONG) as client,
        ):
            assert (await client.fetch()).version == new.epoch.transcript.version
            hanging.taken = lambda count: clock.jump(LONG / 4) if count == 2 else None
            assert (await client.application_key(APP)).secret == app_key(network)
            assert asked_for(network, network.first) == set(network.first.shares)


class Progressing(Keeper):
    """Each operator advances by one step of a rotation once it has answered a request for a partial signature."""

    def __init__(self, network: FakeNetwork, old: KeyVersion, new: KeyVersion) -> None:
        super().__init__(network)
        self.old, self.new = old, new

    def advance(self, operator: Operator) -> None:
        """The certificate comes first, and the older share is erased with it; then the new share is decrypted."""
        knows = self.new.epoch in operator.known
        operator.learn(self.new, share=knows)
        operator.erase(self.old)

    def partial(self, operator: Operator, body: bytes) -> bytes:
        try:
            return super().partial(operator, body)
        finally:
            self.advance(operator)


@pytest.mark.parametrize("seed", range(8))
async def test_any_state_that_the_protocol_can_be_in_gives_the_key(known: Path, seed: int) -> None:
    """A version is certified. Some know that and have erased the one before, of these some have decrypted their share; each goes
    on from there while it is asked.
    """
    dice = random.Random(seed)
    network = make_network(seed=f"states {seed}")
    new = network.reshare(network.first, 110)
    progressing = Progressing(network, network.first, new)
    for operator in network.operators:
        operator.learn(network.first)
        for _ in range(dice.randrange(3)):
            progressing.advance(operator)
    async with living(network, [progressing] * 4), network_client(network, known) as client:
        assert (await client.application_key(APP)).secret == app_key(network), f"seed {seed}"


# -- operators that come and go ----------------------------------------------------------------------------------


@pytest.mark.parametrize("found_by", ["socket", "record"])
async def test_leavers_give_partial_signatures_of_the_version_that_is_theirs(
    network: FakeNetwork, known: Path, found_by: str
) -> None:
    """At the socket that the chain had for the version's block, or by a record passed on. Joiners are not asked for it."""
    joiners = network.join(2)
    keeper, leavers = Keeper(network), network.operators[2:4]
    async with AsyncExitStack() as stack:
        if found_by == "record":
            network.change_set([*network.operators[:2], *joiners])
        hosts = [await stack.enter_async_context(operator_host(network, i, keeper)) for i in range(6)]
        if found_by == "record":
            records = [
                leavers[i].record([str(hosts[2 + i].addresses[0]).partition("/p2p/")[0]]) for i in (0, 1)
            ]
            for operator in [network.operators[0], *joiners]:
                operator.records = records
        else:
            network.change_set([*network.operators[:2], *joiners])
            for index in (0, 1, 4, 5):
                network.place(index, str(hosts[index].addresses[0]))
        new = network.reshare(network.first, 110)
        for operator in (network.operators[0], *joiners):
            operator.learn(new, share=operator is not joiners[1])
        async with network_client(network, known) as client:
            assert (await client.application_key(APP)).secret == app_key(network)
        assert asked_for(network, network.first) == set(network.first.shares)
        assert not asked_for(network, network.first) & {o.address for o in joiners}


# -- operators that lie about versions ---------------------------------------------------------------------------


class Boasting(Keeper):
    """Shows a version of its own making."""

    def __init__(self, network: FakeNetwork, epoch: CertifiedTranscript) -> None:
        super().__init__(network)
        self.epoch_shown = epoch

    def info(self, operator: Operator, body: bytes) -> bytes:
        _, nonce = decode_info_request(body)
        return self.show(operator, self.epoch_shown, nonce)


def boasts(network: FakeNetwork) -> dict[str, CertifiedTranscript]:
    """Versions that are newer than all others and are none."""
    good = network.reshare(network.first, 130)
    transcript = good.epoch.transcript
    alone = network.operators[:1]
    strangers = make_network(seed="strangers", number=130)
    return {
        "signed by one": CertifiedTranscript(transcript, network.certify(transcript, alone)),
        "signed by one, shown as all": CertifiedTranscript(
            transcript, network.certify(transcript, alone, bitmap=b"\xf0")
        ),
        "of other operators": strangers.epoch,
        "of a block to come": network.reshare(network.first, 1000).epoch,
        "of a changed transcript": CertifiedTranscript(
            replace(transcript, source_hash=bytes(32)), network.certify(transcript, network.operators)
        ),
    }


@pytest.mark.parametrize("case", list(boasts(make_network())))
async def test_a_forged_newer_version_misleads_nobody(network: FakeNetwork, known: Path, case: str) -> None:
    """Neither when the newest is looked for, nor when a client looks again; nobody is asked for it."""
    epoch = boasts(network)[case]
    network.chain.number = 135
    keeper, new = Keeper(network), network.reshare(network.first, 110)
    network.chain.number = 135
    ways = [Boasting(network, epoch), keeper, keeper, keeper]
    async with living(network, ways), network_client(network, known) as client:
        assert (await client.application_key(APP)).secret == app_key(network)
        turn(network, network.first, new)
        assert (await client.application_key(APP)).secret == app_key(network)
    assert epoch.transcript.hash not in {what for _, what in network.asked}


async def test_a_version_with_another_master_key_is_not_asked_while_looking_for_others(
    network: FakeNetwork, known: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Keys of old can certify it well; it is named in a warning."""
    other = other_polynomial(network)
    liar = Boasting(network, CertifiedTranscript(other, network.certify(other)))
    keeper, new = Keeper(network), network.reshare(network.first, 110)
    async with living(network, [keeper] * 3 + [liar]), network_client(network, known) as client:
        client._epoch = network.epoch
        await client.refresh()
        turn(network, network.first, new)
        assert (await client.application_key(APP)).secret == app_key(network)
    assert other.hash not in {what for _, what in network.asked}
    said = [r.getMessage() for r in caplog.records if "another master public key" in r.getMessage()]
    assert all(network.operators[3].address.hex() in sentence for sentence in said)


class LyingOf(Keeper):
    """Gives false partial signatures of one version."""

    def __init__(self, network: FakeNetwork, version: KeyVersion) -> None:
        super().__init__(network)
        self.version = version

    def partial(self, operator: Operator, body: bytes) -> bytes:
        self._lying = decode_partial_request(body).transcript_hash == name(self.version)
        return super().partial(operator, body)

    def sign_with(self, share: SecretScalar, app_id: str) -> bytes:
        return super().sign_with(SecretScalar(4711) if self._lying else share, app_id)


async def test_liars_of_a_version_that_failed_are_named_all_the_same(
    network: FakeNetwork, known: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two of four lie about the newest version, and one does not know it; the one before gives the key."""
    new = network.reshare(network.first, 110)
    for index in (0, 2, 3):
        network.operators[index].learn(new)
    network.operators[2].erase(network.first)
    keeper, liar = Keeper(network), LyingOf(network, new)
    async with living(network, [liar, keeper, keeper, liar]), network_client(network, known) as client:
        assert (await client.application_key(APP)).secret == app_key(network)
    said = [r.getMessage() for r in caplog.records if "false partial" in r.getMessage()]
    assert said == [
        f"operator 0x{network.operators[i].address.hex()} sent a false partial signature" for i in (0, 3)
    ]


# -- too few -----------------------------------------------------------------------------------------------------


async def failing(client: Client, words: str) -> str:
    """What a call says that fails as it should, long before its timeout."""
    with trio.fail_after(PATIENCE), pytest.raises(QuorumError, match=words) as error:
        await client.application_key(APP)
    assert error.value.exit_code == 2
    return str(error.value)


def count_calls(client: Client) -> list[tuple[OperatorAddress, str]]:
    """All calls of the client from now on."""
    calls, real = [], client.transport.call

    async def call(operator: OperatorAddress, method: str, body: bytes, timeout: float) -> bytes:  # noqa: ASYNC109 - as the transport has it
        calls.append((operator, method))
        return await real(operator, method, body, timeout)

    client.transport.call = call  # type: ignore[method-assign]
    return calls


async def test_where_too_few_are_alive_it_ends_at_once(network: FakeNetwork, known: Path) -> None:
    """Both that are down are named; the others are asked once more what they know."""
    keeper = Keeper(network)
    async with (
        living(network, [keeper, keeper, None, None]),
        network_client(network, known, within=LONG) as client,
    ):
        calls = count_calls(client)
        said = await failing(client, "2 of 4 operators gave one, 3 needed")
    for operator in network.operators[2:]:
        assert f"0x{operator.address.hex()}: dial" in said
        assert calls.count((operator.address, rpc_methods.INFO)) == 1, "who is down is not dialled again"
    asked = [what for _, what in network.asked]
    assert asked.count(rpc_methods.INFO) == 2 + 2
    assert asked.count(name(network.first)) == 2


class Silent(Keeper):
    """Takes any request and never answers."""

    async def answer(self, operator: Operator, request: Request) -> bytes:
        await trio.sleep_forever()
        raise AssertionError


@pytest.mark.slow
async def test_one_that_answers_is_not_named_among_those_that_hang(
    network: FakeNetwork, known: Path, clock: MockClock
) -> None:
    """Not even where the time would go by while the others are awaited for their word on the newest version."""
    keeper, silent = Keeper(network), Silent(network)
    async with living(network, [keeper] * 4), network_client(network, known) as client:
        await client.fetch()
    async with (
        living(network, [keeper, silent, silent, silent]),
        network_client(network, known) as client,
    ):

        def progress(line: str) -> None:
            if line.startswith(("1 of 4 operators answered", "1 of 3 partial signatures")):
                clock.jump(PATIENCE / 2)

        with pytest.raises(QuorumError, match="1 of 4 operators gave one, 3 needed") as error:
            await client.application_key(APP, progress=progress)
    said = str(error.value)
    for index, operator in enumerate(network.operators):
        assert (f"0x{operator.address.hex()}: no answer" in said) == (index > 0)


async def test_an_operator_that_never_gets_its_share_is_not_asked_for_ever(
    network: FakeNetwork, known: Path
) -> None:
    """One is down and one lacks its share: a few rounds, then it is said."""
    keeper, lacking = Keeper(network), network.operators[2]
    lacking.erase(network.first)
    async with (
        living(network, [keeper, keeper, keeper, None]),
        network_client(network, known, within=LONG) as client,
    ):
        said = await failing(client, "2 of 4 operators gave one, 3 needed")
    assert f"0x{lacking.address.hex()}: no-share" in said
    assert f"0x{network.operators[3].address.hex()}: dial" in said
    again = network.asked.count((lacking.address, name(network.first)))
    assert again == 1 + IDLE_ROUNDS


@pytest.mark.slow
async def test_versions_that_all_have_too_few_are_told_with_their_numbers(
    network: FakeNetwork, known: Path
) -> None:
    """The one that came closest with all names, of the other how many."""
    new = network.reshare(network.first, 110)
    for index in (0, 2, 3):
        network.operators[index].learn(new, share=index == 0)
    for operator in network.operators[2:]:
        operator.erase(network.first)
    async with living(network, [Keeper(network)] * 4), network_client(network, known, within=LONG) as client:
        said = await failing(client, "2 of 4 operators gave one, 3 needed")
    assert f"of version {new.epoch.transcript.version}: 1 of 4, 3 needed" in said


async def test_a_chain_that_is_down_meanwhile_is_told_beside_who_failed(
    network: FakeNetwork, known: Path
) -> None:
    """The partial signatures are the matter; the chain is why no other version was found."""
    keeper = Keeper(network)
    async with (
        living(network, [keeper, keeper, None, None]),
        network_client(network, known, within=LONG) as client,
    ):
        await client.fetch()
        network.chain.down = True
        said = await failing(client, "2 of 4 operators gave one, 3 needed")
    assert "look for other versions: call the fake chain: it is down" in said


class Closed(Keeper):
    """Grants nothing."""

    def partial(self, operator: Operator, body: bytes) -> bytes:
        raise RpcRefusal("not-authorised", "its policy is closed")


async def test_a_refusal_by_policy_is_final(network: FakeNetwork, known: Path) -> None:
    """Nobody is asked twice."""
    closed, keeper = Closed(network), Keeper(network)
    async with living(network, [closed, closed, keeper, keeper]), network_client(network, known) as client:
        with pytest.raises(RefusedError):
            await client.application_key(APP)
    assert [what for _, what in network.asked].count(name(network.first)) == 4


# -- operators that move while they are asked --------------------------------------------------------------------


async def test_an_operator_that_moved_is_asked_where_a_record_says(network: FakeNetwork, known: Path) -> None:
    """The client knew another address; in the survey the others tell the new one."""
    keeper = Keeper(network)
    async with living(network, [keeper, keeper, keeper, None]) as hosts:
        moved, host = network.operators[2], hosts[2]
        assert host is not None
        network.place(2, f"/ip4/127.0.0.1/tcp/1/p2p/{PeerKey.generate().peer_id}")
        async with network_client(network, known) as client:
            await client.fetch()
            for operator in network.operators[:2]:
                operator.records = [moved.record([str(host.addresses[0]).partition("/p2p/")[0]])]
            assert (await client.application_key(APP)).secret == app_key(network)
