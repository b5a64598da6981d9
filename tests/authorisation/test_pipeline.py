"""From a request to a yes: every step refuses with its code, in its order, and nothing else is a yes."""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from eth_account import Account
from eth_account.messages import encode_typed_data

from eigenkms.applications import (
    Application,
    AppRelease,
    AppStatus,
    ContainerPolicy,
    UnusableReleaseError,
)
from eigenkms.attestation import ecdsa
from eigenkms.attestation.interface import AttestationRefusedError, Context
from eigenkms.authorisation import pipeline, request_slots
from eigenkms.authorisation.factory import make_methods, open_authoriser, open_policy
from eigenkms.authorisation.pipeline import Authoriser, Grant, KeyRequest, read_authorisation
from eigenkms.authorisation.policy import Policy
from eigenkms.authorisation.request_slots import RequestSlots
from eigenkms.config.node import NodeConfig
from eigenkms.crypto import sealing
from eigenkms.crypto.app_ids import checksummed
from eigenkms.errors import ChainError, InputError, StorageError
from eigenkms.p2p.errors import CallRefusedError
from eigenkms.p2p.identity import PeerKey
from eigenkms.storage.replay_cache import SPENT_NAME, ReplayCache, TokenUse, UseResult
from eigenkms.types import AppId, ClusterId, OperatorAddress
from eigenkms.wire import rpc_methods
from eigenkms.wire.authorisation import FINAL_REFUSALS, Authorisation, Refusal, Scope
from eigenkms.wire.client_rpc import PartialRequest, open_partial
from eigenkms.wire.codec import encode
from tests.node.network.test_client_handlers import STRANGER
from tests.node.test_app import running
from tests.support.databases import query
from tests.support.fake_network import CLUSTER, FakeNetwork
from tests.support.hosts import patient_host
from tests.support.nodes import a_node, asked, keep_version, make_config, with_attestation
from tests.support.randomness import counter_rng
from tests.support.token_issuer import (
    APP,
    DIGEST,
    GCP_ISSUER,
    PROJECT,
    Authority,
    Endpoint,
    changed,
    gcp_claims,
    token,
)
from tests.support.token_issuer import NOW as ISSUED
from tests.support.waiting import PATIENCE

CREATOR_KEY = b"\x11" * 32
CREATOR = bytes.fromhex(Account.from_key(CREATOR_KEY).address[2:])
REPLY_KEY = b"\x03" * 32
APP_ID = AppId(APP)
POLICY = ContainerPolicy(
    args=("serve", "--fast"),
    env=(("MODE", "prod"),),
    env_override=(("MODE", "prod"),),
    restart_policy="Never",
)
RELEASE = AppRelease(DIGEST, "docker.io/acme/app", POLICY, b"{}", b"")
APPLICATION = Application(APP_ID, CREATOR, AppStatus.STARTED, RELEASE)


@dataclass
class Register:
    """The chain's applications, as this test has them; ``trouble`` is raised instead."""

    known: dict[str, Application] = field(default_factory=lambda: {APP: APPLICATION})
    trouble: Exception | None = None
    hold: trio.Event | None = None

    async def lookup(self, app_id: AppId, client: str = "") -> Application | None:
        if self.trouble is not None:
            raise self.trouble
        if self.hold is not None:
            await self.hold.wait()
        return self.known.get(app_id)


@pytest.fixture
def register() -> Register:
    return Register()


@dataclass
class Clock:
    """The time of the tokens, until a test changes it."""

    now: float = ISSUED

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def config(network: FakeNetwork, tmp_path: Path, authority: Authority, issuer: Endpoint) -> NodeConfig:
    """Both ways to attest."""
    return make_config(
        network,
        0,
        tmp_path,
        policy="attested",
        attestation_methods=("gcp", "ecdsa"),
        attestation_project=PROJECT,
        attestation_audiences=("EigenX KMS", "https://sts.googleapis.com"),
        attestation_gcp_issuer=GCP_ISSUER,
        attestation_gcp_keys=issuer.url,
        attestation_ca=authority.ca,
    )


