"""A bundle convinces whoever has nothing but the bundle: it holds all that a check needs, in one form only.

Run this module as a script (``python -m tests.protocols.test_evidence_bundle``) to write the golden file: on purpose only, together
with a new version byte.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from eigenkms.crypto import backends, bn254, schnorr
from eigenkms.crypto.hashing import be32
from eigenkms.crypto.scalars import R, SecretScalar
from eigenkms.crypto.shamir import Polynomial
from eigenkms.errors import EigenKmsError, InputError, VerificationError
from eigenkms.protocols import evidence_bundle
from eigenkms.protocols.codec import MalformedError, encode
from eigenkms.protocols.dealing import Dealing, reshare
from eigenkms.protocols.evidence import Evidence, Fault
from eigenkms.protocols.evidence_bundle import (
    MAX_BUNDLES,
    Bundle,
    check_bundle,
    decode_bundle,
    decode_bundles,
    encode_bundles,
)
from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.messages import confirm_body, dealing_body, vote_body
from eigenkms.protocols.requests import Epoch
from eigenkms.protocols.session import ZERO32, Session, encode_session
from eigenkms.protocols.settlement import confirm_digest, possession_context
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.votes import Phase, aggregate, vote_digest
from eigenkms.types import BlockRef, ClusterId, OperatorAddress, OperatorSet
from tests.protocols.support import Cast, cast, counter_rng
from tests.protocols.test_evidence import Scene, _harmless, _proven

FILE = Path(__file__).parent / "golden" / "evidence.json"


def certified(who: Cast, transcript: Transcript) -> Epoch:
    """With the votes of all of its recipients."""
    digest = vote_digest(transcript.session, 0, Phase.COMMIT, transcript.hash)
    votes = {m.address: bn254.sign(who.keys[m.address], digest) for m in transcript.recipients}
    certificate = aggregate(
        transcript.session, 0, Phase.COMMIT, transcript.hash, votes, transcript.recipients
    )
    return Epoch(transcript, certificate)


def shared(session: Session) -> Polynomial:
    """What the shares of a session's version lie on."""
    return Polynomial.random(session.threshold, counter_rng("source"))


def version(who: Cast, session: Session, *, cluster: ClusterId | None = None) -> Epoch:
    """A version that ``session`` made."""
    commitments = shared(session).commitments()
    transcript = Transcript(
        cluster or session.cluster,
        session.id,
        session.boundary,
        session.recipients,
        session.threshold,
        0,
        ZERO32,
        (),
        commitments[0],
        commitments,
    )
    return certified(who, transcript)


def bundled(who: Cast, evidence: Evidence) -> Bundle:
    """As a node keeps it."""
    source = None if evidence.source is None else certified(who, evidence.source)
    return Bundle(who.session, evidence, source)


def equivocation(who: Cast, source: Epoch | None = None) -> Bundle:
    """Two hashes of one operator."""
    accused = who.addresses[0]
    frames = tuple(who.frame(accused, Kind.HASH, [bytes([number]) * 32]) for number in (1, 2))
    transcript = None if source is None else source.transcript
    return Bundle(
        who.session, Evidence(Fault.EQUIVOCATION, accused, who.session.id, frames, transcript), source
    )


