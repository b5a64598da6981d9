"""A client proves its right to each operator anew, and no more often than it must."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from eigenkms.applications import AppRelease, ContainerPolicy
from eigenkms.attestation.confidential_space import GCP, ConfidentialSpace, Expectations
from eigenkms.attestation.interface import Method
from eigenkms.attestation.jwks import KeySource
from eigenkms.client.api import encrypt
from eigenkms.client.attesters import AUDIENCE, ConfidentialSpaceAttester, EcdsaAttester
from eigenkms.client.errors import AttesterError, QuorumError
from eigenkms.client.key_recovery import IDLE_ROUNDS, MARGIN
from eigenkms.errors import NetworkError, RefusedError
from eigenkms.p2p.errors import CallRefusedError, RpcRefusal
from eigenkms.p2p.host import Request
from eigenkms.p2p.identity import PeerKey
from eigenkms.types import AppId, OperatorAddress
from eigenkms.wire import rpc_methods
from eigenkms.wire.authorisation import Authorisation, Refusal, Scope, decode_authorisation
from tests.support.attested_network import (
    APP,
    CREATOR_KEY,
    DIGEST,
    PolicyOperators,
    RecordingAttester,
    Register,
    guarded,
    show,
)
from tests.support.fake_network import FakeNetwork, Operator, make_network, network_client
from tests.support.hosts import patient_host
from tests.support.launcher import launch
from tests.support.token_issuer import (
    GCP_ISSUER,
    PROJECT,
    Authority,
    Endpoint,
    jwk,
    jwk_set,
    make_authority,
    serve,
)
from tests.support.waiting import PATIENCE, eventually

SECRET = b"attack at dawn"
"""Seconds that something may take that is expected at once, on a busy machine."""


@pytest.fixture
def attester() -> RecordingAttester:
    return RecordingAttester(EcdsaAttester(CREATOR_KEY))


@pytest.fixture
def register(attester: RecordingAttester) -> Register:
    made = Register()
    made.publish(EcdsaAttester(CREATOR_KEY).address)
    return made


async def test_the_creator_decrypts_and_nobody_else(
    network: FakeNetwork, register: Register, attester: RecordingAttester, known: Path, tmp_path: Path
) -> None:
    """Without evidence, or with another account's, everybody refuses: exit code 3 and each one's reason."""
    async with guarded(network, register, tmp_path), network_client(network, known) as client:
        ciphertext = encrypt(await client.fetch(), APP, SECRET)
        assert await client.decrypt(APP, ciphertext, attester=attester) == SECRET
        for wrong, code in ((None, "no-authorisation"), (EcdsaAttester(b"\x12" * 32), "not-creator")):
            with pytest.raises(RefusedError) as error:
                await client.decrypt(APP, ciphertext, attester=wrong)
            assert str(error.value).count(f"{code}: ") >= 2
            assert error.value.exit_code == 3


async def test_each_operator_gets_evidence_of_its_own(
    network: FakeNetwork, register: Register, attester: RecordingAttester, known: Path, tmp_path: Path
) -> None:
    """Made for it and the reply key of the request that it is in; never the same twice."""
    async with guarded(network, register, tmp_path) as ways, network_client(network, known) as client:
        await client.application_key(APP, attester=attester)
        await client.application_key(APP, attester=attester)
    made = {authorisation.encoded: scope for scope, authorisation in attester.given}
    shown = [request.authorisation for _, request in ways.seen]
    assert len(shown) == len(set(shown)) >= 6
    for operator, request in ways.seen:
        assert request.authorisation is not None
        scope = made[request.authorisation]
        assert (scope.operator, scope.reply_key) == (operator, request.reply_key)
    assert len({request.nonce for _, request in ways.seen}) == len(ways.seen)


async def test_what_one_operator_captured_is_worth_nothing(
    network: FakeNetwork, register: Register, attester: RecordingAttester, known: Path, tmp_path: Path
) -> None:
    """At another, where it is not the creator's signature; nor at itself again; nor with a key of the thief's."""
    async with guarded(network, register, tmp_path) as ways, network_client(network, known) as client:
        await client.application_key(APP, attester=attester)
        captured = dict(ways.seen)
        victim = network.operators[0]
        request = captured[victim.address]
        async with patient_host(PeerKey.generate()) as thief:
            for index in range(1, 4):
                with pytest.raises(CallRefusedError) as error:
                    await show(thief, network, index, request)
                assert error.value.code == Refusal.NOT_CREATOR
            with pytest.raises(CallRefusedError) as error:
                await show(thief, network, 0, request)
            assert error.value.code == Refusal.ALREADY_USED
            with pytest.raises(CallRefusedError) as error:
                await show(thief, network, 0, replace(request, reply_key=b"\x09" * 32))
            assert error.value.code == Refusal.NOT_CREATOR


LONG = 16 * PATIENCE
"""A timeout so long that nothing which waits for a part of it ends before ``PATIENCE``."""


class Busy(PolicyOperators):
    """Each operator says so, or what ``code`` is, ``times`` times before it decides."""

    times = 4
    code = str(Refusal.BUSY)

    async def answer(self, operator: Operator, request: Request) -> bytes:
        if request.method == rpc_methods.PARTIAL:
            mine = Counter(address for address, what in self.network.asked if isinstance(what, bytes))
            if mine[operator.address] < self.times:
                self.network.asked.append((operator.address, b""))
                raise RpcRefusal(self.code, "try again")
        return await super().answer(operator, request)


@pytest.mark.slow
@pytest.mark.parametrize("code", [r for r in Refusal if r.passes])
async def test_who_is_busy_is_asked_again_with_other_evidence(
    network: FakeNetwork,
    register: Register,
    attester: RecordingAttester,
    known: Path,
    tmp_path: Path,
    code: Refusal,
) -> None:
    """More often than who lacks a version, until it decides."""

    class Later(Busy):
        times = 5

    Later.code = str(code)
    async with (
        guarded(network, register, tmp_path, make=Later),
        network_client(network, known) as client,
    ):
        await client.application_key(APP, attester=attester)
    assert len({made.evidence for _, made in attester.given}) == len(attester.given)
    assert Counter(scope.operator for scope, _ in attester.given).most_common(1)[0][1] == 6


@pytest.mark.slow
async def test_who_stays_busy_is_asked_to_the_deadline(
    network: FakeNetwork,
    register: Register,
    attester: RecordingAttester,
    known: Path,
    tmp_path: Path,
    clock: MockClock,
) -> None:
    """Then too few gave one, which is not a refusal: exit code 2."""

    class Always(Busy):
        times = 1000

    async with (
        guarded(network, register, tmp_path, make=Always),
        network_client(network, known) as client,
    ):
        await client.fetch()
        busy = 0

        def progress(_line: str) -> None:
            nonlocal busy
            busy += 1
            if busy == 4 * (3 + IDLE_ROUNDS):
                clock.jump(PATIENCE)

        with pytest.raises(QuorumError, match="busy: try again"):
            await client.application_key(APP, attester=attester, progress=progress)
    assert busy >= 4 * (3 + IDLE_ROUNDS), "more often than who lacks a version"


async def test_who_is_busy_where_the_others_refused_is_not_waited_for(
    network: FakeNetwork, attester: RecordingAttester, known: Path, tmp_path: Path
) -> None:
    """It could not complete the key any more."""
    register = Register()
    busy = network.operators[0].address

    class OneBusy(Busy):
        times = 1000

        async def answer(self, operator: Operator, request: Request) -> bytes:
            return await (super().answer if operator.address == busy else super(Busy, self).answer)(
                operator, request
            )

    async with (
        guarded(network, register, tmp_path, make=OneBusy),
        network_client(network, known, within=LONG) as client,
    ):
        with trio.fail_after(PATIENCE), pytest.raises(RefusedError, match="unknown-application"):
            await client.application_key(APP, attester=attester)


# -- hedging -----------------------------------------------------------------------------------------------------


def shown_to(attester: RecordingAttester) -> set[OperatorAddress]:
    return {scope.operator for scope, _ in attester.given}


class Lazy(PolicyOperators):
    """Of these nobody answers."""

    sleepers: frozenset[OperatorAddress] = frozenset()

    async def answer(self, operator: Operator, request: Request) -> bytes:
        if request.method == rpc_methods.PARTIAL and operator.address in self.sleepers:
            await trio.sleep_forever()
        return await super().answer(operator, request)


@pytest.mark.slow
async def test_evidence_is_shown_to_as_few_as_do(
    register: Register, attester: RecordingAttester, known: Path, tmp_path: Path
) -> None:
    """Seven of ten and one more; chosen by lot, so that all get their part."""
    network, chosen = make_network(10), set()
    async with guarded(network, register, tmp_path), network_client(network, known) as client:
        for _ in range(5):
            attester.given.clear()
            await client.application_key(APP, attester=attester)
            assert len(attester.given) == 7 + MARGIN
            chosen.add(frozenset(shown_to(attester)))
    assert len(chosen) > 1


@pytest.mark.slow
async def test_for_each_that_fails_another_is_asked_at_once(
    register: Register, attester: RecordingAttester, known: Path, tmp_path: Path
) -> None:
    """Three of ten hold no share of the version: the other seven give the key, long before anybody is slow."""
    network = make_network(10)
    async with guarded(network, register, tmp_path), network_client(network, known, within=LONG) as client:
        await client.fetch()
        for operator in network.operators[:3]:
            operator.erase(network.first)
        with trio.fail_after(PATIENCE):
            await client.application_key(APP, attester=attester)
    assert shown_to(attester) >= {o.address for o in network.operators[3:]}


@pytest.mark.slow
async def test_once_answers_are_slow_all_are_asked(
    register: Register, attester: RecordingAttester, known: Path, tmp_path: Path, clock: MockClock
) -> None:
    """Three of ten never answer: whoever was held back is asked after an eighth of the timeout."""
    network = make_network(10)
    answered: set[OperatorAddress] = set()

    class Sleepy(Lazy):
        sleepers = frozenset(o.address for o in network.operators[:3])

        async def answer(self, operator: Operator, request: Request) -> bytes:
            answer = await super().answer(operator, request)
            if request.method == rpc_methods.PARTIAL:
                answered.add(operator.address)
            return answer

    def only_sleepers_are_awaited() -> bool:
        """A deadline of an operator that is about to answer must not pass with that of the client."""
        shown = shown_to(attester)
        return len(shown) == 7 + MARGIN and shown - Sleepy.sleepers <= answered

    async with (
        guarded(network, register, tmp_path, make=Sleepy),
        network_client(network, known, within=LONG) as client,
        trio.open_nursery() as nursery,
    ):

        async def slow() -> None:
            await eventually(only_sleepers_are_awaited)
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(LONG / 8)

        nursery.start_soon(slow)
        await client.application_key(APP, attester=attester)
        nursery.cancel_scope.cancel()
    assert shown_to(attester) >= {o.address for o in network.operators[3:]}


# -- attesters that fail -----------------------------------------------------------------------------------------


class Failing:
    """Has evidence for all but these."""

    def __init__(self, inner: RecordingAttester, error: Exception, *without: Operator) -> None:
        self.inner, self.error, self.without = inner, error, {o.address for o in without}

    async def attest(self, scope: Scope) -> Authorisation:
        if scope.operator in self.without:
            raise self.error
        return await self.inner.attest(scope)


@pytest.mark.parametrize("error", [AttesterError("the signer sleeps"), NetworkError("the signer sleeps")])
async def test_without_evidence_for_one_the_others_do(
    network: FakeNetwork,
    register: Register,
    attester: RecordingAttester,
    known: Path,
    tmp_path: Path,
    error: Exception,
) -> None:
    """It is not asked; whatever error of ours the attester raised, that operator is not thought to be away."""
    failing = Failing(attester, error, network.operators[2])
    async with guarded(network, register, tmp_path) as ways, network_client(network, known) as client:
        await client.application_key(APP, attester=failing)
    assert network.operators[2].address not in {operator for operator, _ in ways.seen}


async def test_without_evidence_for_too_many_it_is_said_once(
    network: FakeNetwork, register: Register, attester: RecordingAttester, known: Path, tmp_path: Path
) -> None:
    """As our own trouble, with its hint, and at once; nobody is asked."""
    failing = Failing(attester, AttesterError("the signer sleeps", hint="wake it"), *network.operators)
    async with (
        guarded(network, register, tmp_path) as ways,
        network_client(network, known, within=LONG) as client,
    ):
        with (
            trio.fail_after(PATIENCE),
            pytest.raises(AttesterError, match=r"^the signer sleeps$") as error,
        ):
            await client.application_key(APP, attester=failing)
    assert (error.value.hint, error.value.exit_code, ways.seen) == ("wake it", 2, [])


async def test_an_attester_of_ones_own_may_show_anything(
    network: FakeNetwork, register: Register, known: Path, tmp_path: Path
) -> None:
    """What it gives is what operators get."""

    class Own:
        async def attest(self, scope: Scope) -> Authorisation:
            return Authorisation("stars", scope.nonce.encode())

    async with guarded(network, register, tmp_path) as ways, network_client(network, known) as client:
        with pytest.raises(RefusedError, match=r"method-not-enabled: .*it accepts ecdsa"):
            await client.application_key(AppId(APP), attester=Own())
    for _, request in ways.seen:
        assert request.authorisation is not None
        assert decode_authorisation(request.authorisation).method == "stars"


# -- confidential space ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


RELEASE = AppRelease(DIGEST, "docker.io/acme/app", ContainerPolicy(args=("serve", "--fast")), b"{}", b"")


@pytest.mark.slow
async def test_a_workload_decrypts_with_tokens_of_its_launcher(
    network: FakeNetwork, register: Register, known: Path, tmp_path: Path, authority: Authority
) -> None:
    """Signed by an issuer whose keys operators fetch; each token has one operator's nonce, and works once and there alone."""
    register.publish(b"\x01" * 20, RELEASE)
    async with (
        serve(authority, Endpoint(body=jwk_set(jwk("k1")))) as issuer,
        launch(tmp_path / "tee.sock", APP) as launcher,
    ):

        def gcp() -> list[Method]:
            expected = Expectations(
                issuer=GCP_ISSUER,
                project_id=PROJECT,
                audiences=(AUDIENCE,),
                min_swversion=250300,
                support=("STABLE",),
            )
            return [ConfidentialSpace(GCP, expected, KeySource(issuer.url, ca_file=authority.ca))]

        attester = ConfidentialSpaceAttester("gcp", socket=launcher.socket)
        async with (
            guarded(network, register, tmp_path, methods=gcp) as ways,
            network_client(network, known) as client,
        ):
            ciphertext = encrypt(await client.fetch(), APP, SECRET)
            assert await client.decrypt(APP, ciphertext, attester=attester) == SECRET
            captured = dict(ways.seen)[network.operators[0].address]
            async with patient_host(PeerKey.generate()) as thief:
                for index, code in ((1, Refusal.NOT_BOUND), (0, Refusal.ALREADY_USED)):
                    with pytest.raises(CallRefusedError) as error:
                        await show(thief, network, index, captured)
                    assert error.value.code == code
            register.publish(b"\x01" * 20, replace(RELEASE, image_digest=bytes(32)))
            with pytest.raises(RefusedError, match="wrong-image"):
                await client.decrypt(APP, ciphertext, attester=attester)
    assert all(len(wanted["nonces"]) == 1 for _, wanted in launcher.asked)