@pytest.fixture
async def authoriser(config: NodeConfig, register: Register, clock: Clock) -> AsyncIterator[Authoriser]:
    async with open_authoriser(config, CLUSTER, register, clock=clock) as found:
        yield found


def scope_of(operator: OperatorAddress, **changes: Any) -> Scope:
    return replace(Scope(CLUSTER, operator, APP_ID, REPLY_KEY), **changes)


def attested(scope: Scope, claims: dict[str, Any] | None = None) -> KeyRequest:
    """A request of ``scope`` with a token, which says ``claims``."""
    evidence = token(gcp_claims(scope.nonce) if claims is None else claims)
    return KeyRequest(scope.app_id, scope.reply_key, Authorisation("gcp", evidence))


def signed(
    scope: Scope, *, key: bytes = CREATOR_KEY, nonce: bytes = b"\x05" * 32, at: int = int(ISSUED)
) -> KeyRequest:
    signable = encode_typed_data(full_message=ecdsa.typed_data(scope, nonce, at))
    signature = bytes(Account.sign_message(signable, key).signature)
    evidence = ecdsa.encode_evidence(nonce, at, signature)
    return KeyRequest(scope.app_id, scope.reply_key, Authorisation("ecdsa", evidence))


async def outcome(authoriser: Authoriser, request: KeyRequest) -> Grant | Refusal:
    with trio.fail_after(PATIENCE):
        try:
            return await authoriser.authorise(request)
        except AttestationRefusedError as error:
            return error.code


@pytest.fixture
def scope(config: NodeConfig) -> Scope:
    return scope_of(config.operator)


@pytest.mark.parametrize("ask", [attested, signed])
async def test_who_has_the_right_is_granted_once(
    authoriser: Authoriser, scope: Scope, ask: Callable[[Scope], KeyRequest]
) -> None:
    """With application and claims for the answer and the record; the same again is refused."""
    found = await outcome(authoriser, ask(scope))
    assert isinstance(found, Grant)
    assert (found.application, found.claims.app_id) == (APPLICATION, APP)
    assert await outcome(authoriser, ask(scope)) == Refusal.ALREADY_USED


@pytest.mark.parametrize("ask", [attested, signed])
async def test_a_replay_after_a_restart_is_refused(
    config: NodeConfig,
    register: Register,
    clock: Clock,
    scope: Scope,
    ask: Callable[[Scope], KeyRequest],
) -> None:
    """What was used is on disk."""
    async with open_authoriser(config, CLUSTER, register, clock=clock) as first:
        assert isinstance(await outcome(first, ask(scope)), Grant)
    async with open_authoriser(config, CLUSTER, register, clock=clock) as second:
        assert await outcome(second, ask(scope)) == Refusal.ALREADY_USED


@pytest.mark.parametrize("ask", [attested, signed])
async def test_of_a_thousand_replays_at_once_one_is_granted(
    authoriser: Authoriser, scope: Scope, ask: Callable[[Scope], KeyRequest]
) -> None:
    """The others are refused as used, or as too many at once; and the next honest one is served."""
    found: list[Grant | Refusal] = []
    request = ask(scope)

    async def replay() -> None:
        found.append(await outcome(authoriser, request))

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(replay)
    assert sum(isinstance(f, Grant) for f in found) == 1
    assert {f for f in found if isinstance(f, Refusal)} == {Refusal.ALREADY_USED, Refusal.BUSY}
    other = replace(scope, reply_key=b"\x04" * 32)
    fresh = attested(other, gcp_claims(other.nonce, jti="fresh"))
    assert isinstance(await outcome(authoriser, fresh), Grant)


async def test_a_token_without_a_name_is_used_once(authoriser: Authoriser, scope: Scope) -> None:
    """As Google makes them: the same token again, also with its signature in other letters, is a replay; a later one is not."""
    claims = gcp_claims(scope.nonce)
    del claims["jti"]
    request = attested(scope, claims)
    assert isinstance(await outcome(authoriser, request), Grant)
    assert await outcome(authoriser, request) == Refusal.ALREADY_USED
    evidence = token(claims)
    for letter in b"ABCDEFGHIJKLMNOP":
        spelt = Authorisation("gcp", evidence[:-1] + bytes([letter]))
        again = await outcome(authoriser, replace(request, authorisation=spelt))
        assert again in (Refusal.ALREADY_USED, Refusal.BAD_SIGNATURE)
    assert isinstance(await outcome(authoriser, attested(scope, {**claims, "iat": claims["iat"] + 1})), Grant)