class Rotation:
    """A later session, from which the last of four operators is gone, and the version that they deal from."""

    def __init__(self) -> None:
        self.cast = cast(4)
        earlier = self.cast.session
        self.source = version(self.cast, earlier)
        self.dealer, *_, self.leaver = self.cast.addresses
        later = self.cast.later()
        self.session = replace(later, recipients=OperatorSet(earlier.recipients.members[:-1]))
        self.made = version(self.cast, self.session)

    def dealing(self, dealer: OperatorAddress, *, honest: bool) -> Dealing:
        share = shared(self.cast.session).evaluate(self.cast.session.x[dealer]).value
        constant = SecretScalar(share if honest else share % (R - 1) + 1)
        polynomial = Polynomial.random(self.session.threshold, self.cast.rng, constant)
        return reshare(self.session, dealer, polynomial, self.source.transcript)

    def says(self, sender: OperatorAddress, kind: Kind, body: object) -> Frame:
        return self.cast.frame(sender, kind, body, session=self.session)

    def deals(self, dealing: Dealing) -> Frame:
        return self.says(dealing.dealer, Kind.DEALING, dealing_body(dealing))

    def confirms(self, *, honest: bool) -> Frame:
        transcript = self.made.transcript
        share = shared(self.session).evaluate(self.session.x[self.dealer])
        signature = bn254.sign(self.cast.keys[self.dealer], confirm_digest(self.session.id, transcript.hash))
        context = possession_context(self.session.id, transcript.hash if honest else bytes(32), self.dealer)
        proof = schnorr.prove(share, transcript.public_share(self.dealer), context, self.cast.rng)
        return self.says(self.dealer, Kind.CONFIRM, confirm_body(transcript.hash, signature, proof))

    def votes(self, sender: OperatorAddress) -> Frame:
        """Signed by nobody's key, inside a frame that is signed well."""
        return self.says(sender, Kind.VOTE, vote_body(0, Phase.PREPARE, bytes(32), bytes(64)))

    def accuses(self, fault: Fault, *frames: Frame, about: Epoch | None) -> Bundle:
        accused = frames[0].sender
        source = None if about is None else about.transcript
        return Bundle(self.session, Evidence(fault, accused, self.session.id, frames, source), about)

    def made_up(self) -> Epoch:
        """Another transcript under the version number of the source, certified by keys that anybody could make."""
        strangers = cast(4, seed="made up")
        return certified(strangers, replace(self.source.transcript, recipients=strangers.session.recipients))

    def proven(self) -> dict[str, Bundle]:
        """Faults that only a rotation has, or that are proven otherwise there."""
        good, wrong = (self.dealing(self.dealer, honest=honest) for honest in (True, False))
        bare = replace(good, commitments=good.commitments[:1])
        leaver = self.dealing(self.leaver, honest=True)
        second = self.dealing(self.leaver, honest=True)
        source = self.source
        return {
            "another constant": self.accuses(Fault.WRONG_CONSTANT, self.deals(wrong), about=source),
            "too few commitments": self.accuses(Fault.BAD_DEALING, self.deals(bare), about=source),
            "two dealings of a leaver": self.accuses(
                Fault.EQUIVOCATION, self.deals(leaver), self.deals(second), about=source
            ),
            "a false confirm": self.accuses(Fault.BAD_CONFIRM, self.confirms(honest=False), about=self.made),
            "a false vote": self.accuses(Fault.BAD_VOTE, self.votes(self.dealer), about=None),
        }

    def harmless(self) -> dict[str, Bundle]:
        """The same without a fault, without what it is about, or about something else."""
        good, wrong = (self.dealing(self.dealer, honest=honest) for honest in (True, False))
        leaver, second = (self.deals(self.dealing(self.leaver, honest=True)) for _ in range(2))
        source = self.source
        return {
            "the right constant": self.accuses(Fault.WRONG_CONSTANT, self.deals(good), about=source),
            "a good dealing": self.accuses(Fault.BAD_DEALING, self.deals(good), about=source),
            "a source that was made up": self.accuses(
                Fault.BAD_DEALING, self.deals(good), about=self.made_up()
            ),
            "a dealing from elsewhere": self.accuses(Fault.BAD_DEALING, self.deals(good), about=self.made),
            "a constant without a source": self.accuses(Fault.WRONG_CONSTANT, self.deals(wrong), about=None),
            "a stranger": self.accuses(Fault.EQUIVOCATION, leaver, second, about=None),
            "a good confirm": self.accuses(Fault.BAD_CONFIRM, self.confirms(honest=True), about=self.made),
            "a confirm of something": self.accuses(
                Fault.BAD_CONFIRM, self.confirms(honest=False), about=source
            ),
            "a vote of a leaver": self.accuses(Fault.BAD_VOTE, self.votes(self.leaver), about=source),
        }


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def who() -> Cast:
    return cast(4)


