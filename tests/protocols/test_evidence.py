"""Evidence convinces whoever has only the frames and the session; what is nearly evidence convinces nobody."""

from dataclasses import replace

import pytest

from eigenkms.crypto import bn254, sealing
from eigenkms.crypto.scalars import R, SecretScalar
from eigenkms.crypto.shamir import Polynomial
from eigenkms.errors import VerificationError
from eigenkms.protocols.codec import encode
from eigenkms.protocols.dealing import Dealing, deal, dealing_hash
from eigenkms.protocols.evidence import Evidence, Fault, check_evidence, proves
from eigenkms.protocols.frames import Frame, Kind, decode_frame
from eigenkms.protocols.messages import answer_body, opening_body, share_body, view_change_body, vote_body
from eigenkms.protocols.votes import Certificate, Phase, vote_digest
from eigenkms.types import OperatorAddress
from tests.protocols.support import Cast, cast


class Scene:
    """A dealer, a recipient, and what they may say to each other, true or not."""

    def __init__(self) -> None:
        self.cast: Cast = cast(4)
        self.session = self.cast.session
        self.dealer, self.recipient, self.other, _ = self.cast.addresses
        self.polynomial = Polynomial.random(self.session.threshold, self.cast.rng)
        self.dealing = deal(self.session, self.dealer, self.polynomial, self.cast.rng)
        self.private, self.public = sealing.x25519_keypair(self.cast.rng)
        self.good = self.polynomial.evaluate(self.session.x[self.recipient])
        self.bad = SecretScalar((self.good.value + 1) % R)

    def says(
        self, kind: Kind, body: object, sender: OperatorAddress | None = None, **more: OperatorAddress
    ) -> Frame:
        return self.cast.frame(sender or self.dealer, kind, body, **more)

    def announces(self, dealing: Dealing | None = None) -> Frame:
        return self.says(Kind.HASH, [(dealing or self.dealing).hash])

    def deals(self, dealing: Dealing | None = None) -> Frame:
        return self.says(Kind.DEALING, [0, (dealing or self.dealing).encoded])

    def shares(self, scalar: SecretScalar) -> Frame:
        return self.says(Kind.SHARE, share_body(self.dealing.hash, scalar), recipient=self.recipient)

    def answers(
        self, scalar: SecretScalar, key: bytes | None = None, dealing: Dealing | None = None
    ) -> Frame:
        body = answer_body(
            self.session.id,
            dealing or self.dealing,
            self.recipient,
            key or self.public,
            scalar,
            self.cast.rng,
        )
        return self.says(Kind.ANSWER, body)

    def opens(self, private: bytes | None = None, sender: OperatorAddress | None = None) -> Frame:
        return self.says(
            Kind.OPENING, opening_body(self.dealer, private or self.private), sender or self.recipient
        )

    def votes(self, *, honest: bool) -> Frame:
        digest = vote_digest(self.session.id, 0, Phase.PREPARE, bytes(32))
        signature = bn254.sign(self.cast.keys[self.dealer if honest else self.other], digest)
        return self.says(Kind.VOTE, vote_body(0, Phase.PREPARE, bytes(32), signature))

    def accuses(self, fault: Fault, *frames: Frame, accused: OperatorAddress | None = None) -> Evidence:
        return Evidence(fault, accused or self.dealer, self.session.id, frames)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def _proven(scene: Scene) -> dict[str, Evidence]:
    """Every way in which a fault can be proven."""
    second = deal(scene.session, scene.dealer, scene.polynomial, scene.cast.rng)
    broken = replace(scene.dealing, proof=None)
    nonsense = scene.says(Kind.DEALING, [0, b"nonsense"])
    sealed_to_other = scene.answers(scene.good, key=sealing.x25519_keypair(scene.cast.rng)[1])
    body = list(sealed_to_other.body)
    body[2] = scene.public
    mislabelled = scene.says(Kind.ANSWER, body)
    return {
        "two hashes": scene.accuses(Fault.EQUIVOCATION, scene.announces(), scene.announces(second)),
        "two dealings": scene.accuses(Fault.EQUIVOCATION, scene.deals(), scene.deals(second)),
        "two shares": scene.accuses(Fault.EQUIVOCATION, scene.shares(scene.good), scene.shares(scene.bad)),
        "two view changes": scene.accuses(
            Fault.EQUIVOCATION,
            scene.says(Kind.VIEW_CHANGE, view_change_body(1, None)),
            scene.says(Kind.VIEW_CHANGE, [1, _any_certificate(scene), None]),
        ),
        "dealing not announced": scene.accuses(Fault.BAD_DEALING, scene.deals(second), scene.announces()),
        "dealing without proof": scene.accuses(
            Fault.BAD_DEALING, scene.deals(broken), scene.announces(broken)
        ),
        "no dealing at all": scene.accuses(Fault.BAD_DEALING, nonsense, _announces_bytes(scene, b"nonsense")),
        "other bytes": scene.accuses(Fault.BAD_DEALING, nonsense, scene.announces()),
        "answer not announced": scene.accuses(
            Fault.BAD_DEALING, scene.answers(scene.good, dealing=second), scene.announces()
        ),
        "bad share": scene.accuses(Fault.BAD_SHARE, scene.deals(), scene.shares(scene.bad)),
        "bad share of an answered dealing": scene.accuses(
            Fault.BAD_SHARE, scene.answers(scene.good), scene.shares(scene.bad)
        ),
        "bad answer": scene.accuses(Fault.BAD_ANSWER, scene.answers(scene.bad), scene.opens()),
        "answer that does not open": scene.accuses(Fault.BAD_ANSWER, mislabelled, scene.opens()),
        "bad vote": scene.accuses(Fault.BAD_VOTE, scene.votes(honest=False)),
    }


