"""A client believes no operator: what is false is refused and named, and the honest rest is enough."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from eigenkms.client import ciphertexts
from eigenkms.client.api import encrypt
from eigenkms.client.errors import KeyChangedError, NoVersionError, QuorumError
from eigenkms.client.known_clusters import KnownClusters
from eigenkms.crypto import bls, bn254
from eigenkms.crypto.backends.interface import BLS_G1_INFINITY
from eigenkms.crypto.ibe_identities import Identity, identity_v2
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import ChainError, InputError, RefusedError, VerificationError
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.host import Request
from eigenkms.p2p.identity import PeerKey
from eigenkms.types import AppId, ClusterId
from eigenkms.wire import rpc_methods
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.client_rpc import build_statement, decode_partial_request, seal_partial
from eigenkms.wire.frames import Frame, FrameKind, build_frame
from tests.support.fake_network import (
    CLUSTER,
    FakeNetwork,
    Honest,
    Operator,
    make_network,
    network_client,
    operator_hosts,
)
from tests.support.faulty_operators import CASES, FalseVersionOperators, false_epochs, other_polynomial
from tests.support.waiting import PATIENCE

APP = AppId("my-app")
ID = identity_v2(CLUSTER, APP)
SECRET = b"attack at dawn"


def pins(known: Path) -> dict[ClusterId, bytes]:
    """What this machine has pinned for the network."""
    pinned = KnownClusters(known).get(CLUSTER)
    return {} if pinned is None else {CLUSTER: pinned}


@pytest.fixture
def honest(network: FakeNetwork) -> Honest:
    return Honest(network)


# -- the master key ----------------------------------------------------------------------------------------------


async def test_the_first_fetch_verifies_and_pins(network: FakeNetwork, honest: Honest, known: Path) -> None:
    """And a secret encrypted with it comes back."""
    async with operator_hosts(network, [honest] * 4), network_client(network, known) as client:
        info = await client.fetch()
        assert (info.cluster_id, info.mpk, info.threshold) == (CLUSTER, network.epoch.transcript.mpk, 3)
        assert info.operators == tuple(o.address for o in network.operators)
        assert pins(known) == {CLUSTER: info.mpk}
        assert await client.decrypt(APP, encrypt(info, APP, SECRET)) == SECRET


async def test_a_first_key_needs_a_witness_that_is_honest(
    network: FakeNetwork, honest: Honest, known: Path
) -> None:
    """n-t+1 of today's operators: with one of four nothing is pinned; with two it is; from then on one is enough."""
    async with operator_hosts(network, [honest, None, None, None]), network_client(network, known) as client:
        with pytest.raises(QuorumError, match="1 of 4 operators vouch for it, 2 needed") as error:
            await client.fetch()
        for operator in network.operators[1:]:
            assert operator.address.hex() in str(error.value)
        assert pins(known) == {}
    async with (
        operator_hosts(network, [honest, honest, None, None]),
        network_client(network, known) as client,
    ):
        await client.fetch()
    async with operator_hosts(network, [None, honest, None, None]), network_client(network, known) as client:
        assert (await client.fetch()).mpk == network.epoch.transcript.mpk


async def test_nobody_there_is_a_quorum_that_is_missing(network: FakeNetwork, known: Path) -> None:
    """Each is named with the reason."""
    async with operator_hosts(network, [None] * 4), network_client(network, known) as client:
        with pytest.raises(QuorumError, match="no operator answered") as error:
            await client.fetch()
        assert str(error.value).count("connection refused") == 4
        assert error.value.exit_code == 2


class Keyless(Honest):
    """No key has been generated yet."""

    def info(self, operator: Operator, body: bytes) -> bytes:
        raise RpcRefusal("no-version", "no master key has been generated yet")


