"""Evidence of protocol 2 convinces whoever has nothing but its bytes; nothing that correct operators sign convicts one of them.

Run this module as a script (``python -m tests.protocols.test_evidence``) to write the golden file: on purpose only, together
with a new version byte.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import msgpack
import pytest

from eigenkms.crypto import backends, pvss
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.scalars import R
from eigenkms.crypto.shamir import Polynomial
from eigenkms.errors import EigenKmsError, InputError, VerificationError
from eigenkms.protocols.ceremony.jobs import DealJob, DealResult
from eigenkms.protocols.records import evidence_bundle
from eigenkms.protocols.records.evidence import Evidence, Fault
from eigenkms.protocols.records.evidence_bundle import (
    MAX_BUNDLES,
    Bundle,
    check_bundle,
    decode_bundle,
    decode_bundles,
    encode_bundles,
)
from eigenkms.protocols.records.fault_proofs import proves
from eigenkms.types import OperatorAddress
from eigenkms.wire.codec import MalformedError, encode
from eigenkms.wire.dealing import build_dealing, encode_body
from eigenkms.wire.dealing_header import DealingHeader
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import (
    GENESIS,
    certificate_body,
    dealing_body,
    key_body,
    proposal_body,
    ref_of,
    source_of,
    view_change_body,
    vote_body,
)
from eigenkms.wire.session import ZERO32, Session
from eigenkms.wire.transcript import ListedKey, Transcript
from eigenkms.wire.votes import Phase
from tests.protocols.parts import base_versions_of, frame_log_of
from tests.protocols.rooms import (
    Desk,
    Table,
    certify,
    done,
    encryption_key,
    jobs_of,
    key_frame,
    version_of,
)
from tests.protocols.support import Cast, accusations, cast, journal

FILE = Path(__file__).parent / "golden" / "evidence.json"
MANY = 400
"""Bytes of a large bundle that are changed, one after another."""


@dataclass(frozen=True)
class Signed:
    """What an operator signs when it deals."""

    header: DealingHeader
    body: bytes
    frame: Frame


class Scene:
    """Holders of a source, one of which leaves, hand over to the others and a newcomer: a session with all kinds of parties."""

    def __init__(self) -> None:
        self.everybody = cast(5, seed="evidence")
        self.leaver, self.dealer, *_, self.newcomer = self.everybody.addresses
        self.source = version_of(self.everybody.at(0, self.everybody.addresses[:4]))
        self.cast: Cast = self.everybody.at(10, self.everybody.addresses[1:])
        self.session: Session = self.cast.session
        self.bodies: dict[bytes, bytes] = {}
        """Of all dealings that were made here, by name."""

    def says(self, sender: OperatorAddress, kind: FrameKind, body: list[Any]) -> Frame:
        return self.cast.frame(sender, kind, body)

    def accuses(
        self, fault: Fault, *frames: Frame, source: Transcript | None = None, body: bytes | None = None
    ) -> Bundle:
        evidence = Evidence(fault, frames[0].sender, self.session.id, frames, source, body)
        return Bundle(self.session, evidence)

    # -- dealings ----------------------------------------------------------------------------------------------

    def desk(self, me: OperatorAddress) -> Desk:
        return Desk(self.cast, me, self.source).knows(self.newcomer)

    def job(self, dealer: OperatorAddress) -> DealJob:
        (job,) = jobs_of(self.desk(dealer).dealings.advance(0.0))
        assert isinstance(job, DealJob)
        return job

    def deals(
        self,
        dealer: OperatorAddress,
        change: Callable[[DealingHeader], DealingHeader] = lambda header: header,
        *,
        polynomial: Polynomial | None = None,
        odd: bool = False,
    ) -> Signed:
        """A dealing. Its commitments may be those of another polynomial, its body odd, and its header changed at last."""
        job = self.job(dealer)
        result = done(self.cast, job)
        assert isinstance(result, DealResult)
        encrypted = result.encrypted
        if odd:
            encrypted = replace(encrypted, answers=replace(encrypted.answers, base=R))
        commitments = (polynomial or job.polynomial).commitments()
        numbers = (100, 100, 100, self.session.boundary.number)
        header = build_dealing(
            job.context, job.source.version, commitments, encrypted, numbers, job.newcomers
        )
        changed = change(header)
        frame = self.says(dealer, FrameKind.DEALING, dealing_body(job.source, changed.encoded))
        body = self.bodies[changed.name] = encode_body(encrypted)
        return Signed(changed, body, frame)

    def other_polynomial(self, dealer: OperatorAddress) -> Polynomial:
        """Of the same constant term."""
        own = self.job(dealer).polynomial
        return Polynomial.random(own.threshold, self.cast.rng, own.constant)

    def false(self, dealer: OperatorAddress | None = None) -> Signed:
        """Shares of another polynomial than the committed one."""
        liar = dealer or self.dealer
        return self.deals(liar, polynomial=self.other_polynomial(liar))

    # -- what proves a fault ------------------------------------------------------------------------------------

    def equivocations(self) -> dict[str, Bundle]:
        ref = ref_of(self.source.transcript)
        prepared = certify(self.cast, version_of(self.cast, source=100).transcript, Phase.PREPARE)
        bodies: dict[FrameKind, tuple[list[Any], list[Any]]] = {
            FrameKind.KEY: tuple(  # type: ignore[dict-item]
                key_frame(self.cast, self.dealer, encryption_key(self.cast, self.dealer, n)).body
                for n in (1, 2)
            ),
            FrameKind.HASH: ([bytes(32)], [b"\x01" * 32]),
            FrameKind.DEALING: (dealing_body(ref, b"x"), dealing_body(ref, b"y")),
            FrameKind.PROPOSAL: (proposal_body(3, GENESIS, None, None), proposal_body(3, ref, None, None)),
            FrameKind.VOTE: tuple(vote_body(3, Phase.COMMIT, bytes([i]) * 32, bytes(64)) for i in range(2)),  # type: ignore[dict-item]
            FrameKind.VIEW_CHANGE: (view_change_body(3, None), view_change_body(3, prepared)),
        }
        return {
            f"two {kind.name}": self.accuses(
                Fault.EQUIVOCATION, *(self.says(self.dealer, kind, body) for body in pair)
            )
            for kind, pair in bodies.items()
        }

    def dealings(self) -> dict[str, Bundle]:
        source = self.source.transcript
        headers: dict[str, Signed] = {
            "a commitment less": self.deals(
                self.dealer, lambda h: replace(h, commitments=h.commitments[:-1])
            ),
            "another constant": self.deals(
                self.dealer, polynomial=Polynomial.random(self.session.threshold, self.cast.rng)
            ),
            "other key numbers": self.deals(
                self.dealer, lambda h: replace(h, key_numbers=(1, *h.key_numbers[1:]))
            ),
            "a newcomer without proof": self.deals(
                self.dealer, lambda h: replace(h, newcomers=(self._unproved(),))
            ),
            "no point": self.deals(
                self.dealer, lambda h: replace(h, commitments=(*h.commitments[:-1], b"\x99" * 96))
            ),
        }
        found = {
            name: self.accuses(Fault.BAD_DEALING, signed.frame, source=source)
            for name, signed in headers.items()
        }
        nonsense = self.says(self.dealer, FrameKind.DEALING, dealing_body(ref_of(source), b"\x90"))
        found["no header"] = self.accuses(Fault.BAD_DEALING, nonsense, source=source)
        for name, signed in (
            ("false shares", self.false()),
            ("false shares of a leaver", self.false(self.leaver)),
            ("a body that does not decode", self.deals(self.dealer, odd=True)),
        ):
            found[name] = self.accuses(Fault.BAD_DEALING, signed.frame, source=source, body=signed.body)
        first, second = (self.deals(self.leaver).frame for _ in range(2))
        found["two dealings of a leaver"] = self.accuses(Fault.EQUIVOCATION, first, second, source=source)
        return found | self._of_genesis()

    def _unproved(self) -> bytes:
        public, proof = key_frame(self.cast, self.newcomer).body
        return self.says(self.newcomer, FrameKind.KEY, key_body(public, proof[:-1] + b"\x07")).encoded

    def _of_genesis(self) -> dict[str, Bundle]:
        """A header that is one of a genesis, whatever the source of the session is elsewhere: nothing shows that here."""
        keys = tuple(key_frame(self.cast, a).encoded for a in self.cast.addresses)
        numbers = (self.session.boundary.number,) * self.session.n
        signed = self.deals(
            self.dealer,
            lambda h: replace(h, source_version=0, source_hash=ZERO32, newcomers=keys, key_numbers=numbers),
        )
        frame = self.says(self.dealer, FrameKind.DEALING, dealing_body(GENESIS, signed.header.encoded))
        announced = self.says(self.dealer, FrameKind.HASH, [bytes(32)])
        return {"not the announced one": self.accuses(Fault.BAD_DEALING, frame, announced)}

    def words(self) -> dict[str, Bundle]:
        """Faults that one frame shows."""
        made = version_of(self.cast, source=int(self.source.transcript.version)).transcript
        few = certify(self.cast, made, Phase.PREPARE, signers=self.cast.addresses[:2])
        public, proof = key_frame(self.cast, self.dealer).body
        ref = ref_of(self.source.transcript)

        def one(fault: Fault, kind: FrameKind, body: list[Any]) -> Bundle:
            return self.accuses(fault, self.says(self.dealer, kind, body))

        proposals: dict[str, list[Any]] = {
            "no transcript": proposal_body(0, ref, b"nonsense", None),
            "another source": proposal_body(0, ref, made.encoded, None),
            "a source for nothing": proposal_body(0, ref, None, None),
            "another session": proposal_body(0, GENESIS, self.source.transcript.encoded, None),
            "another master key": proposal_body(
                0, source_of(made), replace(made, mpk=made.commitments[1]).encoded, None
            ),
            "no keys": proposal_body(0, source_of(made), replace(made, keys=()).encoded, None),
        }
        certificates: dict[str, tuple[FrameKind, list[Any]]] = {
            "too few signers": (FrameKind.VIEW_CHANGE, view_change_body(1, few)),
            "a foreign certificate": (
                FrameKind.VIEW_CHANGE,
                view_change_body(1, replace(few, session=self.source.transcript.session)),
            ),
            "a justification": (FrameKind.PROPOSAL, proposal_body(1, source_of(made), made.encoded, few)),
            "an announcement": (FrameKind.CERTIFICATE, certificate_body(made.encoded, few)),
        }
        return {
            "an unproved key": one(Fault.BAD_KEY, FrameKind.KEY, key_body(public, proof[:-1] + b"\x07")),
            "an unsigned vote": one(
                Fault.BAD_VOTE, FrameKind.VOTE, vote_body(0, Phase.PREPARE, bytes(32), bytes(64))
            ),
            **{
                f"proposes {name}": one(Fault.BAD_PROPOSAL, FrameKind.PROPOSAL, b)
                for name, b in proposals.items()
            },
            **{
                f"passes on {name}": one(Fault.BAD_CERTIFICATE, k, b) for name, (k, b) in certificates.items()
            },
        }

    def proven(self) -> dict[str, Bundle]:
        return {**self.equivocations(), **self.dealings(), **self.words()}


@cache
def scene(backend: str) -> Scene:
    """One for each curve in use, as dealings take time on the real one."""
    del backend
    return Scene()


@cache
def proven(backend: str) -> dict[str, Bundle]:
    return scene(backend).proven()


@pytest.fixture
def play() -> Scene:
    return scene(backends.bls12381().name)


@pytest.fixture
def all_proven() -> dict[str, Bundle]:
    return proven(backends.bls12381().name)


def _convicts(data: bytes) -> bool:
    """Whether somebody who has nothing but these bytes is convinced."""
    try:
        check_bundle(decode_bundle(data))
    except EigenKmsError:
        return False
    return True


# -- what convicts -----------------------------------------------------------------------------------------------


def test_every_fault_is_proven_by_its_bytes_alone(all_proven: dict[str, Bundle]) -> None:
    """Frames, and the source and the body that they name, and nothing else."""
    assert {bundle.evidence.fault for bundle in all_proven.values()} == set(Fault)
    for name, bundle in all_proven.items():
        again = decode_bundle(bundle.encoded)
        check_bundle(again)
        assert (again, again.encoded, again.name) == (bundle, bundle.encoded, bundle.name), name
        assert again.source == again.evidence.source


@pytest.mark.slow
def test_no_byte_of_a_bundle_can_be_changed(all_proven: dict[str, Bundle]) -> None:
    """All that a verdict depends on is signed by the accused, or bound by what it signed; nothing else is accepted."""
    for name, bundle in all_proven.items():
        data = bundle.encoded
        for place in range(0, len(data), max(1, len(data) // MANY)):
            flip = 0x80 if place % 3 == 0 else 0x01
            changed = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
            assert not _convicts(changed), f"{name}: byte {place} of {len(data)}"


def test_nothing_superfluous_is_accepted(play: Scene, all_proven: dict[str, Bundle]) -> None:
    """No other source or body, none where none is needed, no frame more or less, and no other accused or fault."""
    source, body = play.source.transcript, play.false().body
    elsewhere = version_of(play.everybody.at(0, play.everybody.addresses[:4]), source=1).transcript
    for name, bundle in all_proven.items():
        evidence = bundle.evidence
        changed = [replace(evidence, source=other) for other in (None, source, elsewhere)]
        changed += [replace(evidence, body=other) for other in (None, b"", body, body[:-1])]
        changed += [
            replace(evidence, accused=a) for a in (*play.everybody.addresses, OperatorAddress(bytes(20)))
        ]
        changed += [replace(evidence, fault=fault) for fault in Fault]
        changed += [replace(evidence, frames=frames) for frames in _other_frames(evidence)]
        for other in changed:
            if other != evidence:
                assert not _convicts(Bundle(play.session, other).encoded), name
        later = replace(evidence, session=play.cast.later().id)
        assert not _convicts(Bundle(play.cast.later(), later).encoded), name
        with pytest.raises(VerificationError, match="another session"):
            check_bundle(Bundle(play.session, later))


def _other_frames(evidence: Evidence) -> list[tuple[Frame, ...]]:
    first, *rest = evidence.frames
    return [(first, first), (*evidence.frames, first)[:2], (first,), *([tuple(rest)] if rest else [])]


def test_a_source_is_bound_by_the_dealing_and_needs_no_certificate(play: Scene) -> None:
    """The dealer chose what it deals from: who certified that does not matter. One of another cluster is refused."""
    signed = play.false()
    bundle = play.accuses(Fault.BAD_DEALING, signed.frame, source=play.source.transcript, body=signed.body)
    assert _convicts(bundle.encoded)
    foreign = replace(play.source.transcript, cluster=type(play.session.cluster)(bytes(32)))
    body = dealing_body(ref_of(foreign), signed.header.encoded)
    frame = play.says(play.dealer, FrameKind.DEALING, body)
    assert not _convicts(play.accuses(Fault.BAD_DEALING, frame, source=foreign).encoded)


def test_keys_that_nobody_can_use_are_not_the_dealers_fault(play: Scene) -> None:
    """A source that lists what is no point: whoever made that up, the proof of a dealing from it is judged by nobody."""
    listed = play.source.transcript.keys
    made_up = replace(play.source.transcript, keys=(listed[0], ListedKey(100, b"\x99" * 48), *listed[2:]))
    signed = play.false(play.leaver)
    header = replace(signed.header, source_hash=made_up.hash, source_version=int(made_up.version))
    frame = play.says(play.leaver, FrameKind.DEALING, dealing_body(ref_of(made_up), header.encoded))
    bundle = play.accuses(Fault.BAD_DEALING, frame, source=made_up, body=signed.body)
    assert not _convicts(bundle.encoded)


# -- what convicts nobody ------------------------------------------------------------------------------------------


def _harmless() -> Iterator[tuple[Session, list[Frame], list[Transcript], list[bytes]]]:
    """All that is said in a genesis and in a rotation with a leaver and a newcomer, with sources and bodies."""
    everybody = cast(5, seed="harmless")
    founders = everybody.at(0, everybody.addresses[:4])
    source = version_of(founders)
    for who, version in ((founders, None), (everybody.at(10, everybody.addresses[1:]), source)):
        lets = Table(who, source=version)
        lets.start()
        _leave_a_view(lets)
        frames = {f.key: f for seat in lets.seats.values() for f in frame_log_of(seat)}
        bodies = [r.body[32:] for es in lets.effects.values() for r in journal(es) if r.kind == "body"]
        assert not [e for es in lets.effects.values() for e in accusations(es)]
        yield who.session, list(frames.values()), [source.transcript], bodies[:2]


def _leave_a_view(table: Table) -> None:
    """Say what is said only if views run out."""
    for seconds in range(1, 8):
        table.at(float(seconds))


def test_what_correct_operators_sign_convicts_nobody() -> None:
    """In any arrangement: of one operator's frames each and each two, under each fault, with any source and body."""
    for session, frames, sources, bodies in _harmless():
        assert {f.kind for f in frames} >= {
            FrameKind.KEY,
            FrameKind.DEALING,
            FrameKind.PROPOSAL,
            FrameKind.VOTE,
            FrameKind.CERTIFICATE,
        }
        for sender in {f.sender for f in frames}:
            own = [f for f in frames if f.sender == sender]
            for chosen in [(f,) for f in own] + list(product(own, own)):
                for fault, source, body in product(Fault, [None, *sources], [None, *bodies]):
                    evidence = Evidence(fault, sender, session.id, chosen, source, body)
                    assert not proves(evidence, session), (fault, chosen)