def _announces_bytes(scene: Scene, data: bytes) -> Frame:
    return scene.says(Kind.HASH, [dealing_hash(data)])


def _any_certificate(scene: Scene) -> bytes:
    return Certificate(scene.session.id, 0, Phase.PREPARE, bytes(32), b"\xf0", bytes(64)).encoded


def _harmless(scene: Scene) -> dict[str, Evidence]:
    """What an honest operator says, and what was put together to look like a fault."""
    second = deal(scene.session, scene.dealer, scene.polynomial, scene.cast.rng)
    stranger = sealing.x25519_keypair(scene.cast.rng)
    for_nobody = scene.says(
        Kind.SHARE, share_body(scene.dealing.hash, scene.bad), recipient=OperatorAddress(bytes(20))
    )
    answer_for_nobody = scene.says(Kind.ANSWER, [0, bytes(20), scene.public, scene.dealing.encoded, b""])
    return {
        "one frame twice": scene.accuses(Fault.EQUIVOCATION, scene.announces(), scene.announces()),
        "two slots": scene.accuses(Fault.EQUIVOCATION, scene.announces(), scene.deals()),
        "three frames": scene.accuses(
            Fault.EQUIVOCATION, scene.announces(), scene.announces(second), scene.announces()
        ),
        "two speakers": scene.accuses(
            Fault.EQUIVOCATION, scene.announces(), scene.says(Kind.HASH, [bytes(32)], scene.other)
        ),
        "frames without slots": scene.accuses(
            Fault.EQUIVOCATION, scene.says(Kind.SYNC, [b""]), scene.says(Kind.SYNC, [bytes(16)])
        ),
        "malformed frames": scene.accuses(
            Fault.EQUIVOCATION, scene.says(Kind.HASH, []), scene.says(Kind.HASH, [b""])
        ),
        "good dealing": scene.accuses(Fault.BAD_DEALING, scene.deals(), scene.announces()),
        "good answer": scene.accuses(Fault.BAD_DEALING, scene.answers(scene.good), scene.announces()),
        "no announcement": scene.accuses(Fault.BAD_DEALING, scene.deals(second), scene.deals()),
        "an announcement alone": scene.accuses(Fault.BAD_DEALING, scene.announces()),
        "no dealing": scene.accuses(Fault.BAD_DEALING, scene.shares(scene.good), scene.announces()),
        "good share": scene.accuses(Fault.BAD_SHARE, scene.deals(), scene.shares(scene.good)),
        "share of another dealing": scene.accuses(
            Fault.BAD_SHARE, scene.deals(second), scene.shares(scene.bad)
        ),
        "share for nobody": scene.accuses(Fault.BAD_SHARE, scene.deals(), for_nobody),
        "share for all": scene.accuses(
            Fault.BAD_SHARE, scene.deals(), scene.says(Kind.SHARE, share_body(scene.dealing.hash, scene.bad))
        ),
        "no share": scene.accuses(Fault.BAD_SHARE, scene.deals(), scene.announces()),
        "a share of another dealer": scene.accuses(
            Fault.BAD_SHARE, scene.deals(), scene.shares(scene.bad), accused=scene.other
        ),
        "good answer opened": scene.accuses(Fault.BAD_ANSWER, scene.answers(scene.good), scene.opens()),
        "opened with another key": scene.accuses(
            Fault.BAD_ANSWER, scene.answers(scene.good), scene.opens(stranger[0])
        ),
        "answered to another key": scene.accuses(
            Fault.BAD_ANSWER, scene.answers(scene.bad, key=stranger[1]), scene.opens()
        ),
        "an answer for nobody": scene.accuses(Fault.BAD_ANSWER, answer_for_nobody, scene.opens()),
        "another's answer": scene.accuses(
            Fault.BAD_ANSWER, scene.answers(scene.bad), scene.opens(), accused=scene.other
        ),
        "an opening alone": scene.accuses(Fault.BAD_ANSWER, scene.opens()),
        "good vote": scene.accuses(Fault.BAD_VOTE, scene.votes(honest=True)),
        "no vote": scene.accuses(Fault.BAD_VOTE, scene.announces()),
        "nothing": scene.accuses(Fault.BAD_VOTE),
    }


