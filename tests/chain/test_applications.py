"""Applications on chain: the own contract, and the reader that believes neither who made an application nor the RPC."""

import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from eth_abi.abi import encode

from eigenkms.applications import Application, AppRelease, AppStatus, ContainerPolicy, UnusableReleaseError
from eigenkms.chain import abi, applications
from eigenkms.chain.app_releases import MAX_RELEASE_BYTES, decode_release, encode_release
from eigenkms.chain.applications import ChainApplications, applications_of
from eigenkms.chain.config import Finality
from eigenkms.chain.operator_set_source import open_chain
from eigenkms.chain.rpc_values import parse_bytes, parse_quantity
from eigenkms.crypto.app_ids import checksummed
from eigenkms.crypto.hashing import keccak256
from eigenkms.devnet import app_publishing
from eigenkms.errors import ChainError
from eigenkms.types import AppId, BlockRef, to_hex
from tests.chain.conftest import World, one_engine
from tests.support.rpc_servers import Call, Tamper, tampering
from tests.support.waiting import eventually

CREATOR, OTHER = 10, 11
SEED = 20261125
SALT = bytes(31) + b"\x07"
POLICY = ContainerPolicy(
    args=("--port", "80"),
    cmd_override=("/bin/app",),
    env=(("A", "1"), ("A", "2")),
    env_override=(("B", "ü"),),
    restart_policy="Never",
)
RELEASE = AppRelease(b"\x11" * 32, "docker.io/me/app", POLICY, b'{"GREETING": "hello"}', b"\x00\xff sealed")
SECOND = replace(RELEASE, image_digest=b"\x22" * 32)
VECTORS = json.loads((Path(__file__).parent / "release_vectors.json").read_text())


async def create(world: World, release: AppRelease | None = RELEASE) -> AppId:
    made = await app_publishing.create_app(
        world.sender(CREATOR), world.contracts.app_controller, release, salt=SALT
    )
    return AppId(to_hex(made))


def address_of(app: AppId) -> bytes:
    return bytes.fromhex(app[2:])


async def publish(world: World, app: AppId, release: AppRelease = SECOND) -> None:
    await app_publishing.publish_release(
        world.sender(CREATOR), world.contracts.app_controller, address_of(app), release
    )


async def confirm(world: World, app: AppId) -> None:
    await app_publishing.confirm_release(world.avs, world.contracts.app_controller, address_of(app))


async def change(world: World, app: AppId, what: str, account: int | None = None) -> None:
    usual = CREATOR if what in app_publishing.CREATOR_CHANGES else 1
    sender = world.sender(usual if account is None else account)
    await app_publishing.change_status(sender, world.contracts.app_controller, address_of(app), what)


@asynccontextmanager
async def registry(
    world: World, finality: str = "latest", url: str | None = None
) -> AsyncIterator[ChainApplications]:
    async with world.reader(finality, url) as chain:
        yield ChainApplications(chain, world.contracts.app_controller)


async def lookup(world: World, app: AppId, finality: str = "latest") -> Application | None:
    async with registry(world, finality) as known:
        return await known.lookup(app)


async def status(world: World, app: AppId) -> AppStatus:
    found = await lookup(world, app)
    assert found is not None
    return found.status


async def release_of(world: World, app: AppId) -> AppRelease | None:
    found = await lookup(world, app)
    assert found is not None
    return found.release


# ------------------------------------------------------------------------------------------------- what is there


async def test_an_application_is_read_as_it_was_created(world: World) -> None:
    """Creator, status and every field of the release, which counts at once."""
    app = await create(world)
    assert await lookup(world, app) == Application(
        app, world.sender(CREATOR).address, AppStatus.STARTED, RELEASE
    )


