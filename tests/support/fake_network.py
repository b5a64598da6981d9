"""Operators with keys, shares and a certified version, and real hosts that answer for them, correctly or not.

Curves, signatures, frames and sockets are the real ones. The chain is a fake with the operator set of each block. No ceremony runs:
the test has the master secret, and reshares the shares of a version by the same mathematics. So a network is made in a moment.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eigenkms.applications import Applications
from eigenkms.chain.config import Finality
from eigenkms.chain.operator_set import ChainOperator, RawOperatorSet
from eigenkms.client.api import Client
from eigenkms.client.settings import ClientSettings
from eigenkms.client.transport import ClientTransport
from eigenkms.crypto import bls, bn254, pvss
from eigenkms.crypto.feldman import combine_commitments
from eigenkms.crypto.hashing import be64, keccak256
from eigenkms.crypto.ibe_identities import Identity
from eigenkms.crypto.scalars import SecretScalar, coordinate, lagrange_at_zero, threshold
from eigenkms.crypto.shamir import Polynomial, combine_shares
from eigenkms.errors import ChainError
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.host import Host, Request
from eigenkms.p2p.identity import PeerId, PeerKey
from eigenkms.types import BlockRef, Cluster, ClusterId, Member, OperatorAddress, OperatorSet
from eigenkms.wire import rpc_methods
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.client_rpc import (
    build_statement,
    decode_info_request,
    decode_partial_request,
    encode_info,
    seal_partial,
)
from eigenkms.wire.frames import Frame
from eigenkms.wire.peer_record import build_peer_record
from eigenkms.wire.session import ZERO32, Parameters, Session, cluster_id
from eigenkms.wire.settlement_proof import SettlementProof, confirm_digest
from eigenkms.wire.transcript import ListedKey, Transcript
from eigenkms.wire.votes import Certificate, Phase, aggregate, vote_digest
from tests.support.hosts import patient_host
from tests.support.randomness import counter_rng
from tests.support.waiting import PATIENCE

CHAIN = Cluster(31337, bytes(range(20)), 0)
CLUSTER = cluster_id(CHAIN)
PARAMETERS = Parameters(10, "latest", 1000)
ANYWHERE = "/ip4/127.0.0.1/tcp/0"


def block_at(number: int, seed: str = "block") -> BlockRef:
    return BlockRef(number, keccak256(seed.encode(), be64(number)), 1_700_000_000 + 12 * number)


class FakeChain:
    """A chain with ``operators`` since the last change of the set. Blocks of another seed are not on it."""

    def __init__(self, operators: tuple[ChainOperator, ...], head: int = 105) -> None:
        self.operators = operators
        self.past: list[tuple[int, tuple[ChainOperator, ...]]] = []
        """Earlier sets, each with the last block that had it, ascending."""
        self.rejected: tuple[tuple[OperatorAddress, str], ...] = ()
        """Members with an unusable key, and the reason."""
        self.number = head
        self.down = False
        self.left = False
        self.rpc = None

    def _check_up(self) -> None:
        if self.down:
            raise ChainError("call the fake chain: it is down")

    async def head(self) -> BlockRef:
        self._check_up()
        return block_at(self.number)

    async def newest_number(self) -> int:
        self._check_up()
        return self.number

    async def block(self, number_or_hash: int | bytes) -> BlockRef | None:
        self._check_up()
        assert isinstance(number_or_hash, int)
        return block_at(number_or_hash) if number_or_hash <= self.number else None

    async def operators_at(self, block: BlockRef) -> RawOperatorSet:
        self._check_up()
        found = next((past for last, past in self.past if block.number <= last), self.operators)
        return RawOperatorSet(block, found, self.rejected)

    agreed_operators_at = operators_at

    async def members_ever_left(self, block: BlockRef) -> bool:
        self._check_up()
        return self.left


@dataclass
class Operator:
    """One operator: its keys, its shares and the versions that it has."""

    address: OperatorAddress
    key: bn254.KeyPair
    peer: PeerKey
    share: SecretScalar
    """The share of the network's first version; ``shares`` has those of the others."""
    records: list[Frame] = field(default_factory=list)
    """Peer records of others that it passes on."""
    known: list[CertifiedTranscript] = field(default_factory=list)
    """Versions that it has, ascending."""
    shares: dict[bytes, SecretScalar] = field(default_factory=dict)
    """Shares by transcript hash, until they are erased."""

    def learn(self, version: "KeyVersion", *, share: bool = True) -> None:
        """Store a version, and this operator's share if there is one."""
        transcript = version.epoch.transcript
        if version.epoch not in self.known:
            self.known = sorted([*self.known, version.epoch], key=lambda e: e.transcript.version)
        if share and self.address in version.shares:
            self.shares[transcript.hash] = version.shares[self.address]

    def erase(self, version: "KeyVersion") -> None:
        """Erase the share of a version, as when a higher version is certified."""
        self.shares.pop(version.epoch.transcript.hash, None)

    def record(self, addresses: list[str], *, peer: PeerId | None = None, sequence: int = 1) -> Frame:
        return build_peer_record(
            self.key,
            cluster=CLUSTER,
            operator=self.address,
            peer_id=bytes(peer or self.peer.peer_id),
            addresses=addresses,
            sequence=sequence,
        )


