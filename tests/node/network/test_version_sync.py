"""Which versions of others a node takes over: what their operators signed, if the chain had them and nothing newer is known."""

from dataclasses import dataclass, field, replace

import pytest

from eigenkms.chain.operator_set import ChainOperator
from eigenkms.node.key_versions import HeldVersion
from eigenkms.node.network.head_verifier import HeadVerifier
from eigenkms.node.network.version_sync import VersionSync
from eigenkms.p2p.identity import PeerId, PeerKey
from eigenkms.types import OperatorAddress
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.rpc_methods import VersionHead, encode_head
from eigenkms.wire.transcript import Transcript
from tests.protocols.rooms import certify, version_of
from tests.protocols.support import Cast, cast
from tests.support.fake_network import CLUSTER, FakeChain

PEER = PeerKey(bytes(range(32))).peer_id


@dataclass
class Node:
    """What ``VersionSync`` sees of the rest of a node, and a peer that shows one head."""

    shown: VersionHead
    held: tuple[HeldVersion, ...] = ()
    learnt: list[bytes] = field(default_factory=list)
    holders: list[tuple[OperatorAddress, ...]] = field(default_factory=list)

    async def call(self, *_question: object, **_limits: object) -> bytes:
        return encode_head(self.shown)

    def bound(self) -> list[PeerId]:
        return [PEER]

    def known(self) -> tuple[HeldVersion, ...]:
        return self.held

    @property
    def newest(self) -> HeldVersion | None:
        return self.held[-1] if self.held else None

    def add_holders(self, holders: tuple[ChainOperator, ...]) -> None:
        """Nobody is dialled."""
        assert holders
        self.holders.append(tuple(each.address for each in holders))

    async def adopt_version(self, _sink: object, head: VersionHead) -> None:
        self.learnt.append(head.transcript.hash)


def on_chain(who: Cast) -> tuple[ChainOperator, ...]:
    return tuple(ChainOperator(a, who.keys[a].g1, who.keys[a].g2, "nowhere") for a in who.addresses)


async def ask(node: Node, chain: FakeChain, *, min_operators: int = 1) -> list[bytes]:
    """What the node learns from its peer: hashes of transcripts."""
    verifier = HeadVerifier(chain, CLUSTER, node, min_operators)  # type: ignore[arg-type]
    sources = VersionSync(verifier, node, node, node, window=1.0)  # type: ignore[arg-type]
    await sources.query_all()
    return node.learnt


@pytest.fixture
def who() -> Cast:
    return cast(4)


def chain_of(who: Cast, lone: OperatorAddress) -> FakeChain:
    """Four operators today; up to block 60 there was one."""
    chain = FakeChain(on_chain(who))
    chain.past.append((60, on_chain(who.at(0, [lone]))))
    return chain


def signed_alone(who: Cast, lone: OperatorAddress, **changes: object) -> VersionHead:
    """A certified version of block 50, when one operator was the whole set."""
    made: Transcript = version_of(who.at(-50, [lone]), source=1).transcript
    made = replace(made, **changes)  # type: ignore[arg-type]
    return VersionHead(made, certify(who, made))


async def test_the_first_operator_alone_puts_no_version_above_todays(who: Cast) -> None:
    """The time in a transcript is its signers' choice. Peers and head stay what they were."""
    version, lone = version_of(who), who.addresses[0]
    mpk = version.transcript.mpk
    late = replace(who.at(-50).session.boundary, timestamp=int(version.transcript.version) + 1)
    head = signed_alone(who, lone, boundary=late, mpk=mpk, commitments=(mpk,))
    node = Node(head, (HeldVersion(CertifiedTranscript(version.transcript, version.certificate), None),))
    assert await ask(node, chain_of(who, lone)) == []
    assert node.holders == []
    newer = version_of(who.at(1), source=int(version.transcript.version))
    node.shown = VersionHead(
        replace(newer.transcript, mpk=mpk, commitments=version.transcript.commitments), newer.certificate
    )
    node.shown = replace(node.shown, certificate=certify(who, node.shown.transcript))
    assert await ask(node, chain_of(who, lone)) == [node.shown.transcript.hash]


@pytest.mark.parametrize(("min_operators", "is_taken"), [(1, True), (2, False)])
async def test_a_set_that_is_never_dealt_to_makes_no_version(
    who: Cast, min_operators: int, is_taken: bool
) -> None:
    """Whoever registered first was the whole set for a while: its word must not become the cluster's master key."""
    lone = who.addresses[0]
    node = Node(signed_alone(who, lone))
    assert bool(await ask(node, chain_of(who, lone), min_operators=min_operators)) is is_taken
