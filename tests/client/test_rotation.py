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
from eigenkms.crypto.identities import identity_v2
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import RefusedError
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.host import Host, Request
from eigenkms.p2p.identity import PeerKey
from eigenkms.protocols.wire import rpc_methods
from eigenkms.protocols.wire.client_rpc import (
    CertifiedTranscript,
    decode_info_request,
    decode_partial_request,
)
from eigenkms.types import AppId, OperatorAddress
from tests.client.lies import other_polynomial
from tests.client.village import (
    CLUSTER,
    Honest,
    Keeper,
    KeyVersion,
    Operator,
    Village,
    at_home,
    make_village,
    visitor,
)
from tests.support.waiting import PATIENCE, eventually

APP = AppId("my-app")
LONG = 16 * PATIENCE
"""A timeout so long that nothing which waits for a part of it ends before ``PATIENCE``."""


@pytest.fixture
def known(tmp_path: Path) -> Path:
    return tmp_path / "known"


@pytest.fixture
def village(village: Village) -> Village:
    """All four hold the first version."""
    for operator in village.operators:
        operator.learn(village.first)
    return village


@asynccontextmanager
async def living(village: Village, ways: Sequence[Honest | None]) -> AsyncIterator[list[Host | None]]:
    """Each operator answers in its way; ``None`` is not there, and nobody listens where its socket points."""
    hosts: list[Host | None] = []
    async with AsyncExitStack() as stack:
        for index, way in enumerate(ways):
            if way is None:
                village.place(index, f"/ip4/127.0.0.1/tcp/1/p2p/{village.operators[index].peer.peer_id}")
                hosts.append(None)
            else:
                hosts.append(await stack.enter_async_context(at_home(village, index, way)))
        yield hosts


def app_key(village: Village) -> bytes:
    return bls.partial_sign(village.secret, identity_v2(CLUSTER, APP))


def name(version: KeyVersion) -> bytes:
    return version.epoch.transcript.hash


def turn(village: Village, old: KeyVersion, new: KeyVersion) -> None:
    """The new version is certified, and everybody has its share and has erased the old one."""
    for operator in village.operators:
        operator.learn(new)
        operator.erase(old)


def asked_for(village: Village, version: KeyVersion) -> set[OperatorAddress]:
    """Who was asked for a partial signature of this version."""
    return {address for address, what in village.asked if what == name(version)}


# -- versions that change under the request ----------------------------------------------------------------------


class Turning(Keeper):
    """Before it answers the request for a partial signature with this number, the new version replaces the old one everywhere."""

    def __init__(self, village: Village, old: KeyVersion, new: KeyVersion, at: int) -> None:
        super().__init__(village)
        self.old, self.new, self.at = old, new, at
        self.seen = 0
        self.asked_of: dict[AppId, set[bytes]] = {}

    def partial(self, operator: Operator, body: bytes) -> bytes:
        if self.seen == self.at:
            turn(self.village, self.old, self.new)
        self.seen += 1
        request = decode_partial_request(body)
        self.asked_of.setdefault(request.app_id, set()).add(request.transcript_hash)
        return super().partial(operator, body)


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_version_that_is_erased_between_info_and_partial_signature(
    village: Village, known: Path, at: int
) -> None:
    """Also if some had answered for it: theirs are left alone, and the key comes from the new version."""
    old = village.first
    new = village.reshare(old, 110)
    turning = Turning(village, old, new, at)
    async with living(village, [turning] * 4), visitor(village, known) as client:
        assert (await client.fetch()).version == old.epoch.transcript.version
        assert (await client.application_key(APP)).secret == app_key(village)
        assert asked_for(village, new) == {o.address for o in village.operators}
        yours = AppId("your-app")
        assert (await client.application_key(yours)).secret == bls.partial_sign(
            village.secret, identity_v2(CLUSTER, yours)
        )
        assert turning.asked_of[yours] == {name(new)}, "the version that gave the key is kept"


async def test_a_client_that_lives_long_finds_the_version_of_today(village: Village, known: Path) -> None:
    """Its own was erased long ago, and two of its four operators left; it neither fails nor waits."""
    keeper, first = Keeper(village), village.first
    async with AsyncExitStack() as stack:
        for index in range(4):
            await stack.enter_async_context(at_home(village, index, keeper))
        client = await stack.enter_async_context(visitor(village, known, within=LONG))
        assert (await client.application_key(APP)).secret == app_key(village)
        joiners = village.join(2)
        village.change_set([*village.operators[:2], *joiners])
        for index in (4, 5):
            await stack.enter_async_context(at_home(village, index, keeper))
        second = village.reshare(first, 110)
        third = village.reshare(second, 120)
        turn(village, first, second)
        turn(village, second, third)
        with trio.fail_after(PATIENCE):
            assert (await client.application_key(APP)).secret == app_key(village)
        assert asked_for(village, third) == set(third.shares)
        assert not asked_for(village, second)