def test_a_dealing_that_nobody_can_judge_without_its_body_convicts_nobody(play: Scene) -> None:
    """A header whose digests are of something else: nobody can show a body, and nobody needs to count it."""
    signed = play.deals(play.dealer, lambda h: replace(h, rows_root=bytes(32)))
    for body in (None, signed.body):
        bundle = play.accuses(Fault.BAD_DEALING, signed.frame, source=play.source.transcript, body=body)
        assert not _convicts(bundle.encoded)


def test_the_accuser_cannot_make_up_a_key(play: Scene) -> None:
    """The keys of a header are bound by the session id in the frames; those of a source by its hash in the dealing."""
    signed = play.false(play.leaver)
    strangers = cast(4, seed="strangers")
    made_up = replace(play.source.transcript, recipients=strangers.session.recipients)
    bundle = play.accuses(Fault.BAD_DEALING, signed.frame, source=made_up, body=signed.body)
    assert not _convicts(bundle.encoded)
    header = replace(play.session, recipients=strangers.session.recipients)
    assert not _convicts(Bundle(header, bundle.evidence).encoded)


# -- the machines' accusations -------------------------------------------------------------------------------------


APART = {"two PROPOSAL", "not the announced one", "an unsigned vote", "passes on a justification"}
"""Of leaders (below), at genesis (test_genesis), and of a vote that is counted (test_agreement)."""


