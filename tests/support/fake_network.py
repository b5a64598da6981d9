"""Operators with keys, shares and a certified version, made in a moment; real hosts that answer for them, truthfully or not.

Curves, signatures, frames and sockets are the real ones. The chain is a fake that knows the operator set at each block, and the
master secret is known to the test, as no ceremony is under test here: a version's shares are reshared by the same mathematics.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eigenkms.applications import Applications
from eigenkms.chain.config import Finality
from eigenkms.chain.operator_set import ChainOperator, RawOperatorSet
from eigenkms.client.api import Client, ClientSettings
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
from eigenkms.protocols.wire import rpc_methods
from eigenkms.protocols.wire.certified_transcript import CertifiedTranscript
from eigenkms.protocols.wire.client_rpc import (
    build_statement,
    decode_info_request,
    decode_partial_request,
    encode_info,
    seal_partial,
)
from eigenkms.protocols.wire.frames import Frame
from eigenkms.protocols.wire.peer_record import build_peer_record
from eigenkms.protocols.wire.session import ZERO32, Parameters, Session, cluster_id
from eigenkms.protocols.wire.settlement_proof import SettlementProof, confirm_digest
from eigenkms.protocols.wire.transcript import ListedKey, Transcript
from eigenkms.protocols.wire.votes import Certificate, Phase, aggregate, vote_digest
from eigenkms.types import BlockRef, Cluster, ClusterId, Member, OperatorAddress, OperatorSet
from tests.protocols.support import counter_rng
from tests.support.hosts import patient_host
from tests.support.waiting import PATIENCE

CHAIN = Cluster(31337, bytes(range(20)), 0)
CLUSTER = cluster_id(CHAIN)
PARAMETERS = Parameters(10, "latest", 1000)
ANYWHERE = "/ip4/127.0.0.1/tcp/0"


def block_at(number: int, seed: str = "block") -> BlockRef:
    return BlockRef(number, keccak256(seed.encode(), be64(number)), 1_700_000_000 + 12 * number)


class FakeChain:
    """A chain that has ``operators`` since the last change of the set; blocks of other seeds than ours are not on it."""

    def __init__(self, operators: tuple[ChainOperator, ...], head: int = 105) -> None:
        self.operators = operators
        self.past: list[tuple[int, tuple[ChainOperator, ...]]] = []
        """Earlier sets, each with the last block that had it, ascending."""
        self.rejected: tuple[tuple[OperatorAddress, str], ...] = ()
        """Members whose key nobody can use, and why."""
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
    """One operator: its keys, its share, and where it answers while it is up."""

    address: OperatorAddress
    key: bn254.KeyPair
    peer: PeerKey
    share: SecretScalar
    """Of the network's first version; of the others see ``shares``."""
    records: list[Frame] = field(default_factory=list)
    """What it passes on of others."""
    known: list[CertifiedTranscript] = field(default_factory=list)
    """Versions that it knows, ascending."""
    shares: dict[bytes, SecretScalar] = field(default_factory=dict)
    """By transcript hash, until it erases them."""

    def learn(self, version: "KeyVersion", *, share: bool = True) -> None:
        """Take the certificate of a version, and its share if there is one."""
        transcript = version.epoch.transcript
        if version.epoch not in self.known:
            self.known = sorted([*self.known, version.epoch], key=lambda e: e.transcript.version)
        if share and self.address in version.shares:
            self.shares[transcript.hash] = version.shares[self.address]

    def erase(self, version: "KeyVersion") -> None:
        """As when a higher version is certified."""
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
    """``operators`` ascend by address, but for those that joined: they follow."""

    operators: list[Operator]
    session: Session
    epoch: CertifiedTranscript
    chain: FakeChain
    secret: SecretScalar = field(repr=False)
    asked: list[tuple[OperatorAddress, bytes | str]] = field(default_factory=list)
    """Who was asked for what: a partial signature of a transcript hash, or a method. Kept by ``Keeper``."""

    def certify(
        self, transcript: Transcript, signers: list[Operator] | None = None, **changes: Any
    ) -> Certificate:
        """A commit certificate by all, or by ``signers``; ``changes`` are made after signing."""
        voters = self.operators if signers is None else signers
        digest = vote_digest(transcript.session, 0, Phase.COMMIT, transcript.hash)
        votes = {each.address: bn254.sign(each.key, digest) for each in voters}
        made = aggregate(transcript.session, 0, Phase.COMMIT, transcript.hash, votes, transcript.recipients)
        return replace(made, **changes)

    def place(self, index: int, socket: str) -> None:
        """Publish an operator's socket on the chain, as of today."""
        address = self.operators[index].address
        self.chain.operators = tuple(
            replace(o, socket=socket) if o.address == address else o for o in self.chain.operators
        )

    @property
    def first(self) -> KeyVersion:
        """The version that the network began with."""
        return KeyVersion(
            self.epoch,
            {o.address: o.share for o in self.operators if self.epoch.transcript.recipients.get(o.address)},
        )

    def join(self, count: int, seed: str = "joiners") -> list[Operator]:
        """New operators; they are members once ``change_set`` says so."""
        rng = counter_rng(seed)
        new = [
            Operator(OperatorAddress(rng(20)), bn254.KeyPair.generate(rng), PeerKey(rng(32)), SecretScalar(1))
            for _ in range(count)
        ]
        self.operators += new
        return new

    def change_set(self, members: Sequence[Operator]) -> None:
        """From the next block on, these are the operators on chain."""
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
        """The proof that a version of protocol 1 was settled, by so many operators; or by a stranger's ``key`` in place of each."""
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
        """The version of block ``number``: the source's shares, dealt anew to the operators on chain and combined.

        It lists an encryption key of each recipient, unless it is to be one of protocol 1.
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
    """Confirms of a version of protocol 1 by the holders of these keys."""
    session, name = transcript.session, transcript.hash
    confirms = {a: bn254.sign(key, confirm_digest(session, name)) for a, key in keys.items()}
    made = aggregate(session, 0, Phase.COMMIT, name, confirms, transcript.recipients)
    return SettlementProof(session, name, made.bitmap, made.signature)


def listed_key(operator: OperatorAddress, number: int) -> ListedKey:
    """The encryption key that an operator published at the boundary of this block."""
    rng = counter_rng(f"encryption key {operator.hex()} {number}")
    return ListedKey(number, pvss.EncryptionKey.generate(rng).public)


def make_session(keys: dict[OperatorAddress, bn254.KeyPair], number: int) -> Session:
    members = OperatorSet(tuple(Member(a, keys[a].g2) for a in sorted(keys)))
    return Session(CLUSTER, block_at(number), members, PARAMETERS)


def make_epoch(session: Session, polynomial: Polynomial, cluster: ClusterId = CLUSTER) -> Transcript:
    """The transcript that a genesis with this combined polynomial would have had."""
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
    """``n`` operators with a version of block ``number``; the same for the same seed."""
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
    """Answers as an operator does; a liar overrides a part."""

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
    """Answers by what its operator knows and holds at that moment, and refuses as a node does."""

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
    """One operator's host, answering by ``ways``, with its socket on the chain."""
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
    """A client of the network."""
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
        yield Client(settings, network.chain, host, applications)  # type: ignore[arg-type]