def test_a_fault_is_proven_by_the_bytes_alone(scene: Scene) -> None:
    """Every kind of fault survives the trip, to the byte, and is proven to whoever has the bytes."""
    seen = set()
    bundles = [bundled(scene.cast, evidence) for evidence in _proven(scene).values()]
    for bundle in [*bundles, *Rotation().proven().values()]:
        again = decode_bundle(bundle.encoded)
        assert (again, again.encoded, again.name) == (bundle, bundle.encoded, bundle.name)
        check_bundle(again)
        seen.add(bundle.evidence.fault)
    assert seen == set(Fault)


def test_what_is_nearly_evidence_convinces_nobody(scene: Scene) -> None:
    """Honest frames in any arrangement: either there is no such bundle, or it does not hold."""
    bundles = {name: bundled(scene.cast, evidence) for name, evidence in _harmless(scene).items()}
    for name, bundle in (bundles | Rotation().harmless()).items():
        with pytest.raises(EigenKmsError) as error:
            check_bundle(decode_bundle(bundle.encoded))
        assert isinstance(error.value, VerificationError | MalformedError), name


def test_a_header_that_is_not_the_frames_own_proves_nothing(who: Cast) -> None:
    """Another block, another operator, another key, another parameter: the frames name another session."""
    good = equivocation(who)
    session = who.session
    first, *rest = session.recipients.members
    strangers = cast(4, seed="strangers").session.recipients.members
    for changed in (
        replace(session, boundary=replace(session.boundary, hash=bytes(32))),
        replace(session, boundary=replace(session.boundary, number=101)),
        replace(session, boundary=replace(session.boundary, timestamp=1)),
        replace(session, parameters=replace(session.parameters, window_ms=1001)),
        replace(session, cluster=ClusterId(bytes(32))),
        replace(session, recipients=OperatorSet((first, *rest[:-1]))),
        replace(session, recipients=OperatorSet((replace(first, key=strangers[0].key), *rest))),
    ):
        shown = replace(good, session=changed, evidence=replace(good.evidence, session=changed.id))
        with pytest.raises(VerificationError, match="another session"):
            check_bundle(decode_bundle(shown.encoded))


def test_a_key_that_is_none_signs_nothing(who: Cast) -> None:
    """A header may hold any bytes as a key; frames "signed" under them are refused and nothing else happens."""
    for key in (bytes(128), b"\xff" * 128):
        accused, *rest = who.session.recipients.members
        session = replace(who.session, recipients=OperatorSet((replace(accused, key=key), *rest)))
        bundle = equivocation(replace(who, session=session))
        with pytest.raises(VerificationError, match="bad signature"):
            check_bundle(decode_bundle(bundle.encoded))


def test_a_source_counts_once_it_is_certified(who: Cast) -> None:
    """By its own recipients, for the cluster of the session; evidence and bundle are about one source."""
    earlier = Session(
        who.session.cluster,
        BlockRef(90, b"\x09" * 32, 1_699_999_880),
        who.session.recipients,
        who.session.parameters,
    )
    source = version(who, earlier)
    good = equivocation(who, source)
    again = decode_bundle(good.encoded)
    assert again == good
    check_bundle(again)
    uncertified = Epoch(source.transcript, replace(source.certificate, bitmap=b"\x80"))
    elsewhere = version(who, earlier, cluster=ClusterId(bytes(32)))
    another = certified(who, replace(source.transcript, dealers=((who.addresses[0], bytes(32)),)))
    for wrong, why in (
        (replace(good, source=uncertified), "signers"),
        (equivocation(who, elsewhere), "another cluster"),
        (replace(good, source=Epoch(source.transcript, another.certificate)), "does not certify"),
        (replace(good, source=another), "another source"),
        (replace(good, source=None), "another source"),
        (replace(good, evidence=replace(good.evidence, source=None)), "another source"),
    ):
        with pytest.raises(VerificationError, match=why):
            check_bundle(wrong)