async def test_the_address_follows_from_creator_and_salt(world: World) -> None:
    """The contract says beforehand where an application will be, and there is a contract of its own there."""
    app = await create(world)
    assert await call(world, abi.CALCULATE_APP_ID, world.sender(CREATOR).address, SALT) == (app,)
    assert parse_bytes(await world.rpc.call("eth_getCode", app, "latest"), "code")
    with pytest.raises(ChainError, match="with this salt before"):
        await create(world)
    other = await app_publishing.create_app(
        world.sender(OTHER), world.contracts.app_controller, RELEASE, salt=SALT
    )
    assert to_hex(other) != app
    assert (await lookup(world, AppId(to_hex(other)))) is not None


async def test_a_later_release_counts_once_it_is_confirmed(world: World) -> None:
    """Pending it changes nothing; confirmed it replaces the first."""
    app = await create(world)
    await publish(world, app)
    assert await release_of(world, app) == RELEASE
    await confirm(world, app)
    assert await release_of(world, app) == SECOND


async def test_an_application_without_release_is_created_and_waits(world: World) -> None:
    """It has no release, cannot be started before one is confirmed, and can after."""
    app = await create(world, None)
    found = await lookup(world, app)
    assert found is not None
    assert (found.status, found.release) == (AppStatus.CREATED, None)
    with pytest.raises(ChainError, match="no confirmed release"):
        await change(world, app, "start")
    await publish(world, app)
    await confirm(world, app)
    await change(world, app, "start")
    assert (await status(world, app), await release_of(world, app)) == (AppStatus.STARTED, SECOND)


async def test_every_status_is_told(world: World) -> None:
    """Stopped, started again, suspended, resumed, terminated; an account that never was an application is none."""
    app = await create(world)
    for what, expected in (
        ("stop", AppStatus.STOPPED),
        ("start", AppStatus.STARTED),
        ("suspend", AppStatus.SUSPENDED),
        ("resume", AppStatus.STOPPED),
        ("terminate", AppStatus.TERMINATED),
    ):
        await change(world, app, what)
        assert await status(world, app) is expected
    assert await lookup(world, AppId("0x" + "33" * 20)) is None


@one_engine
@pytest.mark.parametrize("what", [*app_publishing.CREATOR_CHANGES, *app_publishing.COORDINATOR_CHANGES])
async def test_nobody_else_may_change_an_application(world: World, what: str) -> None:
    """A stranger neither; the coordinator may not do what is the creator's, nor the creator what is the coordinator's."""
    app = await create(world)
    if what == "start":
        await change(world, app, "stop")
    if what == "resume":
        await change(world, app, "suspend")
    before = await status(world, app)
    others = (OTHER, 1) if what in app_publishing.CREATOR_CHANGES else (OTHER, CREATOR)
    for account in others:
        with pytest.raises(ChainError, match="only the"):
            await change(world, app, what, account)
    assert await status(world, app) is before


async def test_only_the_creator_publishes_and_only_the_coordinator_confirms(world: World) -> None:
    """A release by somebody else, or confirmed by its creator, does not count."""
    app = await create(world)
    with pytest.raises(ChainError, match="only the account that created"):
        await app_publishing.publish_release(
            world.sender(OTHER), world.contracts.app_controller, address_of(app), SECOND
        )
    with pytest.raises(ChainError, match="no release that waits"):
        await confirm(world, app)
    await publish(world, app)
    with pytest.raises(ChainError, match="only the coordinator"):
        await app_publishing.confirm_release(
            world.sender(CREATOR), world.contracts.app_controller, address_of(app)
        )
    assert await release_of(world, app) == RELEASE


@one_engine
@pytest.mark.parametrize("end", ["terminate", "suspend"])
async def test_a_suspended_or_terminated_application_is_not_the_creators_to_revive(
    world: World, end: str
) -> None:
    """No start, no release; a release that waited is not confirmed any more."""
    app = await create(world)
    await publish(world, app)
    await change(world, app, end)
    for act in (
        change(world, app, "start"),
        change(world, app, "stop"),
        publish(world, app),
        confirm(world, app),
    ):
        with pytest.raises(ChainError, match="does not allow this"):
            await act