ELSEWHERE = [
    {"operator": OperatorAddress(b"\x09" * 20)},
    {"cluster": ClusterId(b"\x09" * 32)},
    {"reply_key": b"\x09" * 32},
]


@pytest.mark.parametrize("changes", ELSEWHERE, ids=["operator", "cluster", "reply key"])
async def test_evidence_for_elsewhere_is_worth_nothing_here(
    authoriser: Authoriser, scope: Scope, changes: dict[str, Any]
) -> None:
    """Captured at another operator or in another cluster, or shown with a reply key of the thief's."""
    other = replace(scope, **changes)
    for captured, code in ((attested(other), Refusal.NOT_BOUND), (signed(other), Refusal.NOT_CREATOR)):
        assert await outcome(authoriser, replace(captured, reply_key=REPLY_KEY)) == code
    assert isinstance(await outcome(authoriser, attested(scope)), Grant), "and it used nothing up"


async def test_a_token_may_be_for_several_operators(authoriser: Authoriser, scope: Scope) -> None:
    """Each finds its own nonce in it."""
    nonces = [replace(scope, operator=OperatorAddress(bytes([n]) * 20)).nonce for n in range(5)]
    assert await outcome(authoriser, attested(scope, gcp_claims(nonces))) == Refusal.NOT_BOUND
    assert isinstance(await outcome(authoriser, attested(scope, gcp_claims([*nonces, scope.nonce]))), Grant)


async def test_the_references_nonce_counts_only_where_it_is_let_in(
    authoriser: Authoriser, scope: Scope
) -> None:
    """Whoever takes requests in the reference's form says which nonce they have."""
    request = attested(scope, gcp_claims("AB" * 32))
    assert await outcome(authoriser, request) == Refusal.NOT_BOUND
    assert isinstance(await outcome(authoriser, replace(request, reference_nonce="ab" * 32)), Grant)


@pytest.mark.parametrize(
    ("application", "code"),
    [
        (None, Refusal.UNKNOWN_APPLICATION),
        *(
            (replace(APPLICATION, status=status), Refusal.APPLICATION_NOT_RUNNING)
            for status in AppStatus
            if status is not AppStatus.STARTED
        ),
    ],
)
async def test_only_a_running_application_has_keys(
    authoriser: Authoriser, register: Register, scope: Scope, application: Application | None, code: Refusal
) -> None:
    """Unknown, stopped, suspended or terminated: whatever the evidence says."""
    register.known = {APP: application} if application else {}
    for ask in (attested, signed):
        assert await outcome(authoriser, ask(scope)) == code


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (ChainError("read application: no answer"), Refusal.CHAIN_UNAVAILABLE),
        (UnusableReleaseError("read release: two artefacts"), Refusal.BAD_RELEASE),
    ],
)
async def test_a_chain_that_cannot_be_read_grants_nothing(
    authoriser: Authoriser, register: Register, scope: Scope, trouble: Exception, code: Refusal
) -> None:
    """Down, or with a release that is none; nothing of the chain's trouble reaches the requester."""
    register.trouble = trouble
    with pytest.raises(AttestationRefusedError) as error:
        await authoriser.authorise(attested(scope))
    assert error.value.code == code
    assert str(trouble) not in str(error.value)


@pytest.mark.parametrize("method", ["intel", "tpm", "GCP", ""])
async def test_a_method_that_is_not_enabled(authoriser: Authoriser, scope: Scope, method: str) -> None:
    """Also a known one; the hint says which are."""
    request = replace(attested(scope), authorisation=Authorisation(method, b"x"))
    with pytest.raises(AttestationRefusedError) as error:
        await authoriser.authorise(request)
    assert error.value.code == Refusal.METHOD_NOT_ENABLED
    assert error.value.hint == "it accepts gcp, ecdsa"