def test_the_same_proof_has_one_name(who: Cast) -> None:
    """Whichever frame came first at a node, and under whichever certificate its source is known there."""
    source = version(who, who.session)
    good = equivocation(who, source)
    first, second = good.evidence.frames
    swapped = replace(good, evidence=replace(good.evidence, frames=(second, first)))
    certificate = replace(source.certificate, view=7)
    elsewhere = replace(good, source=Epoch(source.transcript, certificate))
    assert {good.name, swapped.name, elsewhere.name} == {good.name}
    third = who.frame(who.addresses[0], Kind.HASH, [b"\x03" * 32])
    others = [
        replace(good, evidence=replace(good.evidence, frames=(first, third))),
        replace(good, evidence=replace(good.evidence, fault=Fault.BAD_VOTE)),
        replace(good, evidence=replace(good.evidence, accused=who.addresses[1])),
    ]
    assert len({bundle.name for bundle in [good, *others]}) == 4


# -- strict ------------------------------------------------------------------------------------------------------


def packed(value: Any) -> bytes:
    data: bytes = msgpack.packb(value, use_bin_type=True)
    return data


def test_each_field_has_one_form(who: Cast) -> None:
    """Another type, length or value is malformed, wherever it stands; so are more fields, fewer, and none."""
    bundle = equivocation(who, version(who, who.session))
    good = msgpack.unpackb(bundle.encoded)
    frame = good[4][0]
    header = msgpack.unpackb(encode_session(who.session))
    wrong: list[list[Any]] = [
        [0, 2, True, "1", None],
        [b"", b"\xc1", None, "text", good[1] + b"\x00", packed(header[:-1])],
        ["", "no-such-fault", "Equivocation", b"equivocation", None, "x" * 65],
        [bytes(19), bytes(21), "text", None],
        [[], None, [None], [b""], [b"\xc1"], [frame, "text"], [frame[:-1]], [frame] * 5],
        [None, b"", b"\xc1", "text", good[6]],
        [None, b"", b"\xc1", "text", good[5]],
    ]
    decode_bundle(packed(good))
    for place, values in enumerate(wrong):
        for value in values:
            with pytest.raises(MalformedError):
                decode_bundle(packed([*good[:place], value, *good[place + 1 :]]))
    for value in (good[:-1], [*good, None], [], None, {}, b"bytes"):
        with pytest.raises(MalformedError):
            decode_bundle(packed(value))


def test_a_session_that_can_never_be_is_malformed(who: Cast) -> None:
    """Nobody, two operators with one key, too few for its own parameters, an interval of nothing, a quorum out of range."""
    good = msgpack.unpackb(equivocation(who).encoded)
    header = msgpack.unpackb(good[1])
    one = header[4][0]
    for place, value in (
        (4, []),
        (4, [one, [b"\xff" * 20, one[1]]]),
        (4, [one, one]),
        (4, header[4][::-1]),
        (5, 0),
        (7, 0),
        (8, 1),
        (8, 5),
        (9, 5),
        (9, 0),
    ):
        shown = packed([*header[:place], value, *header[place + 1 :]])
        with pytest.raises(MalformedError):
            decode_bundle(packed([good[0], shown, *good[2:]]))


def test_there_is_one_encoding(who: Cast) -> None:
    """Longer forms of the same value, bytes after it and cuts are refused, and what is too long to be one."""
    data = equivocation(who).encoded
    longer = [b"\xdc" + (7).to_bytes(2, "big") + data[1:], b"\xdd" + be32(7) + data[1:]]
    for bad in [*longer, data + b"\x00", data + data, data[:-1], data[:1], b"", bytes(1 << 20)]:
        with pytest.raises(MalformedError):
            decode_bundle(bad)