async def test_a_block_has_one_release_of_an_application(world: World) -> None:
    """A second one, unconfirmed, would be taken for the first: it has the higher index in the log of that block."""
    controller, account = world.contracts.app_controller, world.sender(OTHER)
    nonce = parse_quantity(
        await world.rpc.call("eth_getTransactionCount", to_hex(account.address), "latest"), "nonce"
    )
    creator = keccak256(b"\xd6\x94", account.address, bytes([nonce or 0x80]))[12:]
    (app,) = await call(world, abi.CALCULATE_APP_ID, creator, SALT)
    first = abi.CREATE_APP.encode(SALT, encode_release(RELEASE))
    second = abi.UPGRADE_APP.encode(app, encode_release(SECOND))
    receipt = await account.send("do both", None, calling(controller, first, second), gas=2_000_000)
    assert receipt.contract == creator
    assert await world.rpc.call("eth_getCode", to_hex(creator), "latest") == "0x0100"
    assert await release_of(world, AppId(app)) == RELEASE


def calling(contract: bytes, *calls: bytes) -> bytes:
    """Creation code that makes each call and leaves one byte of code for each: whether it succeeded."""
    per_call = 4 + 4 + 2 + 1 + 2 + 2 + 4 + 2 + 2 + 21 + 2
    offset = len(calls) * (per_call + 3) + 5
    code, blobs = b"", b""
    for data in calls:
        length = b"\x62" + len(data).to_bytes(3, "big")
        code += length + b"\x62" + (offset + len(blobs)).to_bytes(3, "big") + bytes.fromhex("600039")
        code += bytes.fromhex("60006000") + length + bytes.fromhex("60006000") + b"\x73" + contract
        code += bytes.fromhex("5af1")  # GAS CALL
        blobs += data
    for place in reversed(range(len(calls))):
        code += bytes([0x60, place, 0x53])  # MSTORE8
    return code + bytes([0x60, len(calls)]) + bytes.fromhex("6000f3") + blobs


async def call(world: World, function: abi.Function, *values: object) -> tuple[Any, ...]:
    asked: Any = {"to": to_hex(world.contracts.app_controller), "data": to_hex(function.encode(*values))}
    return function.decode(parse_bytes(await world.rpc.call("eth_call", asked, "latest"), function.name))


# ------------------------------------------------------------------------------------------------- spelling

SPELT = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


NO_ADDRESSES = [
    SPELT.swapcase(),
    "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    SPELT[2:],
    SPELT[:-1],
    SPELT + "0",
    SPELT + "\n",
    " " + SPELT,
    "0x" + "٣" * 40,
    "",
    "my-application",
]
"""A wrong checksum first, then what is cropped, padded or none."""


@one_engine
async def test_the_spelling_asked_for_is_the_one_answered(world: World) -> None:
    """All spellings are found, each under itself, by one reading; what is no address asks the chain nothing."""
    app = await create(world)
    mixed = AppId(checksummed(address_of(app)))
    async with counted(world) as (known, calls):
        for spelling in (app, mixed, AppId(app.upper()), AppId("0x" + app[2:].upper()), app):
            found = await known.lookup(spelling)
            assert found is not None
            assert found.app_id == spelling
        asked = len(calls)
        for other in NO_ADDRESSES:
            assert await known.lookup(AppId(other)) is None
        assert len(calls) == asked
        assert sum(is_status(call) for call in calls) == 1


# ------------------------------------------------------------------------------------------------- one reading for many


def selector_of(request: Call) -> str:
    return str(request["params"][0]["data"][:10]) if request["method"] == "eth_call" else ""


def is_status(request: Call) -> bool:
    return selector_of(request) == to_hex(abi.GET_APP_STATUS.selector)