async def test_a_cluster_without_a_key_says_so(network: FakeNetwork, known: Path) -> None:
    """With a hint when to try again; operators that are down do not change what the others said."""
    async with (
        operator_hosts(network, [Keyless(network)] * 3 + [None]),
        network_client(network, known) as client,
    ):
        with pytest.raises(
            NoVersionError, match="none of the 3 operators that answered has one yet"
        ) as error:
            await client.fetch()
        assert "next boundary" in str(error.value.hint)


async def test_one_operator_that_knows_the_key_is_heard_among_those_that_do_not(
    network: FakeNetwork, honest: Honest, known: Path
) -> None:
    """Two of four know it: enough for the first pin."""
    ways = [Keyless(network), honest, Keyless(network), honest]
    async with operator_hosts(network, ways), network_client(network, known) as client:
        assert (await client.fetch()).mpk == network.epoch.transcript.mpk


async def test_a_pinned_key_that_changed_is_refused(
    network: FakeNetwork, honest: Honest, known: Path
) -> None:
    """Although all operators prove the new one."""
    other = make_network(seed="another polynomial").epoch.transcript.mpk
    KnownClusters(known).pin(CLUSTER, other)
    async with operator_hosts(network, [honest] * 4), network_client(network, known) as client:
        with pytest.raises(KeyChangedError):
            await client.fetch()
        with pytest.raises(KeyChangedError):
            await client.application_key(APP)


async def test_a_chain_that_is_down_is_the_chains_fault(
    network: FakeNetwork, honest: Honest, known: Path
) -> None:
    """Exit code 2 and the chain's own words."""
    network.chain.down = True
    async with operator_hosts(network, [honest] * 4), network_client(network, known) as client:
        with pytest.raises(ChainError, match="it is down"):
            await client.fetch()


# -- operators that lie about the key ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
async def test_a_false_proof_is_refused_and_the_honest_are_heard(
    network: FakeNetwork, honest: Honest, known: Path, case: str
) -> None:
    """From all operators: exit code 4, nothing pinned. From two of four: the other two are enough."""
    epoch, words = false_epochs(network)[case]
    liar = FalseVersionOperators(network, epoch)
    async with operator_hosts(network, [liar] * 4), network_client(network, known) as client:
        with pytest.raises(VerificationError) as error:
            await client.fetch()
        assert words in str(error.value) or "says something else than asked" in str(error.value)
        assert error.value.exit_code == 4
        assert pins(known) == {}
    async with (
        operator_hosts(network, [liar, honest, liar, honest]),
        network_client(network, known) as client,
    ):
        assert (await client.fetch()).mpk == network.epoch.transcript.mpk


async def test_two_keys_that_are_both_certified_are_never_chosen_between(
    network: FakeNetwork, honest: Honest, known: Path
) -> None:
    """A quorum of liars can certify two; then the client takes neither."""
    second = other_polynomial(network)
    other = FalseVersionOperators(network, CertifiedTranscript(second, network.certify(second)))
    async with operator_hosts(network, [honest, other, None, None]), network_client(network, known) as client:
        with pytest.raises(VerificationError, match="operators prove two different ones"):
            await client.fetch()
        assert pins(known) == {}


class Perjurer(Honest):
    """Shows the right proof and vouches for it in a wrong way."""

    def __init__(self, network: FakeNetwork, way: str) -> None:
        super().__init__(network)
        self.way = way

    def statement(self, operator: Operator, nonce: bytes) -> Frame:
        good, neighbour = self.epoch().transcript, self.network.operators[0]
        match self.way:
            case "another nonce":
                return build_statement(operator.key, operator.address, good, bytes(32))
            case "another key":
                return build_statement(operator.key, operator.address, other_polynomial(self.network), nonce)
            case "another cluster":
                away = replace(good, cluster=ClusterId(bytes(32)))
                return build_statement(operator.key, operator.address, away, nonce)
            case "another operator":
                return build_statement(neighbour.key, neighbour.address, good, nonce)
            case "another signature":
                return build_statement(bn254.KeyPair.from_secret(4711), operator.address, good, nonce)
            case _:
                return build_frame(
                    operator.key,
                    kind=FrameKind.PARTIAL,
                    cluster=CLUSTER,
                    sender=operator.address,
                    session=good.session,
                    body=[nonce, good.hash, good.mpk],
                )


