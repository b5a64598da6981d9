"""The second opinion on a verified version, with a real registry on the embedded engine."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from eigenkms.chain.anchor import (
    Anchor,
    AnchorConfig,
    Commitment,
    commitment_to,
    deploy_registry,
    open_anchor,
    set_member,
)
from eigenkms.chain.rpc import JsonRpc
from eigenkms.chain.transactions import Sender
from eigenkms.client.anchor_check import check_anchor, require_enough
from eigenkms.client.known_clusters import KnownClusters
from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.scalars import threshold
from eigenkms.crypto.shamir import Polynomial
from eigenkms.devnet.engines import open_engine
from eigenkms.devnet.engines.accounts import PRIVATE_KEYS, address_of
from eigenkms.errors import NetworkError, VerificationError
from eigenkms.types import OperatorAddress
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.votes import Phase, aggregate, vote_digest
from tests.support.fake_network import (
    CHAIN,
    CLUSTER,
    FakeNetwork,
    Keeper,
    make_epoch,
    make_session,
    network_client,
    operator_host,
)
from tests.support.randomness import counter_rng

ACCOUNTS = sorted(PRIVATE_KEYS[2:6], key=address_of)
STRANGER = PRIVATE_KEYS[6]
OPERATORS = [OperatorAddress(address_of(account)) for account in ACCOUNTS]
ANCHOR_CHAIN = 31338


def certified() -> CertifiedTranscript:
    """A version of four operators with accounts, whose certificate the first three signed."""
    rng = counter_rng("anchored")
    keys = {operator: bn254.KeyPair.generate(rng) for operator in OPERATORS}
    session = make_session(keys, 100)
    transcript = make_epoch(session, Polynomial.random(threshold(4), rng))
    digest = vote_digest(session.id, 0, Phase.COMMIT, transcript.hash)
    votes = {operator: bn254.sign(keys[operator], digest) for operator in OPERATORS[:3]}
    return CertifiedTranscript(
        transcript,
        aggregate(session.id, 0, Phase.COMMIT, transcript.hash, votes, transcript.recipients),
    )


@dataclass
class Place:
    """A registry with everybody on its list, also a stranger, and what to write into it."""

    anchor: Anchor
    epoch: CertifiedTranscript

    async def write(self, account: bytes, commitment: Commitment | None = None) -> None:
        transcript = self.epoch.transcript
        await self.anchor.submit(
            self.anchor.sender(account), transcript.version, commitment or commitment_to(transcript)
        )


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with (
        open_engine("embedded", block_time=0, chain_id=ANCHOR_CHAIN) as engine,
        JsonRpc(engine.url) as rpc,
    ):
        owner = Sender(rpc, PRIVATE_KEYS[0], ANCHOR_CHAIN)
        registry = await deploy_registry(owner, CHAIN)
        for account in (*ACCOUNTS, STRANGER):
            await set_member(owner, registry, address_of(account))
        async with open_anchor(AnchorConfig(engine.url, ANCHOR_CHAIN, registry), CLUSTER) as anchor:
            yield Place(anchor, certified())


@pytest.mark.slow
async def test_recipients_that_agree_are_counted_and_nobody_else_is(place: Place) -> None:
    """From none to a threshold; a stranger whom the registry's owner let in changes nothing, whatever it writes."""
    right = commitment_to(place.epoch.transcript)
    await place.write(STRANGER, replace(right, transcript_hash=keccak256(b"a stranger's")))
    for count, account in enumerate(ACCOUNTS[:3]):
        witnesses = await check_anchor(place.anchor, place.epoch)
        assert witnesses.agreeing == tuple(OPERATORS[:count])
        assert witnesses.silent == tuple(OPERATORS[count:])
        with pytest.raises(
            NetworkError, match=f"{count} operators have anchored this version, and 3 are needed"
        ):
            require_enough(witnesses)
        await place.write(account)
    witnesses = await check_anchor(place.anchor, place.epoch)
    assert witnesses.enough
    require_enough(witnesses)


@pytest.mark.slow
async def test_one_recipient_that_wrote_something_else_is_enough_to_stop(place: Place) -> None:
    """It is named, with what it wrote, and whether it signed the certificate too; a wrong root is a lie as well."""
    right = commitment_to(place.epoch.transcript)
    false = keccak256(b"another transcript")
    for account in ACCOUNTS[:2]:
        await place.write(account)
    await place.write(ACCOUNTS[2], replace(right, transcript_hash=false))
    with pytest.raises(VerificationError) as told:
        await check_anchor(place.anchor, place.epoch)
    version, certified_hash = place.epoch.transcript.version, right.transcript_hash.hex()[:16]
    assert str(told.value) == (
        f"compare version {version} with the anchor: its transcript is {certified_hash}, and "
        f"0x{OPERATORS[2].hex()} anchored {false.hex()[:16]}, and signed the certificate"
    )
    assert "--no-anchor" in str(told.value.hint)
    await place.write(ACCOUNTS[3], replace(right, root=keccak256(b"another root")))
    with pytest.raises(VerificationError, match=f"0x{OPERATORS[3].hex()} anchored it with another root$"):
        await check_anchor(place.anchor, place.epoch)


async def test_a_key_that_a_witness_speaks_against_is_not_pinned(
    network: FakeNetwork, tmp_path: Path
) -> None:
    """Asked once the version is verified, and before its key is believed for ever."""
    seen: list[bytes] = []
    known = KnownClusters(tmp_path / "known")
    speaks = True

    async def witness(epoch: CertifiedTranscript) -> None:
        seen.append(epoch.transcript.hash)
        if speaks:
            raise VerificationError("no")

    for operator in network.operators:
        operator.learn(network.first)
    ways = Keeper(network)
    async with (
        operator_host(network, 0, ways),
        operator_host(network, 1, ways),
        operator_host(network, 2, ways),
        network_client(network, tmp_path / "known") as client,
    ):
        with pytest.raises(VerificationError, match="no"):
            await client.fetch(check=witness)
        assert known.get(CLUSTER) is None
        speaks = False
        await client.fetch(check=witness)
        assert known.get(CLUSTER) == network.epoch.transcript.mpk
        speaks = True
        with pytest.raises(VerificationError, match="no"):
            await client.fetch(check=witness)
    assert seen == [network.epoch.transcript.hash] * 3