@asynccontextmanager
async def counted(
    world: World, tamper: Tamper = lambda _call, answer: answer
) -> AsyncIterator[tuple[ChainApplications, list[Call]]]:
    """A registry behind a proxy, and the calls that came by since it was opened."""
    seen: list[Call] = []

    def note(request: Call, answer: dict[str, Any]) -> dict[str, Any] | None:
        seen.append(request)
        return tamper(request, answer)

    async with tampering(world.engine.url, note) as proxy, registry(world, url=proxy.url) as known:
        seen.clear()
        yield known, seen


@one_engine
async def test_many_requests_at_once_are_one_reading(world: World) -> None:
    """And so are those of the next seconds; for an application that does not exist as well."""
    app = await create(world)
    for asked in (app, AppId("0x" + "33" * 20)):
        async with counted(world) as (known, calls):
            answers: list[Application | None] = []

            async def ask(known: ChainApplications, asked: AppId, answers: list[Application | None]) -> None:
                answers.append(await known.lookup(asked))

            for _ in range(2):
                async with trio.open_nursery() as nursery:
                    for _ in range(applications.STRANGERS):
                        nursery.start_soon(ask, known, asked, answers)
            assert len(answers) == 2 * applications.STRANGERS
            assert {found is None for found in answers} == {asked != app}
            assert sum(is_status(call) for call in calls) == 1


