"""What must always hold, checked by a judge that sees everything that any correct operator does.

A version *exists* for the judge once the commit votes that correct members ever cast, arrived or not, and those of all Byzantine
members make a certificate: a Byzantine operator may have put it together, and shown it to nobody.

1. *One.* At most one version exists at a boundary number, and one master key; no operator says two things in a slot, across crashes
   (``speaks``, ``_exists``).
2. *Certified is settled.* If a version exists, at least one correct operator has all its dealings on disk. Each correct recipient
   that it serves has its share, or the key that its row is encrypted to. At all times that is so of the highest version, and some
   version has t correct recipients that can get their shares (``keeps_a_version``). Whoever prepares has the dealings on disk.
3. *No fork.* Of two versions that exist, the lower one is an ancestor of the higher one (``_forks``), as long as their sets of
   members overlap so far that two quorums share a correct member.
4. *Blame.* In a network that delivers, whoever names those that kept a session from ending names one of them (``blames``).
5. *Life of keys.* A listed number never goes back along a chain of sources. After each step nothing is left on disk that a
   certificate made superfluous: shares of older versions, keys, secrets in journals (``after_step``).
6. *Evidence.* It never accuses an honest operator, and convinces anybody who has nothing but its bytes (``accuses``).
7. *Budgets.* What any sender costs a correct operator is bounded (budgets.py): frames of a session and bytes over all sessions that
   are kept (``keeps_budgets``), sessions (``forgets``), signatures (``verifies``, bad ones ``finds_forged``) and dealings
   (``checks``) that are verified.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from eigenkms.crypto.feldman import public_share_of
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import EigenKmsError, RemoteProtocolError
from eigenkms.protocols.ceremony import early_frames
from eigenkms.protocols.ceremony.effects import CloseSession, StoreCertifiedVersion, StorePreparedVersion
from eigenkms.protocols.ceremony.jobs import CheckJob
from eigenkms.protocols.records.evidence import Evidence
from eigenkms.protocols.records.evidence_bundle import Bundle, check_bundle, decode_bundle
from eigenkms.types import OperatorAddress, SessionId
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.dealing_header import DealingHeader
from eigenkms.wire.frames import Frame, FrameKind, decode_frame
from eigenkms.wire.messages import (
    GENESIS_SOURCE,
    read_key,
    read_proposal,
    read_view_change,
    read_vote,
    slot_of,
)
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import Transcript, decode_transcript
from eigenkms.wire.votes import VOID_HASH, BadCertificateError, Certificate, Phase
from tests.sim.budgets import (
    most_bytes,
    most_dealings,
    most_forged,
    most_frames,
    most_sessions,
    most_verified,
    most_verified_early,
)
from tests.sim.reading import dealing_header

if TYPE_CHECKING:
    from tests.sim.node import Node
    from tests.sim.world import World


class Laws:
    """Raises ``AssertionError`` with the world's story when a law is broken."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self._spoken: dict[tuple[OperatorAddress, SessionId, object], bytes] = {}
        self._entered: dict[tuple[OperatorAddress, SessionId], int] = {}
        self._voted: dict[tuple[OperatorAddress, int, int, Phase], tuple[SessionId, bytes]] = {}
        self._commits: dict[tuple[SessionId, int, bytes], set[OperatorAddress]] = defaultdict(set)
        self._decided: dict[SessionId, bytes] = {}
        self._key_at: dict[int, bytes] = {}
        self._mpks: set[bytes] = set()
        self._proposed: dict[bytes, Transcript] = {}
        self._headers: dict[bytes, DealingHeader] = {}
        self.versions: dict[bytes, Transcript] = {}
        """By transcript hash, those that exist."""
        self.culprits: frozenset[OperatorAddress] | None = None
        """Who keeps sessions from ending, in a story in which the network delivers among all others; ``None``: it may not."""

    # -- speech ------------------------------------------------------------------------------------------------

    def _require(self, holds: bool, complaint: str) -> None:
        assert holds, self.world.story(complaint)

    # -- speech ------------------------------------------------------------------------------------------------

    def hears(self, frame: Frame) -> None:
        """Anybody says something to anybody: which dealing a name stands for."""
        if frame.kind is FrameKind.DEALING:
            try:
                header = dealing_header(frame.encoded)
            except RemoteProtocolError:
                return
            self._headers[header.name] = header

    def proposes(self, frame: Frame) -> None:
        """Anybody proposes: which transcript a hash stands for."""
        try:
            proposal = read_proposal(frame)
            if proposal.transcript is not None:
                transcript = decode_transcript(proposal.transcript)
                self._proposed[transcript.hash] = transcript
        except MalformedError:
            return

    def speaks(self, node: "Node", frame: Frame) -> None:
        """No correct operator says two things in one slot, votes twice, or votes below a view it entered; across crashes too."""
        self.hears(frame)
        if node.tamper is not None:
            return
        slot = slot_of(frame)
        if slot is None:
            return
        key = (frame.sender, frame.session, slot)
        known = self._spoken.get(key)
        if known is not None:
            self._require(known == frame.payload, f"{frame} said twice, differently")
            return
        self._spoken[key] = frame.payload
        match frame.kind:
            case FrameKind.VIEW_CHANGE:
                place = (frame.sender, frame.session)
                self._entered[place] = max(self._entered.get(place, 0), read_view_change(frame).view)
            case FrameKind.VOTE:
                self._votes(node, frame)
            case FrameKind.HASH:
                self._require(not node.disk.held, "a genesis dealing announced with a key in hand")
            case FrameKind.KEY:
                kept = node.disk.keys.get(self.world.session(frame.session).boundary.number)
                same = kept is not None and kept.public == read_key(frame).public
                self._require(same, "an encryption key was published that is not durable")
            case FrameKind.DEALING:
                name = dealing_header(frame.encoded).name
                records = node.disk.journal.get(frame.session, ())
                kept_body = any(r.kind == "body" and r.body[:32] == name for r in records)
                self._require(kept_body, "a dealing was announced whose body is not durable")

    def _votes(self, node: "Node", frame: Frame) -> None:
        vote, session = read_vote(frame), self.world.session(frame.session)
        entered = self._entered.get((frame.sender, frame.session), 0)
        self._require(vote.view >= entered, f"vote in view {vote.view} after entering {entered}")
        place = (frame.sender, session.boundary.number, vote.view, vote.phase)
        choice = self._voted.setdefault(place, (frame.session, vote.hash))
        self._require(
            choice == (frame.session, vote.hash), "two votes at one boundary number, view and phase"
        )
        if vote.phase is Phase.COMMIT:
            self._commits[frame.session, vote.view, vote.hash].add(frame.sender)
            self._could_certify(session, vote.view, vote.hash)
        elif vote.hash != VOID_HASH:
            transcript = self._proposed[vote.hash]
            self._require(
                node.disk.has_dealings(transcript), "a prepare vote whose signer lacks a dealing on disk"
            )
            self._serves_enough(transcript)

    def _serves_enough(self, transcript: Transcript) -> None:
        n = len(transcript.recipients)
        served = sum(self._number(transcript, a) is not None for a in transcript.recipients.addresses)
        self._require(3 * (n - served) < n, f"a vote for a transcript that serves {served} of {n}")

    def _could_certify(self, session: Session, view: int, digest: bytes) -> None:
        liars = sum(1 for a in session.recipients.addresses if self.world.nodes[a].tamper is not None)
        votes = len(self._commits[session.id, view, digest]) + liars
        if 3 * votes >= 2 * session.n:
            self._decides(session.id, digest)
            if digest != VOID_HASH:
                self._exists(self._proposed[digest])

    # -- versions ----------------------------------------------------------------------------------------------

    def _exists(self, transcript: Transcript) -> None:
        """A certificate of this transcript may be somewhere."""
        if transcript.hash in self.versions:
            return
        self._proposed[transcript.hash] = transcript
        self._decides(transcript.session, transcript.hash)
        number = transcript.boundary.number
        one = self._key_at.setdefault(number, transcript.hash) == transcript.hash
        self._require(one, "two transcripts certified at one boundary number")
        self._mpks.add(transcript.mpk)
        self._require(len(self._mpks) == 1, "two master keys")
        self._lists_keys(transcript)
        for other in self.versions.values():
            self._forks(*sorted((transcript, other), key=lambda t: t.version))
        self.versions[transcript.hash] = transcript
        self.keeps_a_version()

    def _decides(self, session: SessionId, digest: bytes) -> None:
        known = self._decided.setdefault(session, digest)
        self._require(known == digest, "votes for two certificates of one session exist")

    def _lists_keys(self, transcript: Transcript) -> None:
        """Each number is that of its session, or that of the source; none goes back."""
        source = self._source_of(transcript)
        for address in transcript.recipients.addresses:
            listed = transcript.key_of(address)
            before = None if source is None else source.key_of(address)
            if before is not None:
                back = listed is None or listed.number < before.number
                self._require(not back, "a version lists an older key than its source")
            known = listed is None or listed == before or listed.number == transcript.boundary.number
            self._require(known, "a version lists a key of neither its session nor its source")

    def _source_of(self, transcript: Transcript) -> Transcript | None:
        return None if transcript.source_version == GENESIS_SOURCE else self._proposed[transcript.source_hash]

    def _ancestors(self, transcript: Transcript) -> Iterator[Transcript]:
        source = self._source_of(transcript)
        while source is not None:
            yield source
            source = self._source_of(source)

    def _forks(self, lower: Transcript, higher: Transcript) -> None:
        """Neither of two versions that exist lies on another branch."""
        both = set(lower.recipients.addresses) | set(higher.recipients.addresses)
        faulty = sum(1 for a in both if self._is_faulty(a))
        if lower.threshold + higher.threshold - len(both) <= faulty:
            return  # their quorums need not share a correct member
        follows = any(t.hash == lower.hash for t in self._ancestors(higher))
        numbers = (
            f"{lower.boundary.number} from {lower.source_version}, "
            f"{higher.boundary.number} from {higher.source_version}"
        )
        self._require(follows, f"two versions on different branches: {numbers}")

    def _is_faulty(self, address: OperatorAddress) -> bool:
        node = self.world.nodes[address]
        return node.tamper is not None or node.has_lost_disk

    # -- who can get at a share ----------------------------------------------------------------------------------

    def _number(self, transcript: Transcript, address: OperatorAddress) -> int | None:
        """The number of the key that this recipient's rows are encrypted to; ``None`` if it is not served."""
        member = transcript.recipients.addresses.index(address)
        numbers = {self._header(name, transcript).key_numbers[member] for _, name in transcript.dealers}
        self._require(len(numbers - {None}) <= 1, "rows of one recipient for different keys")
        return None if None in numbers else next(iter(numbers))

    def _header(self, name: bytes, transcript: Transcript) -> DealingHeader:
        """A header that was said, or is in a journal and will be."""
        if name not in self._headers:
            for node in self.world.nodes.values():
                for record in node.disk.journal.get(transcript.session, ()):
                    if record.kind == "dealing":
                        header = dealing_header(record.body)
                        self._headers[header.name] = header
        return self._headers[name]

    def is_kept(self, transcript: Transcript) -> bool:
        """Whether a correct operator has all dealings of a version on disk."""
        return any(node.disk.has_dealings(transcript) for node in self.world.sound())

    def _can_get(self, node: "Node", transcript: Transcript, *, kept: bool) -> bool:
        """Whether a recipient has its share, or the dealings are to be had and it has the key to them."""
        if node.disk.has_share(transcript.hash):
            return True
        number = self._number(transcript, node.address)
        return kept and number is not None and number in node.disk.keys

    def keeps_a_version(self) -> None:
        """Every correct recipient that the highest version serves can get its share; t of them can get theirs of some version."""
        if not self.versions:
            return
        highest = max(self.versions.values(), key=lambda t: t.version)
        kept = self.is_kept(highest)
        for node in self.world.sound():
            if highest.recipients.get(node.address) is None or self._is_elsewhere(node, highest):
                continue
            number = self._number(highest, node.address)
            if number is not None and not self._can_get(node, highest, kept=kept):
                why = f"its key {number} is gone" if kept else "nobody correct has all dealings"
                self._require(False, f"{node.name} cannot get its share of the highest version: {why}")
        self._is_available()

    def _is_elsewhere(self, node: "Node", transcript: Transcript) -> bool:
        """Whether the node knows a version as certified that is not on the way to this one: there is a fork, which is allowed."""
        certified = node.disk.certified
        way = {transcript.hash, *(ancestor.hash for ancestor in self._ancestors(transcript))}
        return certified is not None and certified.transcript.hash not in way

    def _is_available(self) -> None:
        best = 0.0
        for transcript in sorted(self.versions.values(), key=lambda t: -t.version):
            kept = self.is_kept(transcript)
            members = transcript.recipients.addresses
            holders = [n for n in self.world.sound() if n.address in members]
            able = sum(1 for node in holders if self._can_get(node, transcript, kept=kept))
            if able >= transcript.threshold or not self._bears(transcript):
                return
            best = max(best, able / transcript.threshold)
        self._require(False, f"no version has enough correct holders: {best:.0%} of t at best")

    def _bears(self, transcript: Transcript) -> bool:
        """Whether the members that it does not serve, and those that are faulty, are fewer than a third."""
        members = transcript.recipients.addresses
        lost = [a for a in members if self._is_faulty(a) or self._number(transcript, a) is None]
        return 3 * len(lost) < len(members)

    @property
    def is_out_of_reach(self) -> bool:
        """Whether the highest version may have too few holders, as it left newcomers out and others are faulty beside them."""
        highest = max(self.versions.values(), key=lambda t: t.version, default=None)
        return highest is not None and not self._bears(highest)

    def serves(self, node: "Node") -> None:
        """What a node has on disk of a version it serves to all recipients, also in its next life."""
        operator = node.operator
        for known in () if operator is None or node.tamper is not None else operator.versions:
            transcript = known.transcript
            if not node.disk.has_dealings(transcript):
                continue
            for _, name in transcript.dealers:
                rows = [operator.row(name, a) for a in transcript.recipients.addresses]  # type: ignore[union-attr]
                self._require(None not in rows, f"{node.name} has a dealing on disk and does not serve it")

    def waits(self, node: "Node", deadline: float | None) -> None:
        """A machine that was told the time asks to be told again later, not at once and for ever."""
        self._require(deadline is None or deadline > node.now, f"{node.name} asks for a time that has passed")

    # -- one session a boundary, one genesis -----------------------------------------------------------------------

    def joins(self, node: "Node", session: Session) -> None:
        """Nobody begins a session at a boundary number it was at before, or that an earlier disk of it may have voted at; nor a
        genesis while bound to another, or with a key in hand.
        """
        numbers = [stored.session.boundary.number for stored in node.disk.sessions.values()]
        newest = max([node.disk.floor, *numbers])
        self._require(session.boundary.number > newest, "a boundary number joined twice")
        if node.operator is not None and node.operator.has_version:
            return  # a rotation binds nobody
        self._require(not node.disk.held, "genesis joined with a key in hand")
        for other in set(node.disk.sessions) - set(node.disk.closed):
            bound = any(read_vote(frame).hash != VOID_HASH for frame in self._own_votes(node, other))
            self._require(not bound, "a second genesis joined while bound to a first")

    def _own_votes(self, node: "Node", session: SessionId) -> list[Frame]:
        frames = [decode_frame(r.body) for r in node.disk.journal.get(session, []) if r.kind == "frame"]
        return [frame for frame in frames if frame.kind is FrameKind.VOTE]

    # -- results -----------------------------------------------------------------------------------------------

    def certifies(self, node: "Node", effect: StoreCertifiedVersion) -> None:
        if node.tamper is None:
            self._counts_for(effect.transcript, effect.certificate, Phase.COMMIT)
            self._exists(effect.transcript)

    def prepares(self, node: "Node", effect: StorePreparedVersion) -> None:
        if node.tamper is None:
            self._counts_for(effect.transcript, effect.certificate, Phase.PREPARE)
            rotation = effect.transcript.source_version != GENESIS_SOURCE
            self._require(rotation, "a genesis that is merely prepared is no version")

    def _counts_for(self, transcript: Transcript, certificate: Certificate, phase: Phase) -> None:
        self._require(certificate.hash == transcript.hash, "a certificate of another transcript")
        self._counts(certificate, self.world.session(certificate.session), phase)

    def closes(self, node: "Node", effect: CloseSession) -> None:
        if node.tamper is None:
            self._counts(effect.certificate, self.world.session(effect.certificate.session))
            self._decides(effect.certificate.session, VOID_HASH)

    def _counts(self, certificate: Certificate, session: Session, phase: Phase = Phase.COMMIT) -> None:
        """Enough votes, by the judge's own arithmetic."""
        self._require(
            certificate.phase is phase, f"decided by a certificate of phase {certificate.phase.name}"
        )
        try:
            certificate.verify(session.recipients, -(-2 * session.n // 3))
        except BadCertificateError as error:
            self._require(False, str(error))

    def holds(self, node: "Node", transcript_hash: bytes, share: SecretScalar) -> None:
        """A share lies on the version's vector."""
        transcript = node.disk.versions[transcript_hash].transcript
        fits = public_share_of(share) == transcript.public_share(node.address)
        self._require(node.tamper is not None or fits, "a share is off the certified vector")

    # -- erasing -------------------------------------------------------------------------------------------------

    def erases(self, node: "Node", transcript_hash: bytes) -> None:
        """Nothing but a certified higher version erases a share."""
        if node.tamper is None:
            erased, certified = node.disk.versions[transcript_hash].transcript, node.disk.certified
            past = certified is not None and _is_past(erased, certified.transcript)
            self._require(past, "a share erased before a higher version is certified")

    def after_step(self, node: "Node") -> None:
        """Nothing is left on disk that the highest certified version made superfluous."""
        certified = node.disk.certified
        if node.tamper is not None or certified is None:
            return
        transcript, number = certified.transcript, certified.transcript.boundary.number
        old = [v for v in node.disk.held if v.share is not None and _is_past(v.transcript, transcript)]
        self._require(not old, f"{node.name} keeps a share of an older version than a certified one")
        member = transcript.recipients.get(node.address) is not None
        if certified.share is not None or not member:
            listed = transcript.key_of(node.address) if member else None
            left = {k for k in node.disk.keys if k <= number} - ({listed.number} if listed else set())
            self._require(not left, f"{node.name} keeps keys {sorted(left)} that nothing needs")
        for session, record in node.disk.secret_records:
            old_secret = session.boundary.number <= number
            self._require(not old_secret, f"{node.name} keeps a {record.kind} of a session that is over")

    # -- evidence ------------------------------------------------------------------------------------------------

    def accuses(self, node: "Node", evidence: Evidence) -> None:
        """Evidence convinces whoever has nothing but its bytes, and is never of an honest operator."""
        if node.tamper is not None:
            return
        honest = self.world.nodes[evidence.accused].tamper is None
        self._require(not honest, f"evidence of {evidence.fault} accuses an honest operator")
        signed = all(self.world.is_signed(f) and f.sender == evidence.accused for f in evidence.frames)
        self._require(signed, "evidence of frames that the accused did not sign")
        bundle = Bundle(self.world.session(evidence.session), evidence)
        try:
            check_bundle(decode_bundle(bundle.encoded))
        except EigenKmsError as error:
            self._require(False, f"evidence that convinces nobody: {error}")

    # -- blame ---------------------------------------------------------------------------------------------------

    def blames(self, node: "Node", session: Session) -> None:
        """Among those that a correct member names is somebody who is faulty or absent: so no correct operator is named alone."""
        if node.tamper is not None or self.culprits is None or node.address not in session.x:
            return
        ceremony = None if node.operator is None else node.operator.ceremony(session.id)
        blame = None if ceremony is None else ceremony.blame
        assert blame is not None, f"{node.name} names nobody of a session that it left"
        self._require(bool(blame.operators & self.culprits), f"{node.name} blames only others: {blame.named}")

    # -- budgets -------------------------------------------------------------------------------------------------

    def keeps_budgets(self, node: "Node") -> None:
        """What a node keeps in memory from each sender: frames of each kind and session, and bytes over all sessions."""
        machine = node.operator
        if machine is None or node.tamper is not None:
            return
        kept: Counter[OperatorAddress] = Counter()
        for ceremony in machine._all:
            counts: Counter[tuple[OperatorAddress, FrameKind]] = Counter()
            for frame in ceremony._log:
                counts[frame.sender, frame.kind] += 1
                kept[frame.sender] += len(frame.encoded)
            for known in ceremony._dealings:
                kept[known.header.dealer] += len(known.body)
            few = all(count <= most_frames(kind, ceremony) for (_, kind), count in counts.items())
            self._require(few, f"{node.name} keeps too many frames of one sender and session")
        for sender, frames in machine._early.items():
            size = sum(len(frame.encoded) for frame in frames)
            few = len(frames) <= early_frames.MAX_EARLY_FRAMES and size <= early_frames.MAX_EARLY_BYTES
            self._require(few, f"{node.name} keeps {len(frames)} early frames of {size} bytes")
            kept[sender] += size
        most = max(kept.values(), default=0)
        self._require(most <= most_bytes(machine), f"{node.name} keeps {most} bytes of one sender")

    def forgets(self, node: "Node") -> None:
        """A node that forgot what nobody needs has so many sessions left."""
        machine = node.operator
        if machine is None or node.tamper is not None:
            return
        for rotations in (False, True):
            count = sum(ceremony.is_rotation is rotations for ceremony in machine._all)
            few = count <= most_sessions(machine, rotations=rotations)
            self._require(few, f"{node.name} keeps {count} sessions")

    def verifies(self, node: "Node", frames: Sequence[Frame]) -> None:
        """Signatures that are verified, and hold, of each sender: in a session, and in all that are not known; the last batch may
        exceed the bound.
        """
        machine = node.operator
        if machine is None or node.tamper is not None or not frames:
            return
        most = most_verified() + len(frames)
        for frame in {frame.key: frame for frame in frames}.values():
            node.verified[frame.session, frame.sender] += 1
            few = node.verified[frame.session, frame.sender] <= most
            self._require(few, "too many signatures of one sender verified in a session")
        for sender in {frame.sender for frame in frames if machine.ceremony(frame.session) is None}:
            of_it = [s for s, a in node.verified if a == sender and machine.ceremony(s) is None]
            early = sum(node.verified[session, sender] for session in of_it)
            few = early <= most_verified_early() + len(frames)
            self._require(few, "too many early frames of one sender verified")

    def finds_forged(self, node: "Node", source: OperatorAddress) -> None:
        """Bad signatures that are verified, by who handed them over, in all sessions since the newest boundary."""
        if node.tamper is None:
            self._require(
                node.forged[source] <= most_forged(), "too many bad signatures of one source verified"
            )

    def checks(self, node: "Node", job: CheckJob) -> None:
        """One dealing of a dealer is verified for each session and source, so no more over all sessions than these have sources."""
        machine = node.operator
        if machine is None or node.tamper is not None:
            return
        for dealing in job.dealings:
            context = dealing.claim.context
            self._require(context not in node.checked, "two dealings of one slot verified")
            node.checked.add(context)
            of_it = [c for c in node.checked if c.dealer == context.dealer and machine.ceremony(c.session)]
            few = len(of_it) <= sum(map(most_dealings, machine._all))
            self._require(few, "more dealings of one dealer verified than there are sources")


def _is_past(version: Transcript, certified: Transcript) -> bool:
    """Whether it is older than the certified one, or another one of its session."""
    return version.hash != certified.hash and version.version <= certified.version