PERJURIES = [
    "another nonce",
    "another key",
    "another cluster",
    "another operator",
    "another signature",
    "another kind",
]


@pytest.mark.parametrize("way", PERJURIES)
async def test_a_false_statement_vouches_for_nothing(network: FakeNetwork, known: Path, way: str) -> None:
    """With three such operators and one honest one there is one witness, not two."""
    perjurer, honest = Perjurer(network, way), Honest(network)
    async with (
        operator_hosts(network, [honest, perjurer, perjurer, perjurer]),
        network_client(network, known) as client,
    ):
        with pytest.raises(QuorumError, match="1 of 4 operators vouch for it, 2 needed"):
            await client.fetch()
        assert pins(known) == {}


class Babbler(Honest):
    """Answers bytes that mean nothing."""

    def __init__(self, network: FakeNetwork, answer: bytes) -> None:
        super().__init__(network)
        self._answer = answer

    async def answer(self, operator: Operator, request: Request) -> bytes:
        return self._answer


@pytest.mark.parametrize("answer", [b"", b"\xc1", b"\x94\xc0\xc0\xc0\xc0", b"\xff" * 100_000, b"\x90"])
async def test_answers_that_mean_nothing_stop_nobody(
    network: FakeNetwork, honest: Honest, known: Path, answer: bytes
) -> None:
    """Alone they are a missing quorum; beside the honest they are passed over, for the key and for partial signatures."""
    babbler = Babbler(network, answer)
    async with operator_hosts(network, [babbler] * 4), network_client(network, known) as client:
        with pytest.raises(QuorumError):
            await client.fetch()
    async with (
        operator_hosts(network, [babbler, honest, honest, honest]),
        network_client(network, known) as client,
    ):
        info = await client.fetch()
        assert await client.decrypt(APP, encrypt(info, APP, SECRET)) == SECRET


# -- operators that move -----------------------------------------------------------------------------------------


async def test_an_operator_that_moved_is_reached_through_the_record_that_others_pass_on(
    network: FakeNetwork, honest: Honest, known: Path
) -> None:
    """It is needed for the threshold, and its socket on chain points to nowhere."""
    async with (
        operator_hosts(network, [honest, honest, honest, None]),
        network_client(network, known) as client,
    ):
        moved = network.operators[2]
        for other in network.operators[:2]:
            other.records = [moved.record([network.chain.operators[2].socket.partition("/p2p/")[0]])]
        network.place(2, f"/ip4/127.0.0.1/tcp/1/p2p/{PeerKey.generate().peer_id}")
        info = await client.fetch()
        assert await client.decrypt(APP, encrypt(info, APP, SECRET)) == SECRET


@pytest.mark.parametrize(
    "address", ["nowhere", "/ip4/127.0.0.1/tcp/70000", "/ip4/127.0.0.1/tcp/1/p2p/zzz", ""]
)
async def test_a_record_with_an_address_that_is_none_harms_its_operator_alone(
    network: FakeNetwork, honest: Honest, known: Path, address: str
) -> None:
    """It signed it itself."""
    async with operator_hosts(network, [honest] * 4), network_client(network, known) as client:
        for other in network.operators:
            other.records = [network.operators[3].record([address])]
        info = await client.fetch()
        assert await client.decrypt(APP, encrypt(info, APP, SECRET)) == SECRET


async def test_a_stolen_peer_id_hides_neither_thief_nor_victim(
    network: FakeNetwork, honest: Honest, known: Path
) -> None:
    """The thief's socket names the victim's peer at the thief's port. The victim is needed, and is reached."""
    async with (
        operator_hosts(network, [honest, honest, honest, None]),
        network_client(network, known) as client,
    ):
        victim = network.operators[0]
        network.place(3, f"/ip4/127.0.0.1/tcp/1/p2p/{victim.peer.peer_id}")
        for _ in range(3):
            info = await client.fetch()
            assert await client.decrypt(APP, encrypt(info, APP, SECRET)) == SECRET