@pytest.mark.slow
def test_what_the_machines_accuse_of_is_this_evidence(play: Scene, all_proven: dict[str, Bundle]) -> None:
    """Whoever takes in such frames and bodies keeps the very bundle that convinces others."""
    me = play.cast.addresses[1]
    for name, bundle in all_proven.items():
        if name not in APART and bundle.evidence.fault is not Fault.BAD_PROPOSAL:
            (evidence,) = (e for e in _heard(play, me, bundle) if e.fault is bundle.evidence.fault)
            assert evidence == bundle.evidence, name


def _heard(play: Scene, me: OperatorAddress, bundle: Bundle) -> list[Evidence]:
    """What a seat that knows the newcomer's key makes of the frames, and of the body that it asks for."""
    table = Table(
        play.cast, lambda s, _l, f: f.kind is FrameKind.KEY and s == play.newcomer, source=play.source
    )
    table.start()
    seat = table.seats[me]
    effects = table.hear(me, *bundle.evidence.frames)
    for name in seat.wanted_bodies:
        if name in play.bodies:
            effects += seat.take_body(name, play.bodies[name], 1.0)
    for job in jobs_of(effects):
        effects += seat.take_result(done(play.cast, job), 1.0)  # type: ignore[arg-type]
    return accusations(effects)