async def test_evidence_of_another_application(
    authoriser: Authoriser, register: Register, scope: Scope
) -> None:
    """One more digit, one less, or without 0x: another name."""
    for other in ("0x" + "ac" * 20, APP + "0", APP[2:]):
        register.known[other] = replace(APPLICATION, app_id=AppId(other))
        asked_for = replace(scope, app_id=AppId(other))
        assert await outcome(authoriser, attested(asked_for)) == Refusal.WRONG_APPLICATION


async def test_evidence_is_of_an_application_however_it_is_spelled(
    authoriser: Authoriser, register: Register, scope: Scope
) -> None:
    """A VM carries the id in lower case; what was encrypted under another spelling is opened by asking for that one."""
    other = AppId(checksummed(bytes.fromhex(APP[2:])))
    register.known[other] = replace(APPLICATION, app_id=other)
    asked_for = replace(scope, app_id=other)
    assert isinstance(await outcome(authoriser, attested(asked_for)), Grant)


def used_up(config: NodeConfig) -> int:
    """How much evidence the operator's files name as used."""
    ((count,),) = query(config.data_dir / SPENT_NAME, "SELECT count(*) FROM spent")
    return int(count)


async def test_a_signature_by_somebody_else_uses_nothing_up(
    authoriser: Authoriser, config: NodeConfig, scope: Scope
) -> None:
    """Anybody can sign: only the creator fills the memory of what was used."""
    assert await outcome(authoriser, signed(scope, key=b"\x12" * 32)) == Refusal.NOT_CREATOR
    assert used_up(config) == 0
    assert isinstance(await outcome(authoriser, signed(scope)), Grant)


async def test_the_creator_needs_no_release(authoriser: Authoriser, register: Register, scope: Scope) -> None:
    """To encrypt the first release's environment to itself it may want its key before."""
    register.known[APP] = replace(APPLICATION, release=None)
    assert isinstance(await outcome(authoriser, signed(scope)), Grant)
    assert await outcome(authoriser, attested(scope)) == Refusal.NO_RELEASE


CONTAINER = "submods.container."


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        (CONTAINER + "image_digest", "sha256:" + "ce" * 32, Refusal.WRONG_IMAGE),
        (CONTAINER + "image_reference", "docker.io/evil/app@sha256:" + DIGEST.hex(), Refusal.WRONG_IMAGE),
        (CONTAINER + "args", ["serve"], Refusal.WRONG_CONTAINER),
        (CONTAINER + "args", ["--fast", "serve"], Refusal.WRONG_CONTAINER),
        (CONTAINER + "args", ..., Refusal.WRONG_CONTAINER),
        (CONTAINER + "env", {"MODE": "debug"}, Refusal.WRONG_CONTAINER),
        (CONTAINER + "env", {}, Refusal.WRONG_CONTAINER),
        (CONTAINER + "env_override", {"OTHER": "prod"}, Refusal.WRONG_CONTAINER),
        (CONTAINER + "restart_policy", "Always", Refusal.WRONG_CONTAINER),
        (CONTAINER + "restart_policy", ..., Refusal.WRONG_CONTAINER),
    ],
)
async def test_what_runs_must_be_the_release(
    authoriser: Authoriser, scope: Scope, path: str, value: object, code: Refusal
) -> None:
    """Image, registry, and how the container was started."""
    assert await outcome(authoriser, attested(scope, changed(gcp_claims(scope.nonce), path, value))) == code


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (CONTAINER + "image_reference", ...),
        (CONTAINER + "env", {"MODE": "prod", "MORE": "1"}),
        (CONTAINER + "cmd_override", ["/bin/sh"]),
    ],
)
async def test_what_the_release_leaves_open_is_open(
    authoriser: Authoriser, scope: Scope, path: str, value: object
) -> None:
    """More environment, a command where none is pinned, a registry that one side does not name."""
    request = attested(scope, changed(gcp_claims(scope.nonce), path, value))
    assert isinstance(await outcome(authoriser, request), Grant)