# -- partial signatures ------------------------------------------------------------------------------------------


class FalseSigner(Honest):
    """Signs the answer well, and the partial signature in it is not its share's."""

    def __init__(self, network: FakeNetwork, sign: Callable[[Operator, Identity], bytes]) -> None:
        super().__init__(network)
        self._sign = sign

    def sign(self, operator: Operator, identity: Identity) -> bytes:
        return self._sign(operator, identity)


FALSE_SIGNATURES: dict[str, Callable[[Operator, Identity], bytes]] = {
    "another share": lambda _o, asked: bls.partial_sign(SecretScalar(4711), asked),
    "another application": lambda o, _asked: bls.partial_sign(o.share, identity_v2(CLUSTER, "your-app")),
    "infinity": lambda _o, _asked: BLS_G1_INFINITY,
    "no point": lambda _o, _asked: b"\xff" * 48,
}


@pytest.mark.parametrize("lie", FALSE_SIGNATURES)
async def test_a_false_partial_signature_is_worked_around_and_its_operator_named(
    network: FakeNetwork, known: Path, lie: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One of four. It may also come too late to matter: then nothing is said."""
    liar, honest = FalseSigner(network, FALSE_SIGNATURES[lie]), Honest(network)
    async with (
        operator_hosts(network, [liar, honest, honest, honest]),
        network_client(network, known) as client,
    ):
        info = await client.fetch()
        assert await client.decrypt(APP, encrypt(info, APP, SECRET)) == SECRET
    name = f"operator 0x{network.operators[0].address.hex()} sent a false partial signature"
    said = [record.getMessage() for record in caplog.records if "false partial" in record.getMessage()]
    assert said in ([], [name])


async def test_where_liars_are_too_many_they_are_named(
    network: FakeNetwork, honest: Honest, known: Path
) -> None:
    """Two of four: exit code 2, with both names and what they did."""
    liar = FalseSigner(network, FALSE_SIGNATURES["another share"])
    async with (
        operator_hosts(network, [liar, honest, honest, liar]),
        network_client(network, known) as client,
    ):
        await client.fetch()
        with pytest.raises(QuorumError, match="2 of 4 operators gave one, 3 needed") as error:
            await client.application_key(APP)
        for index in (0, 3):
            name = f"0x{network.operators[index].address.hex()}: its partial signature is false"
            assert name in str(error.value)


class Misdirected(Honest):
    """Seals an answer to something else than was asked."""

    def __init__(self, network: FakeNetwork, way: str) -> None:
        super().__init__(network)
        self.way = way

    def partial(self, operator: Operator, body: bytes) -> bytes:
        request, transcript = decode_partial_request(body), self.epoch().transcript
        signature = self.sign(operator, request.app_id)
        match self.way:
            case "another request":
                request = replace(request, nonce=bytes(32))
            case "another version":
                transcript = other_polynomial(self.network)
            case "another cluster":
                transcript = replace(transcript, cluster=ClusterId(bytes(32)))
            case "another reply key":
                request = replace(request, reply_key=b"\x09" + bytes(31))
            case "another operator":
                operator = self.network.operators[0]
            case "not signed by it":
                operator = replace(operator, key=bn254.KeyPair.from_secret(4711))
        return seal_partial(operator.key, operator.address, transcript, request, signature)


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        "another request",
        "another version",
        "another cluster",
        "another reply key",
        "another operator",
        "not signed by it",
    ],
)
async def test_an_answer_to_something_else_counts_for_nothing(
    network: FakeNetwork, honest: Honest, known: Path, way: str
) -> None:
    """Two of four: the quorum is missing, and both are named; one of four is not missed."""
    odd = Misdirected(network, way)
    async with operator_hosts(network, [honest, honest, odd, odd]), network_client(network, known) as client:
        await client.fetch()
        with pytest.raises(QuorumError, match="2 of 4 operators gave one, 3 needed") as error:
            await client.application_key(APP)
        for operator in network.operators[2:]:
            assert f"0x{operator.address.hex()}: " in str(error.value)
    async with (
        operator_hosts(network, [honest, honest, honest, odd]),
        network_client(network, known) as client,
    ):
        info = await client.fetch()
        assert await client.decrypt(APP, encrypt(info, APP, SECRET)) == SECRET


class Closed(Honest):
    """Grants nothing."""

    def partial(self, operator: Operator, body: bytes) -> bytes:
        raise RpcRefusal("not-authorised", "its policy is closed")


async def test_a_refusal_by_more_than_may_be_missing_is_a_refusal(
    network: FakeNetwork, honest: Honest, known: Path
) -> None:
    """Two of four: exit code 3. One of four: nobody notices."""
    closed = Closed(network)
    async with (
        operator_hosts(network, [honest, honest, closed, closed]),
        network_client(network, known) as client,
    ):
        await client.fetch()
        with pytest.raises(RefusedError, match="its policy is closed") as error:
            await client.application_key(APP)
        assert error.value.exit_code == 3
    async with (
        operator_hosts(network, [honest, closed, honest, honest]),
        network_client(network, known) as client,
    ):
        info = await client.fetch()
        assert await client.decrypt(APP, encrypt(info, APP, SECRET)) == SECRET


class Mute(Honest):
    """Tells the key and never answers for a partial signature."""

    async def answer(self, operator: Operator, request: Request) -> bytes:
        if request.method == rpc_methods.PARTIAL:
            await trio.sleep_forever()
        return await super().answer(operator, request)


async def test_who_does_not_answer_in_time_is_named(
    network: FakeNetwork, honest: Honest, known: Path, clock: MockClock
) -> None:
    """The client's own timeout ends it."""
    mute = Mute(network)
    async with (
        operator_hosts(network, [honest, mute, honest, mute]),
        network_client(network, known) as client,
    ):
        await client.fetch()

        def progress(line: str) -> None:
            if line.startswith("2 of 3 partial signatures"):
                clock.jump(PATIENCE)

        with pytest.raises(QuorumError, match="2 of 4 operators gave one") as error:
            await client.application_key(APP, progress=progress)
        for index in (1, 3):
            assert network.operators[index].address.hex() in str(error.value)


async def test_each_version_of_ciphertexts_has_its_key(
    network: FakeNetwork, honest: Honest, known: Path
) -> None:
    """The client asks for the one that the ciphertext needs; a key of one version opens nothing of the other."""
    async with operator_hosts(network, [honest] * 4), network_client(network, known) as client:
        info = await client.fetch()
        for version, other in ((1, 2), (2, 1)):
            ciphertext = encrypt(info, APP, SECRET, version)
            assert await client.decrypt(APP, ciphertext) == SECRET
            with pytest.raises(VerificationError):
                ciphertexts.decrypt(await client.application_key(APP, other), ciphertext)


async def test_what_is_no_ciphertext_is_refused_before_anybody_is_asked(
    network: FakeNetwork, honest: Honest, known: Path
) -> None:
    """Nothing is said to the network."""
    async with operator_hosts(network, [honest] * 4), network_client(network, known) as client:
        with pytest.raises(InputError):
            await client.decrypt(APP, b"nonsense")
        assert honest.asked == []


async def test_a_client_fetches_again_after_a_failure(
    network: FakeNetwork, honest: Honest, known: Path, clock: MockClock
) -> None:
    """The network may have moved on to another version meanwhile."""
    mute = Mute(network)
    async with network_client(network, known) as client:
        async with operator_hosts(network, [honest, mute, mute, honest]):
            await client.fetch()
            with pytest.raises(QuorumError):
                await client.application_key(APP, progress=lambda _line: clock.jump(PATIENCE))
        async with operator_hosts(network, [honest] * 4):
            assert (await client.application_key(APP)).secret == bls.partial_sign(network.secret, ID)