def test_a_leader_is_accused_of_its_proposal(play: Scene) -> None:
    """Of a transcript that can be none of the session, and of a justification that does not verify: once each."""
    for view in range(4):
        table = Table(play.cast, lambda _s, _l, f: f.kind is FrameKind.KEY, source=play.source)
        table.start()
        seat = table.seats[play.cast.addresses[0]]
        ref = ref_of(play.source.transcript)
        leader = base_versions_of(seat).leader(view, ref)
        if leader in (None, seat.me):
            continue
        made = version_of(play.cast, source=1).transcript
        few = certify(play.cast, made, Phase.PREPARE, signers=play.cast.addresses[:2])
        bodies = [proposal_body(v, ref, b"nonsense", None) for v in (view, view + 4)]
        bodies.append(proposal_body(view + 8, ref, None, few))
        found = accusations(
            table.hear(seat.me, *(play.cast.frame(leader, FrameKind.PROPOSAL, b) for b in bodies))
        )  # type: ignore[arg-type]
        assert [e.fault for e in found] == [Fault.BAD_PROPOSAL, Fault.BAD_CERTIFICATE]
        for evidence in found:
            check_bundle(decode_bundle(Bundle(play.session, evidence).encoded))


# -- shape and bounds ------------------------------------------------------------------------------------------------