async def test_operators_that_move_between_calls_are_found_at_once(village: Village, known: Path) -> None:
    """Two of four are at other addresses than the client knew, by the chain; the same call finds them."""
    keeper = Keeper(village)
    async with living(village, [keeper, keeper, None, None]), visitor(village, known) as client:
        async with at_home(village, 2, keeper), at_home(village, 3, keeper):
            assert (await client.application_key(APP)).secret == app_key(village)
        async with at_home(village, 2, keeper):
            assert (await client.application_key(APP)).secret == app_key(village)


# -- versions that not everybody has -----------------------------------------------------------------------------


class Later(Keeper):
    """Tells of versions only when somebody has been asked for a partial signature: others are heard first."""

    def __init__(self, village: Village) -> None:
        super().__init__(village)
        self.begun = trio.Event()

    async def answer(self, operator: Operator, request: Request) -> bytes:
        if request.method == rpc_methods.INFO:
            await self.begun.wait()
        self.begun.set()
        return await super().answer(operator, request)


async def test_a_newest_version_that_too_few_know_gives_way_to_the_one_before(
    village: Village, known: Path
) -> None:
    """Two of four have the newest; all four hold the one before."""
    new = village.reshare(village.first, 110)
    for operator in village.operators[:2]:
        operator.learn(new)
    keeper, later = Keeper(village), Later(village)
    async with living(village, [keeper, keeper, later, later]), visitor(village, known) as client:
        with trio.fail_after(PATIENCE):
            assert (await client.fetch()).version == new.epoch.transcript.version
        later.begun.set()
        assert (await client.application_key(APP)).secret == app_key(village)
        assert asked_for(village, new) == asked_for(village, village.first) == set(new.shares)


class Hearing(Keeper):
    """Hears of a version when it is first asked for it, and refuses that once."""

    def __init__(self, village: Village, version: KeyVersion) -> None:
        super().__init__(village)
        self.version = version

    def partial(self, operator: Operator, body: bytes) -> bytes:
        try:
            return super().partial(operator, body)
        finally:
            operator.learn(self.version)


async def test_an_operator_that_had_no_share_yet_is_asked_again(village: Village, known: Path) -> None:
    """Nobody has the old version any more, and two had not the new one when they were asked first."""
    new = village.reshare(village.first, 110)
    turn(village, village.first, new)
    for operator in village.operators[2:]:
        operator.known, operator.shares = [village.epoch], {}
    keeper, hearing = Keeper(village), Hearing(village, new)
    async with living(village, [keeper, keeper, hearing, hearing]), visitor(village, known) as client:
        client._epoch = new.epoch
        await client.refresh()
        assert (await client.application_key(APP)).secret == app_key(village)


class Holding(Keeper):
    """Has no share, and tells of versions only once another operator was asked often enough for a partial signature."""

    def __init__(self, village: Village, other: Operator, times: int) -> None:
        super().__init__(village)
        self.other, self.times = other, times

    def _often_enough(self) -> bool:
        asked = [what for address, what in self.village.asked if address == self.other.address]
        return sum(isinstance(what, bytes) for what in asked) >= self.times

    async def answer(self, operator: Operator, request: Request) -> bytes:
        if request.method == rpc_methods.INFO:
            await eventually(self._often_enough)
        return await super().answer(operator, request)


@pytest.mark.slow
async def test_a_survey_that_one_operator_holds_up_holds_up_nobody_else(
    village: Village, known: Path
) -> None:
    """Who says now to have the version that it lacked is asked at once, and so is who moved, by another's word."""
    third, fourth = village.operators[2:]
    fourth.erase(village.first)
    keeper, holding = Keeper(village), Holding(village, third, 2)
    hearing = Hearing(village, village.first)
    third.known, third.shares = [], {}
    async with living(village, [keeper, keeper, hearing, holding]) as hosts:
        async with visitor(village, known, within=LONG) as client:
            await client.fetch()
            with trio.fail_after(PATIENCE):
                assert (await client.application_key(APP)).secret == app_key(village)
        village.asked.clear()
        holding.times, host = 1, hosts[2]
        assert host is not None
        village.place(2, f"/ip4/127.0.0.1/tcp/1/p2p/{PeerKey.generate().peer_id}")
        async with visitor(village, known, within=LONG) as client:
            await client.fetch()
            for operator in village.operators[:2]:
                operator.records = [third.record([str(host.addresses[0]).partition("/p2p/")[0]])]
            with trio.fail_after(PATIENCE):
                assert (await client.application_key(APP)).secret == app_key(village)


