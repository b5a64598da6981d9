"""Byzantine operators: an honest machine whose words are changed on their way out (docs/protocol.md, Attacks).

An attack takes one outgoing frame and returns what leaves instead: pairs of (recipient or None for everybody, frame). All keys
that an attack signs with are its own operator's. Randomness comes from the seed of the world, so every attack can be replayed.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from eigenkms.crypto import bn254, schnorr, sealing
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.scalars import R, SecretScalar
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.codec import MalformedError
from eigenkms.protocols.dealing import PROOF_BYTES, Dealing, deal, dealing_hash, decode_dealing, reshare
from eigenkms.protocols.exchange import Exchange
from eigenkms.protocols.frames import Frame, Kind, build_frame
from eigenkms.protocols.messages import (
    EXCHANGE_KINDS,
    Confirm,
    answer_body,
    confirm_body,
    dealing_body,
    opening_body,
    proposal_body,
    read_answer,
    read_confirm,
    read_dealing_frame,
    read_proposal,
    read_report,
    read_share,
    read_view_change,
    read_vote,
    report_body,
    share_body,
    source_of,
    view_change_body,
    vote_body,
)
from eigenkms.protocols.requests import Epoch, decode_settled, encode_settled
from eigenkms.protocols.session import Session
from eigenkms.protocols.settlement import SettlementProof, confirm_digest
from eigenkms.protocols.transcript import Transcript, decode_transcript
from eigenkms.protocols.votes import VOID_HASH, Certificate, Phase, aggregate, vote_digest
from eigenkms.types import OperatorAddress

if TYPE_CHECKING:
    from tests.sim.world import Node, World

Outgoing: TypeAlias = Sequence[tuple[OperatorAddress | None, Frame]]
Attack: TypeAlias = Callable[["Byzantine", Frame, OperatorAddress | None], Outgoing]


class Byzantine:
    """Runs ``attacks`` one after the other over everything that ``node`` says."""

    def __init__(self, world: "World", node: "Node", *attacks: Attack) -> None:
        self.world, self.node, self.attacks = world, node, attacks
        self.random = random.Random(f"{world.seed}/{node.address.hex()}")
        self.memory: dict[Any, Any] = {}
        self.victims: frozenset[OperatorAddress] | None = None
        """Whom it deceives, if these are always the same."""
        node.tamper = self

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
        """The victims, or about half of the others, the same ones whenever asked for the same thing."""
        if self.victims is not None:
            return self.victims
        if name not in self.memory:
            size = self.random.randint(1, max(1, len(self.others) - 1)) if self.others else 0
            self.memory[name] = frozenset(self.random.sample(self.others, size))
        return self.memory[name]  # type: ignore[no-any-return]

    def say(
        self,
        like: Frame,
        body: Any,
        *,
        kind: Kind | None = None,
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

    def exchange(self, frame: Frame) -> Exchange:
        """The exchange of the honest machine inside that ``frame`` belongs to, or the highest one."""
        ceremony = self.node.operator.ceremony(frame.session)  # type: ignore[union-attr]
        if ceremony is None:
            raise KeyError("it is not in this session")
        source = source_of(frame) if frame.kind in EXCHANGE_KINDS else None
        found = ceremony._exchanges.current if source is None else ceremony._exchanges.get(source)
        if found is None:
            raise KeyError("it does not deal from this version")
        return found

    def own_dealing(self, frame: Frame) -> Dealing:
        """What the honest machine inside would deal."""
        own = self.exchange(frame)._own
        if own is None:
            raise KeyError("it has not dealt")
        return own

    def second_dealing(self, frame: Frame) -> tuple[Polynomial, Dealing]:
        """Another well-formed dealing of mine, from the same source."""
        return self._dealing(frame, "second dealing", constant=True)

    def foreign_dealing(self, frame: Frame) -> tuple[Polynomial, Dealing]:
        """A dealing of another secret than my share of the source."""
        return self._dealing(frame, "foreign dealing", constant=False)

    def _dealing(self, frame: Frame, name: str, *, constant: bool) -> tuple[Polynomial, Dealing]:
        session, source, exchange = self.session(frame), self.exchange(frame).source, self.exchange(frame)

        def make() -> tuple[Polynomial, Dealing]:
            rng = self.random.randbytes
            if source is None:
                polynomial = Polynomial.random(session.threshold, rng)
                return polynomial, deal(session, self.me, polynomial, rng)
            kept = exchange._polynomial
            mine = kept.constant if constant and kept is not None else None
            polynomial = Polynomial.random(session.threshold, rng, mine)
            return polynomial, reshare(session, self.me, polynomial, source)

        return self.once((name, session.id, exchange.source_version), make)  # type: ignore[no-any-return]

    def vote(self, like: Frame, view: int, phase: Phase, digest: bytes) -> Frame:
        signature = bn254.sign(self.node.key, vote_digest(self.session(like).id, view, phase, digest))
        return self.say(like, vote_body(view, phase, digest, signature), kind=Kind.VOTE)


# -- omissions -------------------------------------------------------------------------------------------------


def mute(kinds: Sequence[Kind]) -> Attack:
    """Never says frames of these kinds."""
    return lambda _self, frame, to: [] if frame.kind in kinds else [(to, frame)]


def mute_to_some(kinds: Sequence[Kind]) -> Attack:
    """Says them to some only, always the same ones."""

    def attack(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
        if frame.kind not in kinds:
            return [(to, frame)]
        deaf = self.some(("mute", tuple(kinds), frame.session))
        return [(a, frame) for a in (self.others if to is None else [to]) if a not in deaf]

    return attack


def late(kinds: Sequence[Kind], seconds: float) -> Attack:
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


silent = mute(list(Kind))


def conspire(liars: Sequence[Byzantine], victims: Sequence[OperatorAddress]) -> None:
    """Each shows one victim of its own that it cannot be trusted, to nobody else, and decides nothing."""
    for liar, victim in zip(liars, victims, strict=False):
        liar.victims = frozenset({victim})
        liar.attacks = (wrong_share, mute([Kind.PROPOSAL, Kind.VOTE, Kind.VIEW_CHANGE]))


# -- dealing ---------------------------------------------------------------------------------------------------


def wrong_share(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Shares that do not fit, to some."""
    if frame.kind is not Kind.SHARE or to not in self.some(("wrong share", frame.session)):
        return [(to, frame)]
    share = read_share(frame)
    wrong = share_body(share.dealing_hash, SecretScalar((share.scalar.value + 1) % R), share.source)
    return [(to, self.say(frame, wrong, recipient=to))]