def _fields(bundle: Bundle) -> list[Any]:
    found: list[Any] = msgpack.unpackb(bundle.encoded)
    return found


BROKEN: dict[str, Callable[[list[Any]], object]] = {
    "no list": lambda _f: 1,
    "an item less": lambda f: f[:-1],
    "version 1": lambda f: [1, *f[1:]],
    "an unknown fault": lambda f: [*f[:2], "made-up", *f[3:]],
    "a fault of protocol 1": lambda f: [*f[:2], "wrong-constant", *f[3:]],
    "no frames": lambda f: [*f[:4], [], *f[5:]],
    "three frames": lambda f: [*f[:4], [*f[4], f[4][0], f[4][0]][:3], *f[5:]],
    "a number for a frame": lambda f: [*f[:4], [1], *f[5:]],
    "a short address": lambda f: [*f[:3], f[3][:-1], *f[4:]],
    "no session": lambda f: [f[0], b"", *f[2:]],
    "an impossible session": lambda f: [f[0], _impossible(f[1]), *f[2:]],
    "no source": lambda f: [*f[:5], b"", f[6]],
    "a body beyond all bounds": lambda f: [*f[:6], bytes(pvss.encoded_size(256) + 1)],
}


def _impossible(header: bytes) -> bytes:
    fields = msgpack.unpackb(header)
    fields[4] = []
    return encode(fields)