async def test_a_newer_version_is_found_when_holders_of_the_one_before_are_gone(
    village: Village, known: Path
) -> None:
    """The client knew the one before, of which two of four holders are gone."""
    keeper, joiners = Keeper(village), village.join(2)
    async with visitor(village, known) as client:
        async with living(village, [keeper] * 4):
            await client.fetch()
        village.change_set([*village.operators[:2], *joiners])
        new = village.reshare(village.first, 110)
        for operator in (*village.operators[:2], *joiners):
            operator.learn(new)
        async with AsyncExitStack() as stack:
            for index in (0, 1, 4, 5):
                await stack.enter_async_context(at_home(village, index, keeper))
            assert (await client.application_key(APP)).secret == app_key(village)


class Hanging(Keeper):
    """Takes a request for a partial signature and never answers; ``taken`` is called with how many there were."""

    def __init__(self, village: Village) -> None:
        super().__init__(village)
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
    village: Village, known: Path, clock: MockClock
) -> None:
    """One of the newest version's four has its share, one does not know it, and two never answer: they could complete it. The one
    before is found in time, with two that left.
    """
    joiners = village.join(2)
    keeper, hanging = Keeper(village), Hanging(village)
    async with living(village, [keeper] * 4):
        village.change_set([*village.operators[:2], *joiners])
        new = village.reshare(village.first, 110)
        for operator in (village.operators[0], *joiners):
            operator.learn(new)
            operator.erase(village.first)
        async with (
            at_home(village, 4, hanging),
            at_home(village, 5, hanging),
            visitor(village, known, within=LONG) as client,
        ):
            assert (await client.fetch()).version == new.epoch.transcript.version
            hanging.taken = lambda count: clock.jump(LONG / 4) if count == 2 else None
            assert (await client.application_key(APP)).secret == app_key(village)
            assert asked_for(village, village.first) == set(village.first.shares)


class Progressing(Keeper):
    """Each operator advances by one step of a rotation once it has answered a request for a partial signature."""

    def __init__(self, village: Village, old: KeyVersion, new: KeyVersion) -> None:
        super().__init__(village)
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
    village = make_village(seed=f"states {seed}")
    new = village.reshare(village.first, 110)
    progressing = Progressing(village, village.first, new)
    for operator in village.operators:
        operator.learn(village.first)
        for _ in range(dice.randrange(3)):
            progressing.advance(operator)
    async with living(village, [progressing] * 4), visitor(village, known) as client:
        assert (await client.application_key(APP)).secret == app_key(village), f"seed {seed}"


# -- operators that come and go ----------------------------------------------------------------------------------


@pytest.mark.parametrize("found_by", ["socket", "record"])
async def test_leavers_give_partial_signatures_of_the_version_that_is_theirs(
    village: Village, known: Path, found_by: str
) -> None:
    """At the socket that the chain had for the version's block, or by a record passed on. Joiners are not asked for it."""
    joiners = village.join(2)
    keeper, leavers = Keeper(village), village.operators[2:4]
    async with AsyncExitStack() as stack:
        if found_by == "record":
            village.change_set([*village.operators[:2], *joiners])
        hosts = [await stack.enter_async_context(at_home(village, i, keeper)) for i in range(6)]
        if found_by == "record":
            records = [
                leavers[i].record([str(hosts[2 + i].addresses[0]).partition("/p2p/")[0]]) for i in (0, 1)
            ]
            for operator in [village.operators[0], *joiners]:
                operator.records = records
        else:
            village.change_set([*village.operators[:2], *joiners])
            for index in (0, 1, 4, 5):
                village.place(index, str(hosts[index].addresses[0]))
        new = village.reshare(village.first, 110)
        for operator in (village.operators[0], *joiners):
            operator.learn(new, share=operator is not joiners[1])
        async with visitor(village, known) as client:
            assert (await client.application_key(APP)).secret == app_key(village)
        assert asked_for(village, village.first) == set(village.first.shares)
        assert not asked_for(village, village.first) & {o.address for o in joiners}


# -- operators that lie about versions ---------------------------------------------------------------------------


