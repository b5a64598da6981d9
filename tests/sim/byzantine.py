"""Byzantine operators: an honest machine whose words, bodies and work are changed on their way out.

An attack takes one outgoing frame and returns what leaves instead: pairs of (recipient or None for everybody, frame). All keys that
an attack signs with are its own operator's. A ``Pose`` is set up once for an operator. It changes more than frames: what a dealing
encrypts, who gets which body, which versions are named. Randomness comes from the seed of the world, so every attack can be
replayed.
"""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from eigenkms.crypto import bn254, pvss
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.ceremony.jobs import DealJob, DealResult, Job, Result, run_job
from eigenkms.protocols.ceremony.sharing import SharingPhase
from eigenkms.types import OperatorAddress
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.dealing import build_dealing, encode_body
from eigenkms.wire.dealing_header import DealingHeader, decode_header
from eigenkms.wire.frames import Frame, FrameKind, build_frame, decode_frame
from eigenkms.wire.key_directory import key_slot
from eigenkms.wire.messages import (
    GENESIS,
    SourceRef,
    dealing_body,
    key_body,
    proposal_body,
    read_dealing,
    read_proposal,
    read_view_change,
    read_vote,
    source_of,
    view_change_body,
    vote_body,
)
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import Transcript, decode_transcript
from eigenkms.wire.votes import VOID_HASH, Certificate, Phase, aggregate, vote_digest
from tests.sim.world import logarithms

if TYPE_CHECKING:
    from tests.sim.node import Answer, Node
    from tests.sim.world import World

Outgoing: TypeAlias = Sequence[tuple[OperatorAddress | None, Frame]]
Attack: TypeAlias = Callable[["Byzantine", Frame, OperatorAddress | None], Outgoing]
Pose: TypeAlias = Callable[["Byzantine"], None]


class Byzantine:
    """Runs ``attacks`` one after the other over everything that ``node`` says."""

    def __init__(self, world: "World", node: "Node", *attacks: Attack) -> None:
        self.world, self.node, self.attacks = world, node, attacks
        self.random = random.Random(f"{world.seed}/{node.address.hex()}")
        self.memory: dict[Any, Any] = {}
        self.bodies: dict[bytes, bytes] = {}
        """Of dealings that the honest machine inside knows nothing of."""
        node.tamper = self
        node.serves_body = self._serves

    def __call__(self, frame: Frame, recipient: OperatorAddress | None) -> Outgoing:
        outgoing: Outgoing = [(recipient, frame)]
        for attack in self.attacks:
            outgoing = [out for to, f in outgoing for out in self._run(attack, f, to)]
        return outgoing

    def _run(self, attack: Attack, frame: Frame, to: OperatorAddress | None) -> Outgoing:
        try:
            return attack(self, frame, to)
        except (MalformedError, LookupError, TypeError, ValueError):
            return [(to, frame)]  # an earlier attack left nothing of the frame to work with

    # -- tools -------------------------------------------------------------------------------------------------

    @property
    def me(self) -> OperatorAddress:
        return self.node.address

    @property
    def others(self) -> list[OperatorAddress]:
        return [a for a in self.world.nodes if a != self.me]

    def session(self, frame: Frame) -> Session:
        return self.world.session(frame.session)

    def some(self, name: object) -> frozenset[OperatorAddress]:
        """About half of the others, the same ones whenever asked for the same thing."""
        if name not in self.memory:
            size = self.random.randint(1, max(1, len(self.others) - 1)) if self.others else 0
            self.memory[name] = frozenset(self.random.sample(self.others, size))
        return self.memory[name]  # type: ignore[no-any-return]

    def say(
        self,
        like: Frame,
        body: Any,
        *,
        kind: FrameKind | None = None,
        recipient: OperatorAddress | None = None,
        session: Session | None = None,
        sender: OperatorAddress | None = None,
        cluster: bytes | None = None,
    ) -> Frame:
        """A frame of mine with another content."""
        where = session or self.session(like)
        return build_frame(
            self.node.key,
            kind=like.kind if kind is None else kind,
            cluster=where.cluster if cluster is None else cluster,  # type: ignore[arg-type]
            sender=sender or self.me,
            session=where.id,
            body=body,
            recipient=recipient,
        )

    def split(self, name: object, to: OperatorAddress | None, one: Frame, other: Frame) -> Outgoing:
        """One frame for some, another for the rest."""
        chosen = self.some(name)
        targets = self.others if to is None else [to]
        return [(a, one if a in chosen else other) for a in targets]

    def once(self, name: object, make: Callable[[], Any]) -> Any:
        if name not in self.memory:
            self.memory[name] = make()
        return self.memory[name]

    def vote(self, like: Frame, view: int, phase: Phase, digest: bytes) -> Frame:
        signature = bn254.sign(self.node.key, vote_digest(self.session(like).id, view, phase, digest))
        return self.say(like, vote_body(view, phase, digest, signature), kind=FrameKind.VOTE)

    def _serves(self, _asker: OperatorAddress, name: bytes, body: bytes | None) -> bytes | None:
        return self.bodies.get(name, body)

    def dealings(self, frame: Frame, source: SourceRef | None = None) -> SharingPhase:
        """What the honest machine inside knows of the dealings from a source, or the highest one, in the session of ``frame``."""
        ceremony = self.node.operator.ceremony(frame.session)  # type: ignore[union-attr]
        if ceremony is None:
            raise KeyError("it is not in this session")
        found = ceremony._sources.current if source is None else ceremony._sources.get(source)
        if found is None:
            raise KeyError("it does not deal from this version")
        return found

    def deal(self, job: DealJob, polynomial: Polynomial) -> DealResult:
        """The job with another polynomial."""
        changed = replace(job, polynomial=polynomial)
        dealt = run_job(changed, self.random.randbytes, logarithms(""))
        assert isinstance(dealt, DealResult)
        return dealt

    def other_polynomial(self, job: DealJob, *, constant: bool) -> Polynomial:
        """A random one of the same degree, with the same constant term or another one."""
        own = job.polynomial
        return Polynomial.random(
            len(own.commitments()), self.random.randbytes, own.constant if constant else None
        )