@pytest.mark.parametrize("case", BROKEN)
def test_bytes_that_are_no_bundle_are_refused(all_proven: dict[str, Bundle], case: str) -> None:
    """Whatever they are, by the decoder, before anything is computed."""
    fields = _fields(all_proven["two KEY"])
    with pytest.raises(MalformedError):
        decode_bundle(encode(BROKEN[case](fields)))


def test_a_bundle_of_the_largest_session_has_room(play: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """More bytes are not read at all."""
    largest = 132 * 1024 + pvss.encoded_size(256) + 2 * 48 * 1024
    assert largest < evidence_bundle.MAX_BUNDLE_BYTES
    bundle = play.equivocations()["two KEY"]
    monkeypatch.setattr(evidence_bundle, "MAX_BUNDLE_BYTES", len(bundle.encoded) - 1)
    with pytest.raises(MalformedError, match="more than"):
        decode_bundle(bundle.encoded)


def test_bundles_travel_in_one_file(
    play: Scene, all_proven: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, each not decoded yet; too many are refused by whoever writes them."""
    bundles = list(all_proven.values())
    assert decode_bundles(encode_bundles(bundles)) == tuple(b.encoded for b in bundles)
    with pytest.raises(InputError):
        encode_bundles(bundles[:1] * (MAX_BUNDLES + 1))
    monkeypatch.setattr(evidence_bundle, "MAX_FILE_BYTES", 8 * MAX_BUNDLES)
    with pytest.raises(InputError):
        encode_bundles(bundles[:1])
    for wrong in (encode(1), encode([1])):
        with pytest.raises(MalformedError):
            decode_bundles(wrong)


def test_the_name_of_a_bundle_is_that_of_its_frames(all_proven: dict[str, Bundle]) -> None:
    """In any order, whoever noticed it."""
    bundle = all_proven["two VOTE"]
    turned = replace(bundle, evidence=replace(bundle.evidence, frames=bundle.evidence.frames[::-1]))
    assert turned.name == bundle.name
    assert len({b.name for b in all_proven.values()}) == len(all_proven)


# -- the format is frozen ------------------------------------------------------------------------------------------


def golden() -> dict[str, str]:
    """A bundle of each fault without a body, and the digest of one with a body, on the real curves."""
    with backends.use("native"):
        play = Scene()
        found = {
            bundle.evidence.fault: bundle
            for bundle in reversed({**play.equivocations(), **play.words()}.values())
        }
        found[Fault.BAD_DEALING] = play.dealings()["another constant"]
        signed = play.false()
        whole = play.accuses(Fault.BAD_DEALING, signed.frame, source=play.source.transcript, body=signed.body)
        kept = {fault.value: bundle.encoded.hex() for fault, bundle in sorted(found.items())}
        return {**kept, "digest of one with a body": keccak256(whole.encoded).hex()}


@pytest.mark.slow
def test_bundles_are_the_golden_ones() -> None:
    """Byte for byte; each convicts on the real curves as well."""
    assert golden() == json.loads(FILE.read_text())


def test_golden_bundles_convict() -> None:
    """Those of the file, which no code of this test made."""
    with backends.use("native"):
        found = {name: text for name, text in json.loads(FILE.read_text()).items() if name in set(Fault)}
        assert set(found) == set(Fault)
        for name, text in found.items():
            bundle = decode_bundle(bytes.fromhex(text))
            check_bundle(bundle)
            assert bundle.evidence.fault == name


if __name__ == "__main__":
    FILE.write_text(json.dumps(golden(), indent=1) + "\n")