@dataclass(frozen=True)
class KeyVersion:
    """A certified version and the shares of its recipients."""

    epoch: CertifiedTranscript
    shares: dict[OperatorAddress, SecretScalar] = field(repr=False)


@dataclass
class FakeNetwork:
    """The operators and their chain. ``operators`` ascend by address; those that joined follow."""

    operators: list[Operator]
    session: Session
    epoch: CertifiedTranscript
    chain: FakeChain
    secret: SecretScalar = field(repr=False)
    asked: list[tuple[OperatorAddress, bytes | str]] = field(default_factory=list)
    """Requests by operator: the transcript hash of a partial signature, or the method. ``Keeper`` records them."""

    def certify(
        self, transcript: Transcript, signers: list[Operator] | None = None, **changes: Any
    ) -> Certificate:
        """Return a commit certificate by all, or by ``signers``, with ``changes`` made after signing."""
        voters = self.operators if signers is None else signers
        digest = vote_digest(transcript.session, 0, Phase.COMMIT, transcript.hash)
        votes = {each.address: bn254.sign(each.key, digest) for each in voters}
        made = aggregate(transcript.session, 0, Phase.COMMIT, transcript.hash, votes, transcript.recipients)
        return replace(made, **changes)

    def place(self, index: int, socket: str) -> None:
        """Publish an operator's socket on the chain."""
        address = self.operators[index].address
        self.chain.operators = tuple(
            replace(o, socket=socket) if o.address == address else o for o in self.chain.operators
        )

    @property
    def first(self) -> KeyVersion:
        """Return the version that the network began with."""
        return KeyVersion(
            self.epoch,
            {o.address: o.share for o in self.operators if self.epoch.transcript.recipients.get(o.address)},
        )

    def join(self, count: int, seed: str = "joiners") -> list[Operator]:
        """Add operators. They become members by ``change_set``."""
        rng = counter_rng(seed)
        new = [
            Operator(OperatorAddress(rng(20)), bn254.KeyPair.generate(rng), PeerKey(rng(32)), SecretScalar(1))
            for _ in range(count)
        ]
        self.operators += new
        return new

    def change_set(self, members: Sequence[Operator]) -> None:
        """Make these the operators on chain from the next block on."""
        sockets = {o.address: o.socket for o in self.chain.operators}
        self.chain.past.append((self.chain.number, self.chain.operators))
        self.chain.operators = tuple(
            ChainOperator(o.address, o.key.g1, o.key.g2, sockets.get(o.address, "nowhere"))
            for o in sorted(members, key=lambda o: o.address)
        )
        self.chain.number += 1

    def settle(
        self, epoch: CertifiedTranscript, signers: int = 4, *, key: bn254.KeyPair | None = None
    ) -> SettlementProof:
        """Return the proof that the first ``signers``, each perhaps by a stranger's ``key``, settled a version of protocol 1."""
        return prove_settled(epoch.transcript, {o.address: key or o.key for o in self.operators[:signers]})

    def reshare(
        self,
        source: KeyVersion,
        number: int,
        *,
        signers: list[Operator] | None = None,
        seed: str = "reshare",
        lists_keys: bool = True,
    ) -> KeyVersion:
        """Reshare ``source`` to the operators on chain, as the version of block ``number``.

        It lists an encryption key of each recipient. One of protocol 1 lists none.
        """
        rng = counter_rng(f"{seed} {number}")
        self.chain.number = max(self.chain.number, number + 5)
        members = [o for o in self.operators if any(c.address == o.address for c in self.chain.operators)]
        session = make_session({o.address: o.key for o in members}, number)
        old = source.epoch.transcript
        dealers = old.recipients.addresses[: old.threshold]
        factors = lagrange_at_zero([coordinate(d) for d in dealers])
        dealt = [Polynomial.random(session.threshold, rng, source.shares[d]) for d in dealers]
        transcript = Transcript(
            old.cluster,
            session.id,
            session.boundary,
            session.recipients,
            session.threshold,
            old.version,
            old.hash,
            tuple((d, keccak256(b"dealing", be64(number), d)) for d in dealers),
            old.mpk,
            combine_commitments(factors, [p.commitments() for p in dealt]),
            tuple(listed_key(o.address, number) for o in session.recipients) if lists_keys else (),
        )
        shares = {
            o.address: combine_shares(factors, [p.evaluate(coordinate(o.address)) for p in dealt])
            for o in members
        }
        return KeyVersion(
            CertifiedTranscript(transcript, self.certify(transcript, signers or members)), shares
        )