class Boasting(Keeper):
    """Shows a version of its own making."""

    def __init__(self, village: Village, epoch: CertifiedTranscript) -> None:
        super().__init__(village)
        self.epoch_shown = epoch

    def info(self, operator: Operator, body: bytes) -> bytes:
        _, nonce = decode_info_request(body)
        return self.show(operator, self.epoch_shown, nonce)


def boasts(village: Village) -> dict[str, CertifiedTranscript]:
    """Versions that are newer than all others and are none."""
    good = village.reshare(village.first, 130)
    transcript = good.epoch.transcript
    alone = village.operators[:1]
    strangers = make_village(seed="strangers", number=130)
    return {
        "signed by one": CertifiedTranscript(transcript, village.certify(transcript, alone)),
        "signed by one, shown as all": CertifiedTranscript(
            transcript, village.certify(transcript, alone, bitmap=b"\xf0")
        ),
        "of other operators": strangers.epoch,
        "of a block to come": village.reshare(village.first, 1000).epoch,
        "of a changed transcript": CertifiedTranscript(
            replace(transcript, source_hash=bytes(32)), village.certify(transcript, village.operators)
        ),
    }


@pytest.mark.parametrize("case", list(boasts(make_village())))
async def test_a_forged_newer_version_misleads_nobody(village: Village, known: Path, case: str) -> None:
    """Neither when the newest is looked for, nor when a client looks again; nobody is asked for it."""
    epoch = boasts(village)[case]
    village.chain.number = 135
    keeper, new = Keeper(village), village.reshare(village.first, 110)
    village.chain.number = 135
    ways = [Boasting(village, epoch), keeper, keeper, keeper]
    async with living(village, ways), visitor(village, known) as client:
        assert (await client.application_key(APP)).secret == app_key(village)
        turn(village, village.first, new)
        assert (await client.application_key(APP)).secret == app_key(village)
    assert epoch.transcript.hash not in {what for _, what in village.asked}