def test_a_fault_is_proven_to_anybody(scene: Scene) -> None:
    """From the frames alone, after a trip over the wire."""
    for evidence in _proven(scene).values():
        again = replace(evidence, frames=tuple(decode_frame(f.encoded) for f in evidence.frames))
        check_evidence(again, scene.session)


ROTATION_FAULTS = {Fault.WRONG_CONSTANT, Fault.BAD_CONFIRM}


def test_all_proofs_are_tried(scene: Scene) -> None:
    """Every kind of fault, and none left out of the tests above and below; rotations have their own (test_rotation)."""
    assert {e.fault for e in _proven(scene).values()} == set(Fault) - ROTATION_FAULTS
    assert {e.fault for e in _harmless(scene).values()} == set(Fault) - ROTATION_FAULTS


def test_what_is_nearly_evidence_convinces_nobody(scene: Scene) -> None:
    """Honest frames in any arrangement prove nothing, and nothing but the promised error is raised."""
    for name, evidence in _harmless(scene).items():
        assert not proves(evidence, scene.session), name
        with pytest.raises(VerificationError, match="do not prove it"):
            check_evidence(evidence, scene.session)


def test_evidence_must_be_signed_and_of_this_session(scene: Scene) -> None:
    """Forged frames, frames of another session, cluster or speaker, and a wrong label prove nothing."""
    evidence = _proven(scene)["bad share"]
    dealing, share = evidence.frames
    forged = decode_frame(encode([share.payload, dealing.signature]))
    elsewhere = scene.cast.frame(
        scene.dealer, Kind.SHARE, share.body, recipient=scene.recipient, session=scene.cast.later()
    )
    stranger = cast(4, seed="strangers")
    foreign = stranger.frame(stranger.addresses[0], Kind.HASH, [bytes(32)], session=scene.session)
    for wrong, why in (
        (replace(evidence, frames=(dealing, forged)), "bad signature"),
        (replace(evidence, frames=(dealing, elsewhere)), "another session"),
        (replace(evidence, frames=(dealing, foreign)), "another session"),
        (replace(evidence, session=scene.cast.later().id), "another session"),
    ):
        with pytest.raises(VerificationError, match=why):
            check_evidence(wrong, scene.session)
    with pytest.raises(VerificationError, match="another session"):
        check_evidence(evidence, scene.cast.later())