def prove_settled(transcript: Transcript, keys: Mapping[OperatorAddress, bn254.KeyPair]) -> SettlementProof:
    """Return the confirmation of a version of protocol 1 by the holders of these keys."""
    session, name = transcript.session, transcript.hash
    confirms = {a: bn254.sign(key, confirm_digest(session, name)) for a, key in keys.items()}
    made = aggregate(session, 0, Phase.COMMIT, name, confirms, transcript.recipients)
    return SettlementProof(session, name, made.bitmap, made.signature)


def listed_key(operator: OperatorAddress, number: int) -> ListedKey:
    """Return the encryption key that an operator published at the boundary of this block."""
    rng = counter_rng(f"encryption key {operator.hex()} {number}")
    return ListedKey(number, pvss.EncryptionKey.generate(rng).public)


def make_session(keys: dict[OperatorAddress, bn254.KeyPair], number: int) -> Session:
    members = OperatorSet(tuple(Member(a, keys[a].g2) for a in sorted(keys)))
    return Session(CLUSTER, block_at(number), members, PARAMETERS)


def make_epoch(session: Session, polynomial: Polynomial, cluster: ClusterId = CLUSTER) -> Transcript:
    """Return the transcript that a genesis with this combined polynomial would have."""
    commitments = polynomial.commitments()
    dealers = tuple((a, keccak256(b"dealing", a)) for a in session.recipients.addresses)
    return Transcript(
        cluster,
        session.id,
        session.boundary,
        session.recipients,
        session.threshold,
        0,
        ZERO32,
        dealers,
        commitments[0],
        commitments,
    )


def make_network(n: int = 4, *, seed: str = "village", number: int = 100) -> FakeNetwork:
    """Return ``n`` operators with a version of block ``number``, always the same for one seed."""
    rng = counter_rng(seed)
    keys = {OperatorAddress(rng(20)): bn254.KeyPair.generate(rng) for _ in range(n)}
    session = make_session(keys, number)
    polynomial = Polynomial.random(threshold(n), rng)
    operators = [
        Operator(a, keys[a], PeerKey(rng(32)), polynomial.evaluate(coordinate(a)))
        for a in session.recipients.addresses
    ]
    on_chain = tuple(ChainOperator(o.address, o.key.g1, o.key.g2, "nowhere") for o in operators)
    transcript = make_epoch(session, polynomial)
    network = FakeNetwork(
        operators,
        session,
        CertifiedTranscript(transcript, Certificate(session.id, 0, Phase.COMMIT, transcript.hash, b"", b"")),
        FakeChain(on_chain),
        polynomial.constant,
    )
    network.epoch = CertifiedTranscript(transcript, network.certify(transcript))
    return network


Answer = Callable[[Operator, Request], Awaitable[bytes]]