def foreign_share(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Shares of a dealing that nobody knows, to some."""
    if frame.kind is not Kind.SHARE or to not in self.some(("foreign share", frame.session)):
        return [(to, frame)]
    polynomial, second = self.second_dealing(frame)
    share = polynomial.evaluate(self.session(frame).x[to])
    return [(to, self.say(frame, share_body(second.hash, share, second.source_version), recipient=to))]


def two_dealings(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """One dealing, its hash and its shares, for some, and another for the rest."""
    if frame.kind not in (Kind.HASH, Kind.DEALING, Kind.SHARE):
        return [(to, frame)]
    other = _dealt(self, frame, to, *self.second_dealing(frame))
    return self.split(("two dealings", frame.session), to, other, frame)


def _dealt(
    self: Byzantine, frame: Frame, to: OperatorAddress | None, polynomial: Polynomial, dealing: Dealing
) -> Frame:
    """``frame`` as it would be if this had been dealt."""
    match frame.kind:
        case Kind.HASH:
            return self.say(frame, [dealing.hash])
        case Kind.DEALING:
            return self.say(frame, dealing_body(dealing))
        case Kind.SHARE if to is not None:
            share = polynomial.evaluate(self.session(frame).x[to])
            return self.say(frame, share_body(dealing.hash, share, dealing.source_version), recipient=to)
        case _:
            return frame


def wrong_constant(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """In a rotation deals something else than its share of the source, with shares that fit."""
    if frame.kind not in (Kind.DEALING, Kind.SHARE, Kind.ANSWER) or self.exchange(frame).source is None:
        return [(to, frame)]
    polynomial, foreign = self.foreign_dealing(frame)
    if frame.kind is not Kind.ANSWER:
        return [(to, _dealt(self, frame, to, polynomial, foreign))]
    return [(to, _answer_of(self, frame, "foreign", polynomial, foreign))]


def deals_from(change: Callable[[int], int], hashed: bool) -> Attack:
    """In a rotation names another source version, with the right transcript hash or a wrong one."""

    def attack(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
        if frame.kind not in (Kind.DEALING, Kind.SHARE) or self.exchange(frame).source is None:
            return [(to, frame)]
        version = max(1, change(source_of(frame)))
        own = self.own_dealing(frame)
        digest = own.source_hash if hashed else keccak256(b"a version")
        other = _with(own, source_version=version, source_hash=digest)
        if frame.kind is Kind.DEALING:
            return [(to, self.say(frame, dealing_body(other)))]
        share = read_share(frame)
        return [(to, self.say(frame, share_body(other.hash, share.scalar, version), recipient=to))]

    return attack


def two_hashes(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Everybody gets both hashes, in different order."""
    if frame.kind is not Kind.HASH:
        return [(to, frame)]
    other = self.say(frame, [self.second_dealing(frame)[1].hash])
    return [*self.split("two hashes", to, other, frame), *self.split("two hashes", to, frame, other)]


def bad_dealing(change: Callable[[Byzantine, Session, Dealing], Dealing]) -> Attack:
    """Announces and deals something ill-formed, with its proper hash."""

    def attack(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
        session = self.session(frame)
        if frame.kind is Kind.DEALING:
            message = read_dealing_frame(frame)
            bad = change(self, session, decode_dealing(message.encoded))
            return [(to, self.say(frame, [message.source, bad.encoded]))]
        if frame.kind is Kind.HASH:
            return [(to, self.say(frame, [change(self, session, self.own_dealing(frame)).hash]))]
        return [(to, frame)]

    return attack


def _with(dealing: Dealing, **changes: Any) -> Dealing:
    fields = {name: getattr(dealing, name) for name in dealing.__dataclass_fields__}
    return Dealing(**{**fields, **changes})


def too_few_commitments(_self: Byzantine, _session: Session, own: Dealing) -> Dealing:
    return _with(own, commitments=own.commitments[:-1])


def too_many_commitments(_self: Byzantine, _session: Session, own: Dealing) -> Dealing:
    return _with(own, commitments=(*own.commitments, own.commitments[-1]))


def bad_proof(_self: Byzantine, _session: Session, own: Dealing) -> Dealing:
    proof = own.proof or bytes(PROOF_BYTES)  # a rotation has none
    return _with(own, proof=proof[:-1] + bytes([proof[-1] ^ 1]))


def no_proof(_self: Byzantine, _session: Session, own: Dealing) -> Dealing:
    return _with(own, proof=None)


def infinite_commitment(_self: Byzantine, _session: Session, own: Dealing) -> Dealing:
    return _with(own, commitments=(*own.commitments[:-1], b"\xc0" + bytes(95)))


def garbage_commitment(_self: Byzantine, _session: Session, own: Dealing) -> Dealing:
    return _with(own, commitments=(*own.commitments[:-1], b"\xff" * 96))


def other_session_dealing(_self: Byzantine, _session: Session, own: Dealing) -> Dealing:
    return _with(own, session=keccak256(b"elsewhere"))


def other_source_dealing(_self: Byzantine, _session: Session, own: Dealing) -> Dealing:
    return _with(own, source_version=7, source_hash=keccak256(b"source"))


def copied_constant(self: Byzantine, session: Session, own: Dealing) -> Dealing:
    """The C_0 and the proof of somebody else (rogue key), as far as they are known."""
    for address in self.others:
        operator = self.world.nodes[address].operator
        ceremony = None if operator is None else operator.ceremony(session.id)
        victim = None if ceremony is None else ceremony._exchanges.current._own
        if victim is not None:
            return self.once(  # type: ignore[no-any-return]
                ("copied", session.id),
                lambda victim=victim: _with(
                    own, commitments=(victim.commitments[0], *own.commitments[1:]), proof=victim.proof
                ),
            )
    return self.once(("copied", session.id), lambda: no_proof(self, session, own))  # type: ignore[no-any-return]


def hash_mismatch(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """A good dealing that is not the announced one."""
    if frame.kind is not Kind.DEALING:
        return [(to, frame)]
    return [(to, self.say(frame, dealing_body(self.second_dealing(frame)[1])))]


def not_a_dealing(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Announces and publishes bytes that are no dealing at all."""
    if frame.kind is Kind.HASH:
        return [(to, self.say(frame, [dealing_hash(b"nonsense")]))]
    if frame.kind is not Kind.DEALING:
        return [(to, frame)]
    return [(to, self.say(frame, [source_of(frame), b"nonsense"]))]


# -- complaints ------------------------------------------------------------------------------------------------


def _complaint(self: Byzantine, frame: Frame, name: str) -> Frame:
    """A report that lacks everybody else; the keys are mine, and known to me."""

    def make() -> Frame:
        report = read_report(frame)
        own = report.held.get(self.me)
        held = {} if own is None else {self.me: own}
        dealers = self.exchange(frame).dealers or ()
        keys = {d: sealing.x25519_keypair(self.random.randbytes) for d in sorted(dealers) if d != self.me}
        self.memory["keys", name, frame.session, report.source] = keys
        lacking = {d: public for d, (_, public) in keys.items()}
        return self.say(frame, report_body(held, lacking, report.source))

    return self.once(("complaint", name, frame.session, source_of(frame)), make)  # type: ignore[no-any-return]


def false_complaint(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Reports everybody lacking, though everybody dealt."""
    return [(to, _complaint(self, frame, "one") if frame.kind is Kind.REPORT else frame)]


def two_complaints(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Different one-time keys for different operators, then the opening of keys that nobody answered to."""
    if frame.kind is not Kind.REPORT:
        return [(to, frame)]
    one, two = _complaint(self, frame, "one"), _complaint(self, frame, "two")
    outgoing = list(self.split(("two complaints", frame.session), to, one, two))
    for name in ("one", "two"):
        source = source_of(frame)
        for dealer, (private, _) in self.memory["keys", name, frame.session, source].items():
            opening = self.say(frame, opening_body(dealer, private, source), kind=Kind.OPENING)
            outgoing += self.split(("open", name, frame.session), to, opening, opening)
    return outgoing


def lying_openings(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Publishes keys for answers that were good, and keys that fit nothing."""
    if frame.kind not in (Kind.REPORT, Kind.VOTE, Kind.VIEW_CHANGE):
        return [(to, frame)]
    dealer = self.random.choice(list(self.session(frame).x))
    source = self.exchange(frame).source_version
    opening = self.say(frame, opening_body(dealer, self.random.randbytes(32), source), kind=Kind.OPENING)
    return [(to, frame), (to, opening)]


def open_good_answers(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Complains falsely, is answered well, and opens the answers as if they were bad."""
    if frame.kind is not Kind.REPORT:
        return [(to, frame)]
    complaint, source = _complaint(self, frame, "one"), source_of(frame)
    openings = [
        (to, self.say(frame, opening_body(dealer, private, source), kind=Kind.OPENING))
        for dealer, (private, _) in self.memory["keys", "one", frame.session, source].items()
    ]
    return [(to, complaint), *openings]


def bad_answer(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Answers a lack with something that does not open to a fitting share (give it lacks with ``mute_to_some``)."""
    if frame.kind is not Kind.ANSWER:
        return [(to, frame)]

    def make() -> Frame:
        answer, session = read_answer(frame), self.session(frame)
        own = decode_dealing(answer.dealing)
        body = answer_body(
            session.id, own, answer.recipient, answer.key, SecretScalar(4711), self.random.randbytes
        )
        match self.random.randrange(4):
            case 0:
                body[4] = self.random.randbytes(80)
            case 1:
                body[4] = b""
            case 2:
                body[4] = bytes(80)
        return self.say(frame, body)

    return [(to, self.once(("bad answer", frame.session, *frame.body[:2]), make))]


def answer_other_key(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Answers to a key that nobody reported."""
    if frame.kind is not Kind.ANSWER:
        return [(to, frame)]
    body = list(frame.body)
    body[2] = sealing.x25519_keypair(lambda count: bytes(range(count)))[1]
    return [(to, self.say(frame, body))]


def answer_other_dealing(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Answers with a second dealing and a share that fits it."""
    if frame.kind is not Kind.ANSWER:
        return [(to, frame)]
    return [(to, _answer_of(self, frame, "second", *self.second_dealing(frame)))]


def _answer_of(self: Byzantine, frame: Frame, name: str, polynomial: Polynomial, dealing: Dealing) -> Frame:
    """The answer as it would be if this had been dealt."""

    def make() -> Frame:
        session, answer = self.session(frame), read_answer(frame)
        share = polynomial.evaluate(session.x[answer.recipient])
        body = answer_body(session.id, dealing, answer.recipient, answer.key, share, self.random.randbytes)
        return self.say(frame, body)

    return self.once(("answer", name, frame.session, *frame.body[:2]), make)  # type: ignore[no-any-return]


# -- agreement -------------------------------------------------------------------------------------------------


def _other_transcript(self: Byzantine, frame: Frame, transcript: Transcript) -> Transcript:
    """Consistent in itself, and of this session: of fewer dealers if those are enough, else with A of another dealing."""
    exchange = self.exchange(frame)
    dealers = [a for a, _ in transcript.dealers]
    if exchange.source is not None and len(dealers) > exchange.dealers_needed:
        fewer = exchange._transcript_of([exchange._dealings[d] for d in dealers[1:]])
        if fewer is not None:
            return fewer
    other = self.foreign_dealing(frame)[1].commitments
    mpk = other[0] if exchange.source is None else transcript.mpk
    fields = {name: getattr(transcript, name) for name in transcript.__dataclass_fields__}
    return Transcript(**{**fields, "mpk": mpk, "commitments": (mpk, *other[1:])})


def two_transcripts(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """As coordinator proposes one transcript to some and another to the rest."""
    if frame.kind is not Kind.PROPOSAL:
        return [(to, frame)]
    proposal = read_proposal(frame)
    if proposal.transcript is None:
        return [(to, frame)]
    other = _other_transcript(self, frame, decode_transcript(proposal.transcript))
    second = self.say(frame, proposal_body(proposal.view, other.encoded, proposal.justification))
    return self.split(("two transcripts", frame.session, proposal.view), to, frame, second)


def always_fresh(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """As coordinator proposes another fresh transcript, whatever is prepared already."""
    if frame.kind is not Kind.PROPOSAL:
        return [(to, frame)]
    proposal = read_proposal(frame)
    if proposal.transcript is None:
        return [(to, frame)]
    other = _other_transcript(self, frame, decode_transcript(proposal.transcript))
    return [(to, self.say(frame, proposal_body(proposal.view, other.encoded, None)))]


def hides_certificates(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Enters views as if nothing had been prepared, and releases nothing that was."""
    if frame.kind is Kind.CERTIFICATE:
        return []
    if frame.kind is not Kind.VIEW_CHANGE:
        return [(to, frame)]
    return [(to, self.say(frame, view_change_body(read_view_change(frame).view, None)))]


def transcript_or_void(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """As coordinator proposes the transcript to some and ∅ to the rest."""
    if frame.kind is not Kind.PROPOSAL:
        return [(to, frame)]
    view = read_proposal(frame).view
    second = self.say(frame, proposal_body(view, None, None))
    return self.split(("transcript or void", frame.session, view), to, frame, second)


def always_void(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """As coordinator proposes ∅, whatever is prepared already."""
    if frame.kind is not Kind.PROPOSAL:
        return [(to, frame)]
    return [(to, self.say(frame, proposal_body(read_proposal(frame).view, None, None)))]


def falls_silent(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Prepares in view 0 like everybody else, and then says nothing that others need."""
    keeps = frame.kind in (Kind.HASH, Kind.DEALING, Kind.SHARE, Kind.REPORT, Kind.ANSWER)
    if frame.kind is Kind.VOTE:
        vote = read_vote(frame)
        keeps = vote.view == 0 and vote.phase is Phase.PREPARE
    return [(to, frame)] if keeps or (frame.kind is Kind.PROPOSAL and frame.body[0] == 0) else []


def wrong_transcript(change: Callable[[Byzantine, Frame, Transcript], bytes]) -> Attack:
    """As coordinator proposes something that is not the outcome of this session."""

    def attack(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
        if frame.kind is not Kind.PROPOSAL:
            return [(to, frame)]
        proposal = read_proposal(frame)
        if proposal.transcript is None:
            return [(to, frame)]
        encoded = change(self, frame, decode_transcript(proposal.transcript))
        return [(to, self.say(frame, proposal_body(proposal.view, encoded, proposal.justification)))]

    return attack


def _replace(transcript: Transcript, **changes: Any) -> bytes:
    fields = {name: getattr(transcript, name) for name in transcript.__dataclass_fields__}
    return Transcript(**{**fields, **changes}).encoded


WRONG_TRANSCRIPTS: dict[str, Callable[[Byzantine, Frame, Transcript], bytes]] = {
    "A of another dealing": lambda self, f, t: _other_transcript(self, f, t).encoded,
    "MPK is not A_0": lambda self, f, t: _replace(
        t, mpk=t.commitments[-1] if len(t.commitments) > 1 else b"x" * 96
    ),
    "a recipient less": lambda self, f, t: _replace(
        t, recipients=type(t.recipients)(t.recipients.members[1:])
    ),
    "a foreign dealer": lambda self, f, t: _replace(
        t, dealers=((OperatorAddress(bytes(20)), bytes(32)), *t.dealers)
    ),
    "a dealer less": lambda self, f, t: _replace(t, dealers=t.dealers[1:]),
    "no dealers": lambda self, f, t: _replace(t, dealers=()),
    "dealers unsorted": lambda self, f, t: _replace(t, dealers=t.dealers[::-1]),
    "a dealing hash": lambda self, f, t: _replace(t, dealers=((t.dealers[0][0], bytes(32)), *t.dealers[1:])),
    "threshold": lambda self, f, t: _replace(t, threshold=t.threshold + 1),
    "a commitment less": lambda self, f, t: _replace(t, commitments=t.commitments[:-1]),
    "another source": lambda self, f, t: _replace(t, source_version=t.source_version + 1),
    "another source's hash": lambda self, f, t: _replace(t, source_hash=keccak256(b"a version")),
    "the other kind of source": lambda self, f, t: _replace(
        t, source_version=0 if t.source_version else 7, source_hash=bytes(32)
    ),
    "another boundary": lambda self, f, t: _replace(t, boundary=type(t.boundary)(1, bytes(32), 1)),
    "another cluster": lambda self, f, t: _replace(t, cluster=bytes(32)),
    "another session": lambda self, f, t: _replace(t, session=bytes(32)),
    "no recipients": lambda self, f, t: _replace(t, recipients=type(t.recipients)(()), threshold=0),
    "nonsense": lambda self, f, t: b"nonsense",
}


def double_vote(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Votes for what was proposed and for ∅, some hearing one first and some the other."""
    if frame.kind is not Kind.VOTE:
        return [(to, frame)]
    vote = read_vote(frame)
    other = self.vote(frame, vote.view, vote.phase, VOID_HASH if vote.hash != VOID_HASH else keccak256(b"h"))
    name = ("double vote", frame.session, vote.view)
    return [*self.split(name, to, frame, other), *self.split(name, to, other, frame)]


def split_vote(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Votes for what was proposed towards some and for ∅ towards the rest."""
    if frame.kind is not Kind.VOTE:
        return [(to, frame)]
    vote = read_vote(frame)
    other = self.vote(frame, vote.view, vote.phase, VOID_HASH)
    return self.split(("split vote", frame.session, vote.view, vote.phase), to, frame, other)


def eager_commit(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Commits to whatever is proposed, and prepares and commits ∅, in this view and the next ones, without any certificate."""
    if frame.kind is not Kind.VOTE:
        return [(to, frame)]
    vote = read_vote(frame)
    votes = [self.vote(frame, vote.view, Phase.COMMIT, vote.hash)]
    votes += [self.vote(frame, vote.view + 1, phase, VOID_HASH) for phase in Phase]
    return [(to, frame), *((to, v) for v in votes)]


def bad_vote(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """A good frame around a vote that does not verify, or is no point at all."""
    if frame.kind is not Kind.VOTE:
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
        self.say(frame, view_change_body(min(v, 2**32 - 1), None), kind=Kind.VIEW_CHANGE) for v in views
    ]
    return [(to, frame), *((to, change) for change in changes)]


def forged_certificates(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Certificates that prove nothing: too few, foreign or repeated signers, spare bits, other quorums."""
    session = self.session(frame)
    if frame.kind in (Kind.HASH, Kind.SHARE) or frame.recipient is not None or self.random.random() < 0.5:
        return [(to, frame)]
    view, phase = self.random.randint(0, 3), self.random.choice(list(Phase))
    digest = self.random.choice([VOID_HASH, keccak256(b"a transcript")])
    mine = bn254.sign(self.node.key, vote_digest(session.id, view, phase, digest))
    alone = aggregate(session.id, view, phase, digest, {self.me: mine}, session.recipients)
    full = ((1 << session.n) - 1) << (-session.n % 8)
    length = (session.n + 7) // 8
    bitmaps = [
        alone.bitmap,
        full.to_bytes(length, "big"),
        b"\xff" * length,
        b"",
        b"\xff" * (length + 1),
        bytes(length),
    ]
    signature = self.random.choice(
        [mine, bn254.aggregate_signatures([mine] * session.threshold), bytes(64), b"\xff" * 64]
    )
    forged = Certificate(session.id, view, phase, digest, self.random.choice(bitmaps), signature)
    extra = [
        self.say(frame, [None, forged.encoded], kind=Kind.CERTIFICATE),
        self.say(frame, view_change_body(view + 1, forged), kind=Kind.VIEW_CHANGE),
    ]
    if session.coordinator(view + 1) == self.me:
        extra.append(self.say(frame, proposal_body(view + 1, None, forged), kind=Kind.PROPOSAL))
    return [(to, frame), *((to, f) for f in extra)]


# -- settling ----------------------------------------------------------------------------------------------------


def false_confirm(change: Callable[[Byzantine, Frame, Confirm], list[Any]]) -> Attack:
    """A promise that is worth nothing, in a good frame."""

    def attack(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
        if frame.kind is not Kind.CONFIRM:
            return [(to, frame)]
        body = self.once(("confirm", frame.session), lambda: change(self, frame, read_confirm(frame)))
        return [(to, self.say(frame, body))]

    return attack


def badly_signed(self: Byzantine, frame: Frame, confirm: Confirm) -> list[Any]:
    wrong = bn254.sign(self.node.key, keccak256(b"something else"))
    signature = self.random.choice([wrong, b"\xff" * 64, bytes(64)])
    return confirm_body(confirm.hash, signature, confirm.proof)


def badly_proved(self: Byzantine, frame: Frame, confirm: Confirm) -> list[Any]:
    proof = confirm.proof[:-1] + bytes([confirm.proof[-1] ^ 1])
    return confirm_body(confirm.hash, confirm.signature, proof)


def of_another_version(self: Byzantine, frame: Frame, confirm: Confirm) -> list[Any]:
    other = keccak256(b"another version")
    return confirm_body(other, bn254.sign(self.node.key, confirm_digest(frame.session, other)), confirm.proof)


def double_confirm(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Confirms this version to some first, and another to the rest first."""
    if frame.kind is not Kind.CONFIRM:
        return [(to, frame)]
    other = self.say(frame, of_another_version(self, frame, read_confirm(frame)))
    name = ("double confirm", frame.session)
    return [*self.split(name, to, frame, other), *self.split(name, to, other, frame)]


def early_confirm(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Confirms whatever it votes for, before anything is certified and whether or not it holds a share."""
    if frame.kind is not Kind.VOTE or self.exchange(frame).source is None:
        return [(to, frame)]
    digest = read_vote(frame).hash
    signature = bn254.sign(self.node.key, confirm_digest(frame.session, digest))
    confirm = self.say(frame, confirm_body(digest, signature, bytes(schnorr.PROOF_SIZE)), kind=Kind.CONFIRM)
    return [(to, frame), (to, confirm)]


def speaks_as_member(self: Byzantine, frame: Frame, to: OperatorAddress | None) -> Outgoing:
    """Having left the set, votes, proposes and confirms all the same."""
    if frame.kind not in (Kind.DEALING, Kind.ANSWER):
        return [(to, frame)]
    session, digest = self.session(frame), keccak256(b"a transcript")
    signature = bn254.sign(self.node.key, confirm_digest(session.id, digest))
    extra = [
        self.vote(frame, 0, Phase.PREPARE, digest),
        self.vote(frame, 0, Phase.COMMIT, digest),
        self.say(frame, view_change_body(3, None), kind=Kind.VIEW_CHANGE),
        self.say(frame, proposal_body(0, b"nonsense", None), kind=Kind.PROPOSAL),
        self.say(frame, confirm_body(digest, signature, bytes(schnorr.PROOF_SIZE)), kind=Kind.CONFIRM),
    ]
    return [(to, frame), *((to, f) for f in extra)]


def _of_old(self: Byzantine, answer: bytes | None) -> bytes | None:
    """The first settled version it ever answered with."""
    return self.memory.setdefault("old settled", answer) or answer  # type: ignore[no-any-return]


def forged(self: Byzantine, answer: bytes | None) -> bytes | None:
    """A version that it made up, or a true one with a proof that it made up."""
    if answer is None:
        return None
    epoch, _ = decode_settled(answer)
    transcript = epoch.transcript
    bitmap = b"\xff" * (len(epoch.certificate.bitmap) - 1) + epoch.certificate.bitmap[-1:]
    proof = SettlementProof(transcript.session, transcript.hash, bitmap, epoch.certificate.signature)
    made_up = decode_transcript(_replace(transcript, source_version=transcript.version + 1))
    return encode_settled(Epoch(self.random.choice([transcript, made_up]), epoch.certificate), proof)


SETTLED_LIES: tuple[Callable[[Byzantine, bytes | None], bytes | None], ...] = (
    _of_old,
    forged,
    lambda _self, _answer: None,
    lambda _self, _answer: b"nonsense",
)
"""What is answered instead of the highest settled version."""


def lie_about_settled(liar: Byzantine) -> None:
    """From now on one of these lies is told."""
    liar.node.answers_settled = partial(liar.random.choice(SETTLED_LIES), liar)


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
    kind = self.random.choice(list(Kind))
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
    """Well-formed frames without end: votes, proposals and view changes of far views, answers and openings for nobody."""
    if frame.recipient is not None or self.random.random() < 0.5:
        return [(to, frame)]
    view = self.random.randrange(2**32)
    session = self.session(frame)
    key, source = sealing.x25519_keypair(self.random.randbytes)[1], self.exchange(frame).source_version
    if self.me not in session.x:
        return [(to, frame)]
    mine = view - view % session.n + session.coordinators.index(self.me)
    extra = [
        self.vote(frame, view, Phase.PREPARE, self.random.randbytes(32)),
        self.say(frame, view_change_body(view, None), kind=Kind.VIEW_CHANGE),
        self.say(frame, proposal_body(mine % 2**32, self.random.randbytes(200), None), kind=Kind.PROPOSAL),
        self.say(
            frame,
            [self.random.choice([0, source, source + 1]), self.random.randbytes(20), key, b"", b""],
            kind=Kind.ANSWER,
        ),
        self.say(
            frame, opening_body(OperatorAddress(self.random.randbytes(20)), bytes(32)), kind=Kind.OPENING
        ),
    ]
    return [(to, frame), *((to, f) for f in extra)]


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
    for operator in (self.node.operator,):
        for ceremony in () if operator is None else operator._ceremonies.values():
            log = list(ceremony._log)
            if log:
                heard.append(self.random.choice(log))
    del heard[:-200]
    again = [self.random.choice(heard)] if heard else []
    return [(to, frame), *((to, f) for f in again)]


RANDOM_ATTACKS: tuple[Attack, ...] = (
    silent,
    mute([Kind.PROPOSAL]),
    mute([Kind.VOTE]),
    mute([Kind.ANSWER, Kind.SHARE]),
    mute([Kind.DEALING]),
    mute([Kind.VIEW_CHANGE, Kind.CERTIFICATE]),
    mute_to_some([Kind.SHARE]),
    mute_to_some([Kind.SHARE, Kind.ANSWER]),
    mute_to_some([Kind.HASH]),
    mute_to_some([Kind.DEALING]),
    mute_to_some([Kind.VOTE]),
    mute_to_some([Kind.PROPOSAL, Kind.VIEW_CHANGE]),
    late([Kind.REPORT], 2.0),
    late([Kind.VOTE], 0.7),
    late([Kind.PROPOSAL], 0.45),
    late([Kind.HASH], 0.5),
    wrong_share,
    foreign_share,
    two_dealings,
    two_hashes,
    bad_dealing(too_few_commitments),
    bad_dealing(bad_proof),
    bad_dealing(copied_constant),
    hash_mismatch,
    not_a_dealing,
    false_complaint,
    two_complaints,
    lying_openings,
    open_good_answers,
    bad_answer,
    answer_other_key,
    answer_other_dealing,
    two_transcripts,
    transcript_or_void,
    *(wrong_transcript(change) for change in WRONG_TRANSCRIPTS.values()),
    double_vote,
    split_vote,
    eager_commit,
    bad_vote,
    always_void,
    always_fresh,
    hides_certificates,
    falls_silent,
    mute([Kind.CONFIRM]),
    mute_to_some([Kind.CONFIRM]),
    late([Kind.CONFIRM], 4.0),
    late([Kind.DEALING], 1.1),
    late([Kind.SHARE], 1.1),
    wrong_constant,
    deals_from(lambda version: version - 10, hashed=False),
    deals_from(lambda version: version + 10, hashed=True),
    deals_from(lambda version: version + 10, hashed=False),
    false_confirm(badly_signed),
    false_confirm(badly_proved),
    false_confirm(of_another_version),
    double_confirm,
    early_confirm,
    speaks_as_member,
    storm,
    forged_certificates,
    junk,
    flood,
    misdirected,
    replay,
)