async def test_a_version_with_another_master_key_is_not_asked_while_looking_for_others(
    village: Village, known: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Keys of old can certify it well; it is named in a warning."""
    other = other_polynomial(village)
    liar = Boasting(village, CertifiedTranscript(other, village.certify(other)))
    keeper, new = Keeper(village), village.reshare(village.first, 110)
    async with living(village, [keeper] * 3 + [liar]), visitor(village, known) as client:
        client._epoch = village.epoch
        await client.refresh()
        turn(village, village.first, new)
        assert (await client.application_key(APP)).secret == app_key(village)
    assert other.hash not in {what for _, what in village.asked}
    said = [r.getMessage() for r in caplog.records if "another master public key" in r.getMessage()]
    assert all(village.operators[3].address.hex() in sentence for sentence in said)


class LyingOf(Keeper):
    """Gives false partial signatures of one version."""

    def __init__(self, village: Village, version: KeyVersion) -> None:
        super().__init__(village)
        self.version = version

    def partial(self, operator: Operator, body: bytes) -> bytes:
        self._lying = decode_partial_request(body).transcript_hash == name(self.version)
        return super().partial(operator, body)

    def sign_with(self, share: SecretScalar, app_id: str) -> bytes:
        return super().sign_with(SecretScalar(4711) if self._lying else share, app_id)


async def test_liars_of_a_version_that_failed_are_named_all_the_same(
    village: Village, known: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two of four lie about the newest version, and one does not know it; the one before gives the key."""
    new = village.reshare(village.first, 110)
    for index in (0, 2, 3):
        village.operators[index].learn(new)
    village.operators[2].erase(village.first)
    keeper, liar = Keeper(village), LyingOf(village, new)
    async with living(village, [liar, keeper, keeper, liar]), visitor(village, known) as client:
        assert (await client.application_key(APP)).secret == app_key(village)
    said = [r.getMessage() for r in caplog.records if "false partial" in r.getMessage()]
    assert said == [
        f"operator 0x{village.operators[i].address.hex()} sent a false partial signature" for i in (0, 3)
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


async def test_where_too_few_are_alive_it_ends_at_once(village: Village, known: Path) -> None:
    """Both that are down are named; the others are asked once more what they know."""
    keeper = Keeper(village)
    async with living(village, [keeper, keeper, None, None]), visitor(village, known, within=LONG) as client:
        calls = count_calls(client)
        said = await failing(client, "2 of 4 operators gave one, 3 needed")
    for operator in village.operators[2:]:
        assert f"0x{operator.address.hex()}: dial" in said
        assert calls.count((operator.address, rpc_methods.INFO)) == 1, "who is down is not dialled again"
    asked = [what for _, what in village.asked]
    assert asked.count(rpc_methods.INFO) == 2 + 2
    assert asked.count(name(village.first)) == 2


class Silent(Keeper):
    """Takes any request and never answers."""

    async def answer(self, operator: Operator, request: Request) -> bytes:
        await trio.sleep_forever()
        raise AssertionError


@pytest.mark.slow
async def test_one_that_answers_is_not_named_among_those_that_hang(
    village: Village, known: Path, clock: MockClock
) -> None:
    """Not even where the time would go by while the others are awaited for their word on the newest version."""
    keeper, silent = Keeper(village), Silent(village)
    async with living(village, [keeper] * 4), visitor(village, known) as client:
        await client.fetch()
    async with (
        living(village, [keeper, silent, silent, silent]),
        visitor(village, known) as client,
    ):

        def progress(line: str) -> None:
            if line.startswith(("1 of 4 operators answered", "1 of 3 partial signatures")):
                clock.jump(PATIENCE / 2)

        with pytest.raises(QuorumError, match="1 of 4 operators gave one, 3 needed") as error:
            await client.application_key(APP, progress=progress)
    said = str(error.value)
    for index, operator in enumerate(village.operators):
        assert (f"0x{operator.address.hex()}: no answer" in said) == (index > 0)


async def test_an_operator_that_never_gets_its_share_is_not_asked_for_ever(
    village: Village, known: Path
) -> None:
    """One is down and one lacks its share: a few rounds, then it is said."""
    keeper, lacking = Keeper(village), village.operators[2]
    lacking.erase(village.first)
    async with (
        living(village, [keeper, keeper, keeper, None]),
        visitor(village, known, within=LONG) as client,
    ):
        said = await failing(client, "2 of 4 operators gave one, 3 needed")
    assert f"0x{lacking.address.hex()}: no-share" in said
    assert f"0x{village.operators[3].address.hex()}: dial" in said
    again = village.asked.count((lacking.address, name(village.first)))
    assert again == 1 + IDLE_ROUNDS


@pytest.mark.slow
async def test_versions_that_all_have_too_few_are_told_with_their_numbers(
    village: Village, known: Path
) -> None:
    """The one that came closest with all names, of the other how many."""
    new = village.reshare(village.first, 110)
    for index in (0, 2, 3):
        village.operators[index].learn(new, share=index == 0)
    for operator in village.operators[2:]:
        operator.erase(village.first)
    async with living(village, [Keeper(village)] * 4), visitor(village, known, within=LONG) as client:
        said = await failing(client, "2 of 4 operators gave one, 3 needed")
    assert f"of version {new.epoch.transcript.version}: 1 of 4, 3 needed" in said


async def test_a_chain_that_is_down_meanwhile_is_told_beside_who_failed(
    village: Village, known: Path
) -> None:
    """The partial signatures are the matter; the chain is why no other version was found."""
    keeper = Keeper(village)
    async with living(village, [keeper, keeper, None, None]), visitor(village, known, within=LONG) as client:
        await client.fetch()
        village.chain.down = True
        said = await failing(client, "2 of 4 operators gave one, 3 needed")
    assert "look for other versions: call the fake chain: it is down" in said


class Closed(Keeper):
    """Grants nothing."""

    def partial(self, operator: Operator, body: bytes) -> bytes:
        raise RpcRefusal("not-authorised", "its policy is closed")


async def test_a_refusal_by_policy_is_final(village: Village, known: Path) -> None:
    """Nobody is asked twice."""
    closed, keeper = Closed(village), Keeper(village)
    async with living(village, [closed, closed, keeper, keeper]), visitor(village, known) as client:
        with pytest.raises(RefusedError):
            await client.application_key(APP)
    assert [what for _, what in village.asked].count(name(village.first)) == 4


# -- operators that move while they are asked --------------------------------------------------------------------


async def test_an_operator_that_moved_is_asked_where_a_record_says(village: Village, known: Path) -> None:
    """The client knew another address; in the survey the others tell the new one."""
    keeper = Keeper(village)
    async with living(village, [keeper, keeper, keeper, None]) as hosts:
        moved, host = village.operators[2], hosts[2]
        assert host is not None
        village.place(2, f"/ip4/127.0.0.1/tcp/1/p2p/{PeerKey.generate().peer_id}")
        async with visitor(village, known) as client:
            await client.fetch()
            for operator in village.operators[:2]:
                operator.records = [moved.record([str(host.addresses[0]).partition("/p2p/")[0]])]
            assert (await client.application_key(APP)).secret == app_key(village)