@one_engine
async def test_what_was_published_is_seen_when_the_answer_is_too_old(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer serves for so long and no longer."""
    app = await create(world)
    async with registry(world) as known:
        first = await known.lookup(app)
        await change(world, app, "stop")
        assert await known.lookup(app) == first
        monkeypatch.setattr(applications, "FRESH_SECONDS", 0.0)
        found = await known.lookup(app)
        assert found is not None
        assert found.status is AppStatus.STOPPED


@one_engine
async def test_a_failure_is_told_to_those_who_waited_and_not_kept(world: World) -> None:
    """All who asked at once get it from one attempt; the next to ask reads anew."""
    app = await create(world)
    broken = True

    def lie(request: Call, answer: dict[str, Any]) -> dict[str, Any]:
        return answer | {"result": "0x07"} if broken and is_status(request) else answer

    async with counted(world, lie) as (known, calls):
        errors: list[ChainError] = []

        async def ask() -> None:
            try:
                await known.lookup(app)
            except ChainError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
        assert len(errors) == 20
        assert len(set(map(id, errors))) == 20
        assert {str(error) for error in errors} == {str(errors[0])}
        assert sum(is_status(call) for call in calls) == 1
        broken = False
        assert await known.lookup(app) is not None


@one_engine
async def test_who_gives_up_does_not_fail_the_others(world: World) -> None:
    """The one who reads is cancelled while the chain has not answered: another reads, and all others are served."""
    app = await create(world)
    async with world.reader() as chain:
        known = ChainApplications(chain, world.contracts.app_controller)
        reading, answers, reads = trio.Event(), [], 0
        head = chain.head

        async def slow_at_first() -> Any:
            nonlocal reads
            reads += 1
            if reads == 1:
                reading.set()
                await trio.sleep_forever()
            return await head()

        chain.head = slow_at_first  # type: ignore[method-assign]

        async def ask() -> None:
            answers.append(await known.lookup(app))

        async with trio.open_nursery() as nursery, trio.open_nursery() as impatient:
            impatient.start_soon(known.lookup, app)
            await reading.wait()
            for _ in range(3):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        assert reads == 2
        assert len(answers) == 3
        assert None not in answers


@one_engine
async def test_who_names_what_is_not_there_takes_no_room_from_what_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of made-up addresses against a slow RPC: few are read, the rest refused at once; an application that was found
    before is read beside them.
    """
    monkeypatch.setattr(applications, "FRESH_SECONDS", 0.0)
    app = await create(world)
    strange = [AppId(f"0x{number:040x}") for number in range(1, 200)]
    refused: list[str] = []

    async with world.reader() as chain:
        known = ChainApplications(chain, world.contracts.app_controller)
        assert await known.lookup(app) is not None
        read_at, held, free = chain.read_at, 0, trio.Event()

        async def slow(block: BlockRef, contract: bytes, calls: Any) -> list[Any]:
            nonlocal held
            if calls[0][1] != (address_of(app),):
                held += 1
                await free.wait()
            return await read_at(block, contract, calls)

        monkeypatch.setattr(chain, "read_at", slow)

        async def ask(asked: AppId) -> None:
            try:
                assert await known.lookup(asked) is None
            except ChainError as error:
                refused.append(str(error))

        async with trio.open_nursery() as nursery:
            for asked in strange:
                nursery.start_soon(ask, asked)
            await eventually(lambda: held == applications.STRANGE_READINGS)
            for _ in range(5):
                assert await known.lookup(app) is not None
            assert held == applications.STRANGE_READINGS
            assert len(refused) == len(strange) - applications.STRANGERS
            assert all("too many are asked for that were never found" in reason for reason in refused)
            free.set()
        assert len(refused) == len(strange) - applications.STRANGERS


@one_engine
async def test_memory_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was not asked for the longest is forgotten first."""
    monkeypatch.setattr(applications, "REMEMBERED", 2)
    first, second, third = (AppId("0x" + digit * 40) for digit in "123")
    async with counted(world) as (known, calls):
        for app in (first, second, first, third, first, second):
            await known.lookup(app)
        assert sum(is_status(call) for call in calls) == 4


@one_engine
async def test_a_chain_that_does_not_answer_is_waited_for_so_long_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole reading has one deadline."""
    monkeypatch.setattr(applications, "LOOKUP_SECONDS", 0.2)
    async with world.reader() as chain:
        chain.head = trio.sleep_forever  # type: ignore[method-assign]
        known = ChainApplications(chain, world.contracts.app_controller)
        with pytest.raises(ChainError, match=r"no answer within 0\.2 s"):
            await known.lookup(AppId("0x" + "33" * 20))


# ------------------------------------------------------------------------------------------------- finality, reorganisations


@one_engine
async def test_only_blocks_at_the_configured_finality_count(world: World) -> None:
    """An application that was created two blocks ago is none yet for who waits for five."""
    app = await create(world)
    await world.mine(2)
    assert await lookup(world, app, "latest-5") is None
    assert await lookup(world, app, "latest-2") is not None
    await publish(world, app)
    await confirm(world, app)
    found = await lookup(world, app, "latest-1")
    assert found is not None
    assert found.release == RELEASE


@one_engine
async def test_a_reorganisation_while_it_is_read_is_an_error(world: World) -> None:
    """State of one chain and a log of another are never put together."""
    app = await create(world)
    await world.mine(1)
    headers = 0

    def reorganised(request: Call, answer: dict[str, Any]) -> dict[str, Any]:
        nonlocal headers
        if request["method"] == "eth_getBlockByNumber" and request["params"][0] != "latest":
            headers += 1
            if headers == 2:
                return answer | {"result": answer["result"] | {"hash": "0x" + "ee" * 32}}
        return answer

    async with counted(world, reorganised) as (known, _):
        with pytest.raises(ChainError, match="reorganised meanwhile"):
            await known.lookup(app)


# ------------------------------------------------------------------------------------------------- what the RPC says


def logs(change: Callable[[list[dict[str, Any]]], Any]) -> Tamper:
    def tamper(request: Call, answer: dict[str, Any]) -> dict[str, Any]:
        if request["method"] != "eth_getLogs":
            return answer
        return answer | {"result": change(answer["result"])}

    return tamper


def each(**fields: Any) -> Tamper:
    return logs(lambda found: [entry | fields for entry in found])


def values(function: abi.Function, result: Any) -> Tamper:
    def tamper(request: Call, answer: dict[str, Any]) -> dict[str, Any]:
        is_it = selector_of(request) == to_hex(function.selector)
        return answer | {"result": result} if is_it else answer

    return tamper


def word(number: int) -> str:
    return to_hex(number.to_bytes(32, "big"))


TOPIC = to_hex(abi.APP_UPGRADED)


@one_engine
@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (each(address="0x" + "99" * 20), "not asked for"),
        (each(topics=["0x" + "99" * 32]), "not asked for"),
        (each(topics=[TOPIC]), "not asked for"),
        (each(topics=[TOPIC, "0x" + "99" * 32]), "not asked for"),
        (each(blockNumber="0x1"), "not asked for"),
        (each(blockHash="0x" + "99" * 32), "event of another block"),
        (each(removed=True), "reorganised away"),
        (each(data="0x"), "0 bytes of event data do not fit"),
        (each(data="0x" + "ff" * 640), "640 bytes of event data do not fit"),
        (each(data="zz"), "not a hex byte string"),
        (
            logs(lambda found: [entry | {"topics": [*entry["topics"], TOPIC]} for entry in found]),
            "other topics",
        ),
        (logs(lambda _found: []), "the event is missing"),
        (logs(lambda _found: None), "not a list"),
        (values(abi.GET_APP_STATUS, word(6)), "6 is none that is known"),
        (values(abi.GET_APP_STATUS, word(256)), "getAppStatus"),
        (values(abi.GET_APP_STATUS, "0x"), "getAppStatus"),
        (values(abi.GET_APP_STATUS, None), "getAppStatus"),
        (values(abi.GET_APP_CREATOR, "0x" + "ff" * 32), "getAppCreator"),
        (values(abi.GET_APP_RELEASE_BLOCK, word(2**32 - 1)), "blocks only"),
        (values(abi.GET_APP_RELEASE_BLOCK, word(2**32)), "getAppLatestReleaseBlockNumber"),
    ],
)
async def test_what_cannot_be_is_an_error_of_the_chain(world: World, tamper: Tamper, message: str) -> None:
    """Each by name, and none of them says that there is no such application, or another release."""
    app = await create(world)
    async with counted(world, tamper) as (known, _):
        with pytest.raises(ChainError, match=message) as caught:
            await known.lookup(app)
        assert not isinstance(caught.value, UnusableReleaseError)