async def test_a_pinned_command_is_enforced(authoriser: Authoriser, register: Register, scope: Scope) -> None:
    """As arguments are."""
    pinned = replace(RELEASE, policy=ContainerPolicy(cmd_override=("/app",)), registry="")
    register.known[APP] = replace(APPLICATION, release=pinned)
    assert await outcome(authoriser, attested(scope)) == Refusal.WRONG_CONTAINER
    good = changed(gcp_claims(scope.nonce, jti="2"), CONTAINER + "cmd_override", ["/app"])
    assert isinstance(await outcome(authoriser, attested(scope, good)), Grant)


async def test_a_token_is_used_up_by_a_release_that_does_not_fit(
    authoriser: Authoriser, register: Register, scope: Scope
) -> None:
    """Nobody waits with one token for a release that fits."""
    register.known[APP] = replace(APPLICATION, release=None)
    assert await outcome(authoriser, attested(scope)) == Refusal.NO_RELEASE
    register.known[APP] = APPLICATION
    assert await outcome(authoriser, attested(scope)) == Refusal.ALREADY_USED


async def test_a_full_memory_grants_nothing(
    config: NodeConfig, register: Register, clock: Clock, scope: Scope, caplog: pytest.LogCaptureFixture
) -> None:
    """The requester hears that the operator is busy, and the operator's log says why."""
    full = ReplayCache.open(config.data_dir, limit=0)
    authoriser = remembering(full, config, register, clock)
    assert await outcome(authoriser, attested(scope)) == Refusal.BUSY
    assert await outcome(authoriser, signed(scope)) == Refusal.BUSY
    assert caplog.text.count("as much as can be remembered was used lately") == 1
    full.close()


def remembering(spent: ReplayCache, config: NodeConfig, register: Register, clock: Clock) -> Authoriser:
    """An authoriser whose memory the test holds."""
    return Authoriser(
        cluster=CLUSTER,
        operator=config.operator,
        applications=register,
        methods=make_methods(config.policy.attestation),
        spent=spent,
        clock=clock,
    )


async def test_evidence_is_remembered_longer_than_it_is_accepted(
    config: NodeConfig, register: Register, scope: Scope, clock: Clock
) -> None:
    """A replay verified in its last second, that comes to the memory when others clean it, is still a replay."""
    spent = ReplayCache.open(config.data_dir)
    authoriser = remembering(spent, config, register, clock)
    assert isinstance(await outcome(authoriser, signed(scope)), Grant)
    clock.now += 300
    claims = await ecdsa.Ecdsa().verify(signed(scope).authorisation.evidence, Context(scope), clock.now)
    clock.now += 2
    other = replace(scope, reply_key=b"\x04" * 32)
    fresh = signed(other, nonce=b"\x06" * 32, at=int(clock.now))
    assert isinstance(await outcome(authoriser, fresh), Grant)
    assert spent.spend([TokenUse(claims.use_id, claims.expires_at)], clock.now) == [UseResult.AGAIN]
    spent.close()


async def test_a_disk_that_refuses_grants_nothing(
    config: NodeConfig, register: Register, scope: Scope, clock: Clock
) -> None:
    """What cannot be remembered is not granted, and the node ends."""
    spent = ReplayCache.open(config.data_dir)
    authoriser = remembering(spent, config, register, clock)
    spent.close()
    with pytest.raises(StorageError):
        await authoriser.authorise(attested(scope))
    with pytest.raises(BaseExceptionGroup) as caught:
        await authoriser.run()
    assert caught.group_contains(StorageError)