# -- omissions -------------------------------------------------------------------------------------------------


def mute(kinds: Sequence[FrameKind]) -> Attack:
    """Never says frames of these kinds."""
    return lambda _self, frame, to: [] if frame.kind in kinds else [(to, frame)]


def mute_to_some(kinds: Sequence[FrameKind]) -> Attack:
    """Says them to some only, always the same ones."""

    def attack(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
        if frame.kind not in kinds:
            return [(to, frame)]
        deaf = self.some(("mute", tuple(kinds), frame.session))
        return [(a, frame) for a in (self.others if to is None else [to]) if a not in deaf]

    return attack


def late(kinds: Sequence[FrameKind], seconds: float) -> Attack:
    """Says them late, by which time another phase has begun for some."""

    def attack(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
        if frame.kind not in kinds:
            return [(to, frame)]
        for target in self.others if to is None else [to]:
            self.world.at(
                seconds * self.random.uniform(0.9, 1.1),
                partial(self.world.send, self.me, target, frame),
            )
        return []

    return attack


silent = mute(list(FrameKind))


# -- dealing ---------------------------------------------------------------------------------------------------


def two_dealings(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """One dealing for some, another for the rest; both are valid."""
    if frame.kind is not FrameKind.DEALING or self.memory.get("job") is None:
        return [(to, frame)]
    job: DealJob = self.memory["job"]
    if job.context.session != frame.session:
        return [(to, frame)]

    def make() -> Frame:
        again = job.polynomial if job.source == GENESIS else self.other_polynomial(job, constant=True)
        own, dealt = decode_header(read_dealing(frame).header), self.deal(job, again)
        commitments = dealt.job.polynomial.commitments()
        header = build_dealing(
            job.context, job.source.version, commitments, dealt.encrypted, own.key_numbers, job.newcomers
        )
        self.bodies[header.name] = encode_body(dealt.encrypted)
        return self.say(frame, dealing_body(job.source, header.encoded))

    other = self.once(("two dealings", frame.session, job.source), make)
    return self.split(("two dealings", frame.session), to, other, frame)


def remembers_jobs(self: Byzantine) -> None:
    """Keeps what it deals, for ``two_dealings``."""

    def works(job: Job, result: Result) -> Result:
        if isinstance(job, DealJob):
            self.memory["job"] = job
        return result

    self.node.works_on = works


def bad_header(change: Callable[[DealingHeader], DealingHeader]) -> Attack:
    """Deals with a header that does not fit."""

    def attack(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
        if frame.kind is not FrameKind.DEALING:
            return [(to, frame)]
        message = read_dealing(frame)
        own = decode_header(message.header)
        bad = change(own)
        body = self.node.operator.body(own.name)  # type: ignore[union-attr]
        if body is not None:
            self.bodies[bad.name] = body
        return [(to, self.say(frame, dealing_body(message.source, bad.encoded)))]

    return attack


BAD_HEADERS: dict[str, Callable[[DealingHeader], DealingHeader]] = {
    "a commitment less": lambda h: replace(h, commitments=h.commitments[:-1]),
    "a commitment more": lambda h: replace(h, commitments=(*h.commitments, h.commitments[-1])),
    "a commitment at infinity": lambda h: replace(h, commitments=(*h.commitments[:-1], b"\xc0" + bytes(95))),
    "garbage for a commitment": lambda h: replace(h, commitments=(*h.commitments[:-1], b"\x99" * 96)),
    "another source": lambda h: replace(h, source_version=h.source_version + 1, source_hash=b"\x01" * 32),
    "another session": lambda h: replace(h, session=type(h.session)(b"\x01" * 32)),
    "another dealer": lambda h: replace(h, dealer=OperatorAddress(b"\x01" * 20)),
    "a recipient less": lambda h: replace(h, key_numbers=(None, *h.key_numbers[1:])),
    "other numbers": lambda h: replace(
        h, key_numbers=tuple(None if k is None else k + 1 for k in h.key_numbers)
    ),
    "garbage for a newcomer": lambda h: replace(h, newcomers=(b"garbage", *h.newcomers)[: h.rows]),
    "no newcomers": lambda h: replace(h, newcomers=()),
    "other rows": lambda h: replace(h, rows_root=b"\x01" * 32),
    "other proofs": lambda h: replace(h, proofs=b"\x01" * 32),
}


def serves_some(self: Byzantine) -> None:
    """Bodies to some only."""

    def serves(asker: OperatorAddress, name: bytes, body: bytes | None) -> bytes | None:
        return None if asker in self.some(("no body", name)) else self.bodies.get(name, body)

    self.node.serves_body = serves


def serves_nobody(self: Byzantine) -> None:
    """No bodies at all."""
    self.node.serves_body = lambda _asker, _name, _body: None


def serves_garbage(self: Byzantine) -> None:
    """Bodies with a flipped bit, to some."""

    def serves(asker: OperatorAddress, name: bytes, body: bytes | None) -> bytes | None:
        body = self.bodies.get(name, body)
        if body is None or asker not in self.some(("bad body", name)):
            return body
        place = self.random.randrange(len(body))
        return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]

    self.node.serves_body = serves


def _deals(change: Callable[[Byzantine, DealJob, DealResult], DealResult]) -> Pose:
    def pose(self: Byzantine) -> None:
        def works(job: Job, result: Result) -> Result:
            if not isinstance(job, DealJob):
                return result
            assert isinstance(result, DealResult)
            return change(self, job, result)

        self.node.works_on = works

    return pose


def _wrong_shares(self: Byzantine, job: DealJob, result: DealResult) -> DealResult:
    """Shares of another polynomial than the committed one; the proof is of the other."""
    return DealResult(result.job, self.deal(job, self.other_polynomial(job, constant=True)).encrypted)


def _wrong_constant(self: Byzantine, job: DealJob, _result: DealResult) -> DealResult:
    """In a rotation another secret than its share."""
    return self.deal(job, self.other_polynomial(job, constant=False))


def _without_newcomers(
    self: Byzantine, job: DealJob, result: DealResult, but: Collection[OperatorAddress] = ()
) -> DealResult:
    """Leaves every newcomer out ``but`` these, if there are any and others remain."""
    session = self.world.session(job.context.session)
    ceremony = self.node.operator.ceremony(session.id)  # type: ignore[union-attr]
    dealings = None if ceremony is None else ceremony._sources.get(job.source)
    newcomers = set() if dealings is None else {*dealings._terms.newcomers} - {*but}
    rest = tuple(r for r in job.recipients if r.address not in newcomers)
    if job.source == GENESIS or not newcomers or not rest:
        return result
    keys = tuple(key for key in job.newcomers if decode_frame(key).sender not in newcomers)
    return self.deal(replace(job, recipients=rest, newcomers=keys), job.polynomial)


def without_newcomers_but(some: Collection[OperatorAddress]) -> Pose:
    """Serves these alone of the newcomers."""
    return _deals(partial(_without_newcomers, but=some))


def key_at(moments: Mapping[OperatorAddress, float]) -> Attack:
    """Shows its encryption key to each at its own moment, in seconds from when it would."""

    def attack(self: Byzantine, frame: Frame, _to: OperatorAddress | None) -> Outgoing:
        if frame.kind is not FrameKind.KEY:
            return [(_to, frame)]
        for target, seconds in moments.items():
            self.world.at(seconds, partial(self.world.send, self.me, target, frame))
        return []

    return attack


wrong_shares, wrong_constant, without_newcomers = map(
    _deals, (_wrong_shares, _wrong_constant, _without_newcomers)
)


# -- keys ------------------------------------------------------------------------------------------------------


def two_keys(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """One encryption key for some, another for the rest."""
    if frame.kind is not FrameKind.KEY:
        return [(to, frame)]

    def make() -> Frame:
        rng = self.random.randbytes
        key = pvss.EncryptionKey.generate(rng)
        proof = pvss.prove_possession(key, key_slot(self.session(frame), self.me), rng)
        return self.say(frame, key_body(key.public, proof))

    return self.split(("two keys", frame.session), to, self.once(("key", frame.session), make), frame)


def unproved_key(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """A key whose proof of possession does not hold."""
    if frame.kind is not FrameKind.KEY:
        return [(to, frame)]
    public, proof = frame.body
    return [(to, self.say(frame, key_body(public, proof[:-1] + bytes([proof[-1] ^ 1]))))]


# -- agreement -------------------------------------------------------------------------------------------------


def _with(transcript: Transcript, **changes: Any) -> bytes:
    fields = {name: getattr(transcript, name) for name in transcript.__dataclass_fields__}
    return Transcript(**{**fields, **changes}).encoded


def _other_transcript(self: Byzantine, frame: Frame, transcript: Transcript) -> Transcript:
    """Another one that may be prepared as well, if there is any: of other dealers, or with the keys of the source."""
    dealings = self.dealings(frame, source_of(transcript))
    dealers = tuple(sorted(dealings._pool.countable[-dealings.needed :]))
    if dealings.source is not None and dealers != tuple(d for d, _ in transcript.dealers):
        return dealings._drafter.transcript(dealers, transcript.keys)
    return decode_transcript(_carried_over(self, frame, transcript))


def _carried_over(self: Byzantine, frame: Frame, transcript: Transcript) -> bytes:
    """The keys of the source for all that have one there."""
    dealings = self.dealings(frame, source_of(transcript))
    pairs = zip(transcript.recipients.addresses, transcript.keys, strict=True)
    return _with(transcript, keys=tuple(dealings._terms.listed(a) or key for a, key in pairs))


def _proposes(change: Callable[[Byzantine, Frame, Transcript], bytes], *, split: bool, fresh: bool) -> Attack:
    """As leader proposes another transcript, to all or to some, and votes for it in both phases; as a fresh one although another
    is prepared, or not.
    """

    def attack(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
        if (
            frame.kind is FrameKind.VOTE
            and not split
            and ("proposal", frame.session, frame.body[0]) in self.memory
        ):
            return []
        if frame.kind is not FrameKind.PROPOSAL:
            return [(to, frame)]
        proposal = read_proposal(frame)
        if proposal.transcript is None or (proposal.justification is not None and not fresh):
            return [(to, frame)]
        transcript = decode_transcript(proposal.transcript)
        keys = proposal.keys
        if not keys:
            dealings = self.dealings(frame, proposal.source)
            keys = dealings._keys.frames(transcript.recipients.addresses)
        encoded = self.once(
            ("proposal", frame.session, proposal.view), lambda: change(self, frame, transcript)
        )
        other = self.say(frame, proposal_body(proposal.view, proposal.source, encoded, None, keys))
        digest = keccak256(b"eigenkms/transcript/1", encoded)
        votes = [self.vote(frame, proposal.view, phase, digest) for phase in Phase]
        if not split:
            return [(to, other), *((to, vote) for vote in votes)]
        name = ("two transcripts", frame.session, proposal.view)
        told = self.split(name, to, frame, other)
        return [*told, *((a, vote) for a, said in told if said is other for vote in votes)]

    return attack


def _other(self: Byzantine, frame: Frame, transcript: Transcript) -> bytes:
    return _other_transcript(self, frame, transcript).encoded


def _left_out(self: Byzantine, frame: Frame, transcript: Transcript) -> bytes:
    """No keys of those whose fresh one is not here."""
    directory = self.dealings(frame, source_of(transcript))._keys
    pairs = zip(transcript.recipients.addresses, transcript.keys, strict=True)
    return _with(transcript, keys=tuple(key if a in directory else None for a, key in pairs))


def _with_mine(self: Byzantine, frame: Frame, transcript: Transcript) -> bytes:
    """My dealing among those that count: it may leave newcomers out."""
    dealings = self.dealings(frame, source_of(transcript))
    others = [a for a in dealings._pool.countable if a != self.me]
    dealers = tuple(sorted([self.me, *others[: dealings.needed - 1]]))
    return dealings._drafter.transcript(dealers, transcript.keys).encoded


counts_itself = _proposes(_with_mine, split=False, fresh=False)
lists_no_keys = _proposes(lambda _s, _f, t: _with(t, keys=(None,) * len(t.keys)), split=False, fresh=False)
leaves_keys_out = _proposes(_left_out, split=False, fresh=False)
two_transcripts = _proposes(_other, split=True, fresh=False)
always_fresh = _proposes(_other, split=False, fresh=True)
carries_keys_over = _proposes(_carried_over, split=False, fresh=False)

WRONG_TRANSCRIPTS: dict[str, Callable[[Byzantine, Frame, Transcript], bytes]] = {
    "MPK is not A_0": lambda _s, _f, t: _with(
        t, mpk=t.commitments[-1] if len(t.commitments) > 1 else b"x" * 96
    ),
    "A of another dealing": lambda s, f, t: _with(
        t, commitments=(t.mpk, *Polynomial.random(t.threshold, s.random.randbytes).commitments()[1:])
    ),
    "a dealer less": lambda _s, _f, t: _with(t, dealers=t.dealers[1:]),
    "a dealing's name": lambda _s, _f, t: _with(t, dealers=((t.dealers[0][0], bytes(32)), *t.dealers[1:])),
    "another source": lambda _s, _f, t: _with(t, source_version=t.source_version + 1),
    "another source's hash": lambda _s, _f, t: _with(t, source_hash=keccak256(b"a version")),
    "no keys": lambda _s, _f, t: _with(t, keys=()),
    "a key left out": lambda _s, _f, t: _with(t, keys=(None, *t.keys[1:])),
    "older numbers": lambda _s, _f, t: _with(
        t, keys=tuple(None if k is None else replace(k, number=max(0, k.number - 20)) for k in t.keys)
    ),
    "newer numbers": lambda _s, _f, t: _with(
        t, keys=tuple(None if k is None else replace(k, number=k.number + 10) for k in t.keys)
    ),
    "my key for all": lambda s, _f, t: _with(t, keys=(t.key_of(s.me),) * len(t.keys)),
    "another boundary": lambda _s, _f, t: _with(t, boundary=type(t.boundary)(1, bytes(32), 1)),
    "another cluster": lambda _s, _f, t: _with(t, cluster=bytes(32)),
    "nonsense": lambda _s, _f, _t: b"nonsense",
}


def wrong_transcript(change: Callable[[Byzantine, Frame, Transcript], bytes]) -> Attack:
    """As leader proposes something that is not the outcome of this session."""
    return _proposes(change, split=False, fresh=False)


def always_void(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """As leader proposes ∅, whatever is prepared already."""
    if frame.kind is not FrameKind.PROPOSAL:
        return [(to, frame)]
    proposal = read_proposal(frame)
    return [(to, self.say(frame, proposal_body(proposal.view, proposal.source, None, None)))]


def hides_certificates(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Enters views as if nothing had been prepared, and releases nothing that was."""
    if frame.kind is FrameKind.CERTIFICATE:
        return []
    if frame.kind is not FrameKind.VIEW_CHANGE:
        return [(to, frame)]
    return [(to, self.say(frame, view_change_body(read_view_change(frame).view, None)))]


def commits_to_one(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Shows its commit votes to one operator: it, or nobody but the liar, learns of a certificate."""
    if frame.kind is FrameKind.CERTIFICATE:
        return []
    if frame.kind is not FrameKind.VOTE or read_vote(frame).phase is not Phase.COMMIT:
        return [(to, frame)]
    victim = self.once(("told", frame.session), lambda: self.random.choice(self.others))
    return [(victim, frame)] if to in (None, victim) else []


def falls_silent(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Prepares in view 0 like everybody else, and then says nothing that others need."""
    keeps = frame.kind in (FrameKind.KEY, FrameKind.HASH, FrameKind.DEALING)
    if frame.kind is FrameKind.VOTE:
        vote = read_vote(frame)
        keeps = vote.view == 0 and vote.phase is Phase.PREPARE
    return [(to, frame)] if keeps or (frame.kind is FrameKind.PROPOSAL and frame.body[0] == 0) else []


def double_vote(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Votes for what was proposed and for ∅, some hearing one first and some the other."""
    if frame.kind is not FrameKind.VOTE:
        return [(to, frame)]
    vote = read_vote(frame)
    other = self.vote(frame, vote.view, vote.phase, VOID_HASH if vote.hash != VOID_HASH else keccak256(b"h"))
    name = ("double vote", frame.session, vote.view)
    return [*self.split(name, to, frame, other), *self.split(name, to, other, frame)]


def split_vote(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Votes for what was proposed towards some and for ∅ towards the rest."""
    if frame.kind is not FrameKind.VOTE:
        return [(to, frame)]
    vote = read_vote(frame)
    other = self.vote(frame, vote.view, vote.phase, VOID_HASH)
    return self.split(("split vote", frame.session, vote.view, vote.phase), to, frame, other)


def eager_commit(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Commits to whatever is proposed, and prepares and commits ∅, in this view and the next ones, without any certificate."""
    if frame.kind is not FrameKind.VOTE:
        return [(to, frame)]
    vote = read_vote(frame)
    votes = [self.vote(frame, vote.view, Phase.COMMIT, vote.hash)]
    votes += [self.vote(frame, vote.view + 1, phase, VOID_HASH) for phase in Phase]
    return [(to, frame), *((to, v) for v in votes)]


def bad_vote(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """A good frame around a vote that does not verify, or is no point at all."""
    if frame.kind is not FrameKind.VOTE:
        return [(to, frame)]
    vote = read_vote(frame)
    wrong = bn254.sign(self.node.key, keccak256(b"something else"))
    signature = self.once(
        ("bad vote", frame.session), lambda: self.random.choice([wrong, b"\xff" * 64, bytes(64)])
    )
    return [(to, self.say(frame, vote_body(vote.view, vote.phase, vote.hash, signature)))]


def storm(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """View changes for many views above everybody's."""
    if self.random.random() < 0.8:
        return [(to, frame)]
    top = self.memory.get("storm", 0)
    views = [top + 1, top + 2, top + self.random.randint(3, 2**31)]
    self.memory["storm"] = top + 2
    changes = [
        self.say(frame, view_change_body(min(v, 2**32 - 1), None), kind=FrameKind.VIEW_CHANGE) for v in views
    ]
    return [(to, frame), *((to, change) for change in changes)]


def forged_certificates(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Certificates that prove nothing: too few, foreign or repeated signers, spare bits."""
    session = self.session(frame)
    if (
        frame.kind in (FrameKind.HASH, FrameKind.KEY)
        or self.me not in session.x
        or self.random.random() < 0.5
    ):
        return [(to, frame)]
    view, phase = self.random.randint(0, 3), self.random.choice(list(Phase))
    digest = self.random.choice([VOID_HASH, keccak256(b"a transcript")])
    mine = bn254.sign(self.node.key, vote_digest(session.id, view, phase, digest))
    alone = aggregate(session.id, view, phase, digest, {self.me: mine}, session.recipients)
    length = (session.n + 7) // 8
    full = (((1 << session.n) - 1) << (-session.n % 8)).to_bytes(length, "big")
    bitmap = self.random.choice([alone.bitmap, full, b"\xff" * length, b"", bytes(length)])
    signature = self.random.choice(
        [mine, bn254.aggregate_signatures([mine] * session.threshold), bytes(64), b"\xff" * 64]
    )
    forged = Certificate(session.id, view, phase, digest, bitmap, signature)
    extra = [
        self.say(frame, [None, forged.encoded], kind=FrameKind.CERTIFICATE),
        self.say(frame, view_change_body(view + 1, forged), kind=FrameKind.VIEW_CHANGE),
    ]
    return [(to, frame), *((to, f) for f in extra)]


# -- noise -----------------------------------------------------------------------------------------------------


def junk(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Bodies of every shape under every kind."""
    if self.random.random() < 0.7:
        return [(to, frame)]
    pieces: list[Any] = [
        None,
        0,
        1,
        2**32 - 1,
        2**64 - 1,
        b"",
        bytes(20),
        bytes(32),
        self.me,
        self.random.randbytes(64),
        self.random.randbytes(96),
        "text",
        [],
        [self.me, bytes(32), None],
        [[self.me, None, bytes(32)]],
    ]
    kind = self.random.choice(list(FrameKind))
    body = [self.random.choice(pieces) for _ in range(self.random.randint(0, 5))]
    mixed = list(frame.body)
    mixed[self.random.randrange(len(mixed))] = self.random.choice(pieces)
    recipient = to if self.random.random() < 0.5 else None
    return [
        (to, frame),
        (to, self.say(frame, body, kind=kind, recipient=recipient)),
        (to, self.say(frame, mixed, recipient=recipient)),
    ]


def flood(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Well-formed frames without end: votes, proposals and view changes of far views, dealings from unknown versions, and of a
    boundary that nobody sees.
    """
    session = self.session(frame)
    if self.me not in session.x or self.random.random() < 0.5:
        return [(to, frame)]
    view, source = self.random.randrange(2**32), self.dealings(frame).ref
    unknown = replace(source, version=source.version + self.random.randrange(3))
    unseen = replace(session, boundary=replace(session.boundary, number=session.boundary.number + 10**6))
    extra = [
        self.vote(frame, view, Phase.PREPARE, self.random.randbytes(32)),
        self.say(frame, view_change_body(view, None), kind=FrameKind.VIEW_CHANGE),
        self.say(
            frame, proposal_body(view, source, self.random.randbytes(200), None), kind=FrameKind.PROPOSAL
        ),
        self.say(frame, dealing_body(unknown, b"header"), kind=FrameKind.DEALING),
        self.say(frame, [self.random.randbytes(32)], kind=FrameKind.HASH, session=unseen),
    ]
    return [(to, frame), *((to, f) for f in extra)]


def forge(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Votes in another's name, under signatures of mine, without end."""
    if self.me not in self.session(frame).x or not self.others:
        return [(to, frame)]
    victim, view = self.random.choice(self.others), self.random.randrange(2)
    votes = [self.vote(frame, view, Phase.PREPARE, self.random.randbytes(32)) for _ in range(8)]
    forged = [self.say(frame, vote.body, kind=FrameKind.VOTE, sender=victim) for vote in votes]
    return [(to, frame), *((to, vote) for vote in forged)]


def misdirected(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Frames for another session, cluster or recipient, and in another's name."""
    session = self.session(frame)
    other = self.random.choice(self.world.sessions)
    victim = self.random.choice(self.others) if self.others else self.me
    extra = [
        self.say(frame, frame.body, session=other, recipient=frame.recipient),
        self.say(frame, frame.body, cluster=bytes(32), recipient=frame.recipient),
        self.say(frame, frame.body, recipient=victim),
        self.say(frame, frame.body, sender=victim, recipient=frame.recipient),
        self.say(frame, frame.body, sender=OperatorAddress(bytes(20)), session=session),
    ]
    return [(to, frame), (to, self.random.choice(extra))]


def replay(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Says again, any time, whatever it heard from anybody in any session."""
    heard = self.memory.setdefault("heard", [])
    operator = self.node.operator
    for ceremony in () if operator is None else operator._ceremonies.values():
        log = list(ceremony._log)
        if log:
            heard.append(self.random.choice(log))
    del heard[:-200]
    again = [self.random.choice(heard)] if heard else []
    return [(to, frame), *((to, f) for f in again)]


# -- poses -----------------------------------------------------------------------------------------------------


def hastens(self: Byzantine) -> None:
    """Waits for nobody: deals without newcomers that are late, and as leader proposes as soon as it may."""
    self.node.grace = 0.0


def lives_in_the_past(self: Byzantine) -> None:
    """Learns of no certificate and goes on dealing, and leading, from the version that it has."""

    def ignores(frame: Frame) -> bool:
        return frame.kind is FrameKind.CERTIFICATE or (
            frame.kind is FrameKind.VOTE and read_vote(frame).phase is Phase.COMMIT
        )

    self.node.is_deaf_to = ignores
    self.node.told_head = lambda answer: None  # type: ignore[method-assign]


def _old(self: Byzantine, answer: "Answer") -> "Answer":
    """The first versions it ever answered with."""
    return self.memory.setdefault("old head", answer) or answer


def _forged(self: Byzantine, answer: "Answer") -> "Answer":
    """Versions that it made up, with true certificates of others, or true ones with certificates that it made up."""
    found = []
    for epoch in answer:
        transcript, certificate = epoch.transcript, epoch.certificate
        made_up = decode_transcript(_with(transcript, source_version=transcript.version + 1))
        bitmap = b"\xff" * (len(certificate.bitmap) - 1) + certificate.bitmap[-1:]
        found.append(CertifiedTranscript(made_up, replace(certificate, hash=made_up.hash)))
        found.append(CertifiedTranscript(transcript, replace(certificate, bitmap=bitmap, phase=Phase.COMMIT)))
    return tuple(found)


def _lies_about_head(lie: Callable[[Byzantine, "Answer"], "Answer"]) -> Pose:
    def pose(self: Byzantine) -> None:
        self.node.answers_head = lambda answer: lie(self, answer)

    return pose


POSES: tuple[Pose, ...] = (
    remembers_jobs,
    remembers_jobs,
    serves_some,
    serves_nobody,
    serves_garbage,
    wrong_shares,
    wrong_constant,
    without_newcomers,
    without_newcomers,
    hastens,
    hastens,
    lives_in_the_past,
    lives_in_the_past,
    _lies_about_head(_old),
    _lies_about_head(_forged),
    _lies_about_head(lambda _self, _answer: ()),
)

RANDOM_ATTACKS: tuple[Attack, ...] = (
    silent,
    mute([FrameKind.PROPOSAL]),
    mute([FrameKind.VOTE]),
    mute([FrameKind.DEALING]),
    mute([FrameKind.KEY]),
    mute([FrameKind.VIEW_CHANGE, FrameKind.CERTIFICATE]),
    mute_to_some([FrameKind.KEY]),
    mute_to_some([FrameKind.HASH]),
    mute_to_some([FrameKind.DEALING]),
    mute_to_some([FrameKind.VOTE]),
    mute_to_some([FrameKind.PROPOSAL, FrameKind.VIEW_CHANGE]),
    late([FrameKind.KEY], 0.3),
    late([FrameKind.DEALING], 0.5),
    late([FrameKind.VOTE], 0.7),
    late([FrameKind.PROPOSAL], 0.45),
    late([FrameKind.HASH], 0.5),
    two_dealings,
    two_dealings,
    *(bad_header(change) for change in BAD_HEADERS.values()),
    two_keys,
    unproved_key,
    two_transcripts,
    two_transcripts,
    always_fresh,
    always_fresh,
    carries_keys_over,
    carries_keys_over,
    leaves_keys_out,
    lists_no_keys,
    counts_itself,
    *(wrong_transcript(change) for change in WRONG_TRANSCRIPTS.values()),
    always_void,
    hides_certificates,
    commits_to_one,
    commits_to_one,
    falls_silent,
    double_vote,
    split_vote,
    eager_commit,
    bad_vote,
    storm,
    forged_certificates,
    junk,
    flood,
    misdirected,
    replay,
)
"""What a random liar chooses from; twice what adapts best."""


DIVIDING_ATTACKS: tuple[Attack, ...] = (
    two_transcripts,
    always_fresh,
    carries_keys_over,
    commits_to_one,
    hides_certificates,
    two_dealings,
    mute_to_some([FrameKind.VOTE]),
    mute_to_some([FrameKind.DEALING]),
    mute([FrameKind.CERTIFICATE]),
    eager_commit,
)
"""Those that may lead to two versions."""
DIVIDING_POSES: tuple[Pose, ...] = (
    remembers_jobs,
    lives_in_the_past,
    hastens,
    serves_some,
    _lies_about_head(_old),
)


def random_liar(world: "World", node: "Node", attacks: Sequence[Attack], poses: Sequence[Pose]) -> Byzantine:
    liar = Byzantine(world, node, *attacks)
    for pose in poses:
        pose(liar)
    return liar