def test_the_largest_evidence_fits() -> None:
    """Two proposals of the largest size, in a session of the largest set: the bound is not in its way."""
    who = cast(256, seed="crowd")
    frames = tuple(
        who.frame(who.addresses[0], Kind.PROPOSAL, [0, bytes([number]) * 261_000, None, None])
        for number in (1, 2)
    )
    evidence = Evidence(Fault.EQUIVOCATION, who.addresses[0], who.session.id, frames)
    bundle = Bundle(who.session, evidence, version(who, who.session))
    bundle = replace(bundle, evidence=replace(evidence, source=bundle.source and bundle.source.transcript))
    assert len(bundle.encoded) > 600_000
    assert decode_bundle(bundle.encoded) == bundle


# -- files -------------------------------------------------------------------------------------------------------


def test_a_file_is_a_list_of_bundles(who: Cast) -> None:
    """In the order given; what is inside is looked at one by one."""
    bundles = [equivocation(who), equivocation(who, version(who, who.session))]
    assert decode_bundles(encode_bundles(bundles)) == tuple(bundle.encoded for bundle in bundles)
    assert decode_bundles(encode_bundles([])) == ()
    for bad in (
        b"",
        b"\xc1",
        packed(None),
        packed({}),
        packed([None]),
        packed(["x"]),
        encode([b""]) + b"\x00",
    ):
        with pytest.raises(MalformedError):
            decode_bundles(bad)


def test_a_file_has_room_for_so_many(who: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """More is refused when it is written, not when it is read; the longest that is written is read."""
    bundle = equivocation(who)
    assert len(decode_bundles(encode_bundles([bundle] * MAX_BUNDLES))) == MAX_BUNDLES
    with pytest.raises(InputError, match="more than a file may hold"):
        encode_bundles([bundle] * (MAX_BUNDLES + 1))
    monkeypatch.setattr(evidence_bundle, "MAX_FILE_BYTES", 8 * MAX_BUNDLES + 2 * len(bundle.encoded))
    assert len(decode_bundles(encode_bundles([bundle] * 2))) == 2
    with pytest.raises(InputError, match="more than a file may hold"):
        encode_bundles([bundle] * 3)


# -- with real curves --------------------------------------------------------------------------------------------


@pytest.fixture
def _real_curves() -> Iterator[None]:
    with backends.use("native"):
        yield


def example() -> dict[str, str]:
    """A bundle without a source, one with, and a file of both."""
    who = cast(4, seed="golden evidence")
    plain, sourced = equivocation(who), equivocation(who, version(who, who.session))
    return {
        "bundle": plain.encoded.hex(),
        "bundle with source": sourced.encoded.hex(),
        "file": encode_bundles([plain, sourced]).hex(),
    }


@pytest.mark.usefixtures("_real_curves")
def test_every_byte_is_as_it_was() -> None:
    """Bundles and files are the golden ones."""
    assert example() == json.loads(FILE.read_text())


@pytest.mark.usefixtures("_real_curves")
def test_what_was_written_long_ago_holds() -> None:
    """Read from the golden file alone, with the faults of then."""
    golden = {name: bytes.fromhex(text) for name, text in json.loads(FILE.read_text()).items()}
    bundles = decode_bundles(golden["file"])
    assert bundles == (golden["bundle"], golden["bundle with source"])
    for encoded in bundles:
        bundle = decode_bundle(encoded)
        check_bundle(bundle)
        assert (bundle.evidence.fault, len(bundle.evidence.frames)) == (Fault.EQUIVOCATION, 2)


@pytest.mark.usefixtures("_real_curves")
def test_a_changed_bundle_is_refused_byte_by_byte() -> None:
    """Every seventh byte in turn: it does not decode, or does not hold. Nothing in it can be changed."""
    good = bytes.fromhex(json.loads(FILE.read_text())["bundle with source"])
    for place in range(0, len(good), 7):
        changed = bytearray(good)
        changed[place] ^= 1
        with pytest.raises(EigenKmsError) as error:
            check_bundle(decode_bundle(bytes(changed)))
        assert isinstance(error.value, VerificationError | MalformedError), place


if __name__ == "__main__":
    with backends.use("native"):
        FILE.write_text(json.dumps(example(), indent=1) + "\n")