async def test_an_application_has_its_part_and_no_more(
    config: NodeConfig, register: Register, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is spelt; who is refused used nothing up, and other applications are served."""
    other = AppId("0x" + "cd" * 20)
    register.known[other] = replace(APPLICATION, app_id=other)
    one = with_attestation(config, app_rate=1)
    async with open_authoriser(one, CLUSTER, register, clock=clock) as authoriser:
        monkeypatch.setattr(authoriser._of_one, "_clock", lambda: 0.0)

        async def ask(app: AppId, number: int) -> Grant | Refusal:
            scope = Scope(CLUSTER, config.operator, app, REPLY_KEY)
            return await outcome(authoriser, signed(scope, nonce=number.to_bytes(32, "big")))

        spelled = AppId(APP.upper())
        register.known[spelled] = replace(APPLICATION, app_id=spelled)
        turns = range(pipeline.BURST_OF_ONE + 1)
        found = [await ask(spelled if number % 2 else APP_ID, number) for number in turns]
        assert all(isinstance(each, Grant) for each in found[:-1])
        assert found[-1] == Refusal.BUSY
        assert used_up(config) == pipeline.BURST_OF_ONE
        assert isinstance(await ask(other, 1000), Grant)


async def test_expired_evidence_is_refused_by_the_operators_clock(
    authoriser: Authoriser, scope: Scope, clock: Clock
) -> None:
    """Tokens after an hour, signatures after five minutes."""
    clock.now += 301
    assert await outcome(authoriser, signed(scope)) == Refusal.EVIDENCE_EXPIRED
    clock.now += 3600
    assert await outcome(authoriser, attested(scope)) == Refusal.EVIDENCE_EXPIRED


async def test_more_than_fit_are_refused_at_once(
    authoriser: Authoriser, register: Register, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain that is slow does not pile requests up; when it answers, there is room again."""
    monkeypatch.setattr(request_slots, "MAX_AT_ONCE", 1)
    register.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outcome, authoriser, attested(scope))
        await trio.testing.wait_all_tasks_blocked()
        assert await outcome(authoriser, signed(scope)) == Refusal.BUSY
        register.hold.set()
    assert isinstance(await outcome(authoriser, signed(scope)), Grant)