@one_engine
async def test_the_last_event_of_the_block_is_the_release(world: World) -> None:
    """By its index, whatever the order of the answer."""
    app = await create(world)
    later = to_hex(encode(("uint256", abi.RELEASE), (1, encode_release(SECOND))))

    def twice(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        (event,) = found
        return [event | {"logIndex": hex(int(event["logIndex"], 16) + 1), "data": later}, event]

    async with counted(world, logs(twice)) as (known, _):
        found = await known.lookup(app)
        assert found is not None
        assert found.release == SECOND


@one_engine
async def test_a_contract_that_is_not_there_troubles_only_who_needs_it(world: World) -> None:
    """The chain can be read otherwise; a check or a lookup says what is wrong."""
    config = world.contracts.config(world.engine.url, Finality.parse("latest"))
    async with open_chain(replace(config, app_controller=b"\x77" * 20)) as chain:
        known = applications_of(chain)
        assert known is not None
        for look in (known.check, partial(known.lookup, AppId("0x" + "ab" * 20))):
            with pytest.raises(ChainError, match="check app controller 0x7777") as caught:
                await look()
            assert caught.value.hint == "correct the app controller address, or the chain id"


# ------------------------------------------------------------------------------------------------- what the creator says


def event_data(*, artefacts: Any = None, env: bytes = b"{}", args: Any = (), registry: Any = "r") -> bytes:
    listed = [(b"\x11" * 32, registry)] if artefacts is None else artefacts
    return encode(("uint256", abi.RELEASE), (0, ((listed, 0), env, b"", (args, (), (), (), ""))))


def test_a_release_of_a_public_chain_is_read() -> None:
    """Topic and data of an event on Sepolia."""
    assert to_hex(abi.APP_UPGRADED) == VECTORS["topic0"]
    assert decode_release(bytes.fromhex(VECTORS["data"]), "it") == AppRelease(
        bytes.fromhex(VECTORS["digest"]),
        VECTORS["registry"],
        ContainerPolicy(),
        VECTORS["public_env"].encode(),
        bytes.fromhex(VECTORS["encrypted_env"]),
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (event_data(artefacts=[]), "0 artefacts"),
        (event_data(artefacts=[(b"\x11" * 32, "r")] * 2), "2 artefacts"),
        (event_data(env=b""), "not a JSON object"),
        (event_data(env=b"[]"), "not a JSON object"),
        (event_data(env=b"null"), "not a JSON object"),
        (event_data(env=b'{"a": NaN}'), "not a JSON object"),
        (event_data(env=b'{"a": 1} x'), "not a JSON object"),
        (event_data(env=b'{"a": "\xff"}'), "not a JSON object"),
        (event_data(env=b'{"a":' * 100 + b"1" + b"}" * 100), "not a JSON object"),
        (event_data(args=["x" * MAX_RELEASE_BYTES]), "more than 131072"),
        (event_data(registry="quux").replace(b"quux", b"\xff\xfe\xfd\xfc"), "not UTF-8"),
    ],
)
def test_a_release_that_cannot_be_used_is_the_creators_fault(data: bytes, message: str) -> None:
    """It is told apart from a chain that cannot be read."""
    with pytest.raises(UnusableReleaseError, match=message):
        decode_release(data, "it")


