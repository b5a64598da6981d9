"""What all schedules share: the operators, their keys, the boundaries, and every frame that depends on no schedule.

Keys, dealings and transcripts are functions of who, when and from what, so two schedules that amount to the same have the same
bytes. Dealings are real ones on the toy curves, each made once. The last operator is Byzantine, *the liar*: it has no machine, and
the scene signs for it whatever its key can sign.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Generic, TypeVar

from eigenkms.crypto import bn254, pvss
from eigenkms.crypto.feldman import combine_commitments
from eigenkms.crypto.scalars import SecretScalar, coordinate, coordinates, lagrange_at_zero
from eigenkms.crypto.shamir import Polynomial, combine_shares
from eigenkms.protocols.ceremony.jobs import DealJob, DealResult, OpenJob, OpenResult, run_job
from eigenkms.types import SessionId
from eigenkms.wire.dealing import DealingRow, build_dealing, encode_body, read_body, row_of
from eigenkms.wire.dealing_header import DealingHeader
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import (
    certificate_body,
    dealing_body,
    proposal_body,
    ref_of,
    source_of,
    view_change_body,
    vote_body,
)
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import ListedKey, Transcript
from eigenkms.wire.votes import Certificate, Phase, vote_digest
from tests.protocols.rooms import certify, encryption_key, key_frame, version_of
from tests.protocols.support import cast
from tests.support.randomness import counter_rng

N = 4
QUORUM = 3
LIAR = N - 1
CORRECT = tuple(range(LIAR))
BLOCKS = 10
"""Between boundaries. Session 0 made the first version."""


T = TypeVar("T")


class Numbers(Generic[T]):
    """Values by number, each once."""

    def __init__(self) -> None:
        self._numbers: dict[T, int] = {}
        self.values: list[T] = []

    def of(self, value: T) -> int:
        number = self._numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


class Scene:
    """Operators 0…3. Toy curves must be in use as long as a scene is."""

    def __init__(self) -> None:
        self.cast = cast(N)
        self.addresses = self.cast.addresses
        self._table = pvss.LogarithmTable()
        self.session = cache(self._session)
        self.certificate = cache(self._certificate)
        self.transcript = cache(self._transcript)
        self.vote = cache(self._vote)
        self.renamed_bytes = cache(self._renamed_bytes)
        self.meanings: dict[bytes, tuple[Any, ...]] = {
            a: ((frozenset({i}),),) for i, a in enumerate(self.addresses)
        }
        """Bytes that name operators, or what operators made: sets of operators, then what else it is."""
        self.numbers = Numbers[Any]()
        """Of renamed values, in all walks of a scene."""
        self.transcripts: dict[bytes, Transcript] = {}
        self.labels: dict[bytes, str] = {}
        self._polynomials: dict[bytes, Polynomial] = {}
        self._dealings: dict[tuple[int, int, bytes], tuple[DealResult, DealingHeader, bytes]] = {}
        self._opened: dict[tuple[bytes, bytes], OpenResult] = {}
        self.first = version_of(self.cast)
        self.transcripts[self.first.transcript.hash] = self.first.transcript
        self.labels[self.first.transcript.hash] = "V0"

    # -- who and when ------------------------------------------------------------------------------------------

    def _session(self, number: int) -> Session:
        return self.cast.later(BLOCKS * number)

    def number_of(self, made: Transcript | Session) -> int:
        """Of a session, or of the session that made a version."""
        return (made.boundary.number - self.cast.session.boundary.number) // BLOCKS

    def key(self, operator: int, number: int) -> pvss.EncryptionKey:
        """What an operator publishes in a session."""
        return encryption_key(self.cast, self.addresses[operator], self.session(number).boundary.number)

    def _listed(self, operator: int, number: int) -> ListedKey:
        return ListedKey(self.session(number).boundary.number, self.key(operator, number).public)

    def _frame(self, operator: int, number: int, kind: FrameKind, body: list[Any]) -> Frame:
        return self.cast.frame(self.addresses[operator], kind, body, session=self.session(number))

    # -- versions ----------------------------------------------------------------------------------------------

    def register(self, transcript: Transcript) -> None:
        """Note a transcript, how a schedule names it, and what it is made of."""
        if transcript.hash in self.transcripts:
            return
        number, source = self.number_of(transcript), transcript.source_hash
        dealers = frozenset(self.addresses.index(dealer) for dealer, _ in transcript.dealers)
        keys = enumerate(transcript.keys)
        old = frozenset(i for i, key in keys if key is not None and key.number != transcript.boundary.number)
        self.transcripts[transcript.hash] = transcript
        names = ["".join(map(str, sorted(group))) for group in (dealers, old)]
        self.labels[transcript.hash] = (
            f"V{number}({self.labels[source]} by {names[0]}, old keys of {names[1] or 'none'})"
        )
        self.meanings[transcript.hash] = ((dealers, old), number, source)
        self.meanings[transcript.encoded] = ((dealers, old), "encoded", number, source)

    def _transcript(
        self, number: int, source: bytes, dealers: tuple[int, ...], old: frozenset[int]
    ) -> Transcript:
        """A transcript of a session; for the operators in ``old`` it lists the source's key instead of the fresh one."""
        session, origin = self.session(number), self.transcripts[source]
        headers = [self._dealing(dealer, number, source)[1] for dealer in dealers]
        factors = lagrange_at_zero(coordinates([self.addresses[d] for d in dealers]))
        combined = combine_commitments(factors, [header.commitments for header in headers])
        keys = (origin.key_of(self.addresses[i]) if i in old else self._listed(i, number) for i in range(N))
        made = Transcript(
            session.cluster,
            session.id,
            session.boundary,
            session.recipients,
            session.threshold,
            int(origin.version),
            source,
            tuple((header.dealer, header.name) for header in headers),
            combined[0],
            combined,
            tuple(keys),
        )
        self.register(made)
        return made

    def share(self, operator: int, version: bytes) -> SecretScalar:
        """An operator's share of a version, computed from all polynomials."""
        if version == self.first.transcript.hash:
            return self.first.shares[self.addresses[operator]]
        dealers, names = zip(*self.transcripts[version].dealers, strict=True)
        x = coordinate(self.addresses[operator])
        shares = [self._polynomials[name].evaluate(x) for name in names]
        return combine_shares(lagrange_at_zero(coordinates(dealers)), shares)

    def ancestors(self, version: bytes) -> Sequence[bytes]:
        """A version and those that it was dealt from, newest first."""
        found = [version]
        while (source := self.transcripts[found[-1]].source_hash) in self.transcripts:
            found.append(source)
        return found

    # -- dealings ----------------------------------------------------------------------------------------------

    def dealt(self, operator: int, session: SessionId, source: bytes) -> DealResult:
        """An operator's only dealing from a version in a session, as the result of its job."""
        number = next(n for n in range(1, BLOCKS) if self.session(n).id == session)
        return self._dealing(operator, number, source)[0]

    def dealing_frame(self, operator: int, number: int, source: bytes) -> tuple[Frame, bytes, bytes]:
        """The frame, the name and the body of a dealing."""
        _, header, body = self._dealing(operator, number, source)
        said = dealing_body(ref_of(self.transcripts[source]), header.encoded)
        return self._frame(operator, number, FrameKind.DEALING, said), header.name, body

    def _dealing(self, operator: int, number: int, source: bytes) -> tuple[DealResult, DealingHeader, bytes]:
        key = (operator, number, source)
        if key not in self._dealings:
            self._dealings[key] = self._deal(operator, number, source)
        return self._dealings[key]

    def _deal(self, operator: int, number: int, source: bytes) -> tuple[DealResult, DealingHeader, bytes]:
        session, origin = self.session(number), self.transcripts[source]
        draw = counter_rng(f"dealing {operator} {number} {source.hex()}")
        polynomial = Polynomial.random(session.threshold, draw, self.share(operator, source))
        context = pvss.DealingContext(session.cluster, session.id, self.addresses[operator], source)
        listed = [(a, key) for a in self.addresses if (key := origin.key_of(a)) is not None]
        recipients = tuple(pvss.ShareRecipient(a, key.public) for a, key in listed)
        done = run_job(DealJob(ref_of(origin), context, recipients, (), polynomial), draw, None)
        assert isinstance(done, DealResult)
        numbers = tuple(key.number for _, key in listed)
        header = build_dealing(
            context, int(origin.version), polynomial.commitments(), done.encrypted, numbers
        )
        self._polynomials[header.name] = polynomial
        self.meanings[header.name] = ((frozenset({operator}),), "dealing", number, source)
        return done, header, encode_body(done.encrypted)

    def open(self, operator: int, job: OpenJob) -> OpenResult:
        """The result of decrypting, worked out once for each operator and key."""
        key = (job.version, job.key.public)
        if key not in self._opened:
            done = run_job(job, counter_rng(f"open {operator}"), self._table)
            assert isinstance(done, OpenResult)
            assert done.share is None or done.share == self.share(operator, job.version)
            self._opened[key] = done
        return self._opened[key]

    def row(self, name: bytes, operator: int) -> DealingRow:
        """What an operator gets of a dealing."""
        _, header, body = next(made for made in self._dealings.values() if made[1].name == name)
        position = header.position(operator)
        return DealingRow(
            header.encoded, b"" if position is None else row_of(read_body(header, body), position)
        )

    # -- what is said ------------------------------------------------------------------------------------------

    def _vote(self, operator: int, number: int, view: int, phase: Phase, digest: bytes) -> Frame:
        signed = vote_digest(self.session(number).id, view, phase, digest)
        signature = bn254.sign(self.cast.keys[self.addresses[operator]], signed)
        return self._frame(operator, number, FrameKind.VOTE, vote_body(view, phase, digest, signature))

    def _certificate(self, view: int, phase: Phase, digest: bytes, signers: tuple[int, ...]) -> Certificate:
        """One by these operators, each of which has voted so, or is the liar."""
        return certify(self.cast, self.transcripts[digest], phase, view, [self.addresses[i] for i in signers])

    def proposal(self, view: int, transcript: Transcript, justification: Certificate | None) -> Frame:
        """The liar proposes."""
        number = self.number_of(transcript)
        session = self.session(number)
        fresh = [
            a
            for a, key in zip(self.addresses, transcript.keys, strict=True)
            if key and key.number == session.boundary.number
        ]
        keys = [key_frame(self.cast, a, session=session).encoded for a in fresh]
        body = proposal_body(view, source_of(transcript), transcript.encoded, justification, keys)
        return self._frame(LIAR, number, FrameKind.PROPOSAL, body)

    def dud(self, number: int, view: int, source: bytes) -> Frame:
        """The liar proposes something that nobody can prepare: the view begins, and is wasted."""
        body = proposal_body(view, ref_of(self.transcripts[source]), b"nothing", None)
        return self._frame(LIAR, number, FrameKind.PROPOSAL, body)

    def view_change(self, number: int, view: int) -> Frame:
        """The liar says that it is in a view and knows of nothing."""
        return self._frame(LIAR, number, FrameKind.VIEW_CHANGE, view_change_body(view, None))

    def announcement(self, transcript: Transcript, certificate: Certificate) -> Frame:
        """The liar hands out a transcript with a certificate, of either phase."""
        body = certificate_body(transcript.encoded, certificate)
        return self._frame(LIAR, self.number_of(transcript), FrameKind.CERTIFICATE, body)

    # -- symmetry ----------------------------------------------------------------------------------------------

    def renamed(self, value: Any, names: tuple[int, ...]) -> Any:
        """``value`` as if operator i was ``names[i]``; so are the operators that the bytes in it name."""
        if isinstance(value, bytes):
            return self.renamed_bytes(value, names) if value in self.meanings else value
        if isinstance(value, tuple):
            return tuple(self.renamed(item, names) for item in value)
        if isinstance(value, frozenset):
            return frozenset(self.renamed(item, names) for item in value)
        return value

    def _renamed_bytes(self, value: bytes, names: tuple[int, ...]) -> Any:
        groups, *rest = self.meanings[value]
        return (
            tuple(frozenset(names[i] for i in group) for group in groups),
            self.renamed(tuple(rest), names),
        )