async def test_one_client_does_not_take_all_places(
    authoriser: Authoriser, register: Register, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its part of them; a request of another one is looked into beside them."""
    monkeypatch.setattr(request_slots, "MAX_AT_ONCE", 2)
    register.hold = trio.Event()
    greedy, other = (replace(attested(scope), client=client) for client in ("203.0.113.1", "203.0.113.2"))
    found: list[Grant | Refusal] = []

    async def ask() -> None:
        found.append(await outcome(authoriser, other))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(outcome, authoriser, replace(signed(scope), client=greedy.client))
        await trio.testing.wait_all_tasks_blocked()
        assert await outcome(authoriser, greedy) == Refusal.BUSY
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert found == []
        register.hold.set()
    assert isinstance(found[0], Grant)


def test_few_clients_do_not_take_all_places() -> None:
    """However many each of them asks for, one that holds none has a place."""
    slots = RequestSlots()
    with ExitStack() as held:
        for client in range(5):
            with suppress(AttestationRefusedError):
                while True:
                    held.enter_context(slots.hold(f"203.0.113.{client}"))
        assert slots.held > request_slots.MAX_AT_ONCE * 3 // 4
        held.enter_context(slots.hold("203.0.113.9"))
    assert slots.held == 0


def test_the_first_step_is_shape() -> None:
    """Nothing, or anything but a method's name and evidence."""
    good = Authorisation("gcp", b"token")
    assert read_authorisation(good.encoded) == good
    with pytest.raises(AttestationRefusedError) as error:
        read_authorisation(None)
    assert error.value.code == Refusal.NO_AUTHORISATION
    for field_ in (
        b"",
        b"token",
        encode([]),
        encode(["gcp"]),
        encode(["", b"x"]),
        encode(["gcp", b""]),
        encode([b"gcp", b"x"]),
        encode(["g" * 33, b"x"]),
        encode(["gcp", "x"]),
        encode(["gcp", b"x" * 61_441]),
        good.encoded + b"\x00",
    ):
        with pytest.raises(AttestationRefusedError) as error:
            read_authorisation(field_)
        assert error.value.code == Refusal.BAD_AUTHORISATION


async def test_methods_are_those_of_the_configuration(config: NodeConfig) -> None:
    """Each once, in their order."""
    names = ("ecdsa", "intel", "gcp", "ecdsa")
    several = replace(config.policy.attestation, methods=names)
    assert [method.name for method in make_methods(several)] == ["ecdsa", "intel", "gcp"]


# -- in a node


async def test_a_node_answers_who_has_the_right_and_nobody_else(
    network: FakeNetwork, config: NodeConfig, authoriser: Authoriser, tmp_path: Path
) -> None:
    """Through the client protocol: refusals carry the codes, and the answer is the sealed signature."""
    folder = tmp_path / "node"
    keep_version(network, 0, folder)
    _, public = sealing.x25519_keypair(counter_rng("reply key"))
    mine = scope_of(config.operator, reply_key=public)
    bare = PartialRequest(CLUSTER, APP_ID, 2, network.epoch.transcript.hash, public, bytes(32))

    async def ask(authorisation: bytes | None) -> bytes | str:
        body = replace(bare, authorisation=authorisation).encoded
        return await asked(node.services.client_handlers.answer, STRANGER, rpc_methods.PARTIAL, body)

    with a_node(network, 0, folder, deciding=Policy("attested", authoriser)) as node:
        assert await ask(None) == "no-authorisation"
        assert await ask(b"\x00") == "bad-authorisation"
        assert await ask(Authorisation("tpm", b"x").encoded) == "method-not-enabled"
        assert await ask(attested(scope_of(config.operator)).authorisation.encoded) == "not-bound"
        good = attested(mine, gcp_claims(mine.nonce, jti="mine")).authorisation.encoded
        assert isinstance(await ask(good), bytes)
        assert await ask(good) == "already-used"


def test_attested_needs_somebody_to_ask() -> None:
    """A node that cannot look applications up does not start with that policy."""
    with pytest.raises(InputError, match="no way to look applications up"):
        Policy("attested")


async def test_a_running_node_fetches_the_issuers_keys_and_answers_over_the_network(
    network: FakeNetwork, config: NodeConfig, authoriser: Authoriser, issuer: Endpoint, tmp_path: Path
) -> None:
    """Before anybody asks; and a stranger with a good token gets its answer through a real connection."""
    folder = tmp_path / "node"
    keep_version(network, 0, folder)
    fetched = trio.Event()

    async def asked_for() -> None:
        fetched.set()

    issuer.on_request = asked_for
    private, public = sealing.x25519_keypair(counter_rng("reply key"))
    mine = scope_of(config.operator, reply_key=public)
    bare = PartialRequest(CLUSTER, APP_ID, 2, network.epoch.transcript.hash, public, bytes(32))
    good = replace(bare, authorisation=attested(mine).authorisation.encoded)
    with a_node(network, 0, folder, deciding=Policy("attested", authoriser)) as node:
        async with running(network, node) as host, patient_host(PeerKey.generate()) as client:
            with trio.fail_after(PATIENCE):
                await fetched.wait()
            client.set_addresses(host.peer_id, host.addresses)
            with pytest.raises(CallRefusedError) as error:
                await client.call(
                    host.peer_id,
                    rpc_methods.CLIENT_PROTOCOL,
                    rpc_methods.PARTIAL,
                    bare.encoded,
                    timeout=PATIENCE,
                )
            assert error.value.code == Refusal.NO_AUTHORISATION
            sealed = await client.call(
                host.peer_id, rpc_methods.CLIENT_PROTOCOL, rpc_methods.PARTIAL, good.encoded, timeout=PATIENCE
            )
            open_partial(private, good, network.epoch.transcript, sealed)


async def test_the_policy_is_opened_as_configured(
    network: FakeNetwork, config: NodeConfig, register: Register, tmp_path: Path
) -> None:
    """Only the policy attested remembers anything, and only with somebody to ask."""
    async with open_policy(config, CLUSTER, register) as policy:
        assert (policy.mode, policy.authoriser is None) == ("attested", False)
    with pytest.raises(InputError, match="no way to look applications up"):
        async with open_policy(config, CLUSTER, None):
            pass
    other = make_config(network, 0, tmp_path / "other", policy="closed")
    async with open_policy(other, CLUSTER, register) as policy:
        assert (policy.mode, policy.authoriser) == ("closed", None)
    assert not (tmp_path / "other").exists()


def test_some_refusals_pass() -> None:
    """Where the operator is not ready, a client does well to ask again; else it does not."""
    passing = set(Refusal) - {Refusal(code) for code in FINAL_REFUSALS}
    assert passing == {Refusal.BUSY, Refusal.KEYS_UNAVAILABLE, Refusal.CHAIN_UNAVAILABLE}