class Honest:
    """Answers as a correct operator does. A faulty operator overrides a part."""

    def __init__(self, network: FakeNetwork) -> None:
        self.network = network
        self.asked: list[str] = []

    async def answer(self, operator: Operator, request: Request) -> bytes:
        self.asked.append(request.method)
        if request.method == rpc_methods.INFO:
            return self.info(operator, request.body)
        if request.method == rpc_methods.PARTIAL:
            return self.partial(operator, request.body)
        raise RpcRefusal("unknown-method")

    def epoch(self) -> CertifiedTranscript:
        return self.network.epoch

    def info(self, operator: Operator, body: bytes) -> bytes:
        _, nonce = decode_info_request(body)
        return encode_info(self.epoch(), self.statement(operator, nonce), operator.records)

    def statement(self, operator: Operator, nonce: bytes) -> Frame:
        return build_statement(operator.key, operator.address, self.epoch().transcript, nonce)

    def partial(self, operator: Operator, body: bytes) -> bytes:
        request = decode_partial_request(body)
        signature = self.sign(operator, request.identity)
        return seal_partial(operator.key, operator.address, self.epoch().transcript, request, signature)

    def sign(self, operator: Operator, identity: Identity) -> bytes:
        return bls.partial_sign(operator.share, identity)


class Keeper(Honest):
    """Answers by the versions and shares that the operator has at that moment, and refuses as a node does."""

    async def answer(self, operator: Operator, request: Request) -> bytes:
        partial = request.method == rpc_methods.PARTIAL
        what = decode_partial_request(request.body).transcript_hash if partial else request.method
        self.network.asked.append((operator.address, what))
        return await super().answer(operator, request)

    def info(self, operator: Operator, body: bytes) -> bytes:
        _, nonce = decode_info_request(body)
        if not operator.known:
            raise RpcRefusal("no-version", "none yet")
        return self.show(operator, operator.known[-1], nonce)

    def show(self, operator: Operator, epoch: CertifiedTranscript, nonce: bytes) -> bytes:
        statement = build_statement(operator.key, operator.address, epoch.transcript, nonce)
        return encode_info(epoch, statement, operator.records)

    def partial(self, operator: Operator, body: bytes) -> bytes:
        request = decode_partial_request(body)
        epoch = next((e for e in operator.known if e.transcript.hash == request.transcript_hash), None)
        if epoch is None:
            raise RpcRefusal("unknown-version", "this operator does not know that key version")
        share = operator.shares.get(request.transcript_hash)
        if share is None:
            raise RpcRefusal("no-share", "this operator holds no share of that key version")
        signature = self.sign_with(share, request.identity)
        return seal_partial(operator.key, operator.address, epoch.transcript, request, signature)

    def sign_with(self, share: SecretScalar, identity: Identity) -> bytes:
        return bls.partial_sign(share, identity)


@asynccontextmanager
async def operator_host(network: FakeNetwork, index: int, ways: Honest) -> AsyncIterator[Host]:
    """Run the host of one operator, which answers by ``ways``, with its socket on the chain."""
    operator = network.operators[index]

    async def handler(request: Request) -> bytes:
        return await ways.answer(operator, request)

    async with patient_host(operator.peer, listen=[ANYWHERE]) as host:
        host.serve(rpc_methods.CLIENT_PROTOCOL, handler)
        host.serve(rpc_methods.OPERATOR_PROTOCOL, handler)
        network.place(index, str(host.addresses[0]))
        yield host


@asynccontextmanager
async def network_client(
    network: FakeNetwork, known: Path, *, within: float = PATIENCE, applications: Applications | None = None
) -> AsyncIterator[Client]:
    """Open a client of the network."""
    settings = ClientSettings(
        rpc_url="http://fake.invalid",
        chain_id=CHAIN.chain_id,
        avs=CHAIN.avs,
        operator_set_id=CHAIN.operator_set_id,
        allocation_manager=b"\x01" * 20,
        key_registrar=b"\x02" * 20,
        finality=Finality.parse("latest"),
        known_clusters_path=known,
        timeout=within,
    )
    async with patient_host(PeerKey.generate()) as host:
        transport = ClientTransport(CHAIN, network.chain, host)  # type: ignore[arg-type]
        yield Client(settings, transport, applications)


@asynccontextmanager
async def operator_hosts(network: FakeNetwork, ways: Sequence[Honest | None]) -> AsyncIterator[None]:
    """Run the hosts of all operators, each with its own ways. ``None`` is down: nothing listens at its socket."""
    async with AsyncExitStack() as stack:
        for index, way in enumerate(ways):
            if way is None:
                network.place(index, f"/ip4/127.0.0.1/tcp/1/p2p/{network.operators[index].peer.peer_id}")
            else:
                await stack.enter_async_context(operator_host(network, index, way))
        yield