def test_data_that_unfolds_into_more_than_it_is_was_made_by_no_contract() -> None:
    """A hundred texts at one place would be a hundred times its size in memory."""
    data = bytearray(event_data(args=["x" * 10_000] + [""] * 99))
    start = data.index((100).to_bytes(32, "big")) + 32
    for place in range(start, start + 100 * 32, 32):
        data[place : place + 32] = data[start : start + 32]
    with pytest.raises(ChainError, match="parts of its event data overlap"):
        decode_release(bytes(data), "it")


def test_no_data_does_more_than_to_be_refused() -> None:
    """Bytes changed, cut out and put in at random: a release, or one of the two errors."""
    rng, good = random.Random(SEED), bytes.fromhex(VECTORS["data"])
    outcomes = dict.fromkeys(("read", "UnusableReleaseError", "ChainError"), 0)
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(data))
            data[place : place + rng.choice((0, 1, 1, 1, 32))] = rng.randbytes(rng.choice((0, 1, 1, 1, 32)))
        try:
            decode_release(bytes(data), "it")
            outcomes["read"] += 1
        except (UnusableReleaseError, ChainError) as error:
            outcomes[type(error).__name__] += 1
    assert all(outcomes.values()), (SEED, outcomes)


async def test_an_unusable_release_on_chain_is_told_as_one(world: World) -> None:
    """It can be published, by other tools than ours; ours refuse to send it."""
    creator = world.sender(CREATOR)
    broken = replace(RELEASE, public_env=b"[]")
    with pytest.raises(UnusableReleaseError, match="not a JSON object"):
        await app_publishing.create_app(creator, world.contracts.app_controller, broken, salt=SALT)
    data = abi.CREATE_APP.encode(SALT, encode_release(broken))
    await creator.send("create", world.contracts.app_controller, data, gas=app_publishing.GAS_CREATE * 2)
    (app,) = await call(world, abi.CALCULATE_APP_ID, creator.address, SALT)
    with pytest.raises(UnusableReleaseError, match="not a JSON object"):
        await lookup(world, AppId(app))


async def test_a_large_release_goes_through(world: World) -> None:
    """Gas is computed for it."""
    large = replace(RELEASE, encrypted_env=b"\xaa" * 60_000)
    app = await create(world, None)
    await publish(world, app, large)
    await confirm(world, app)
    assert await release_of(world, app) == large
