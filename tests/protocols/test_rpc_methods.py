"""Messages of the operator protocol: heads of versions, rows and bodies of dealings."""

from dataclasses import replace

import pytest

from eigenkms.crypto import pvss
from eigenkms.crypto.hashing import keccak256
from eigenkms.errors import VerificationError
from eigenkms.wire import rpc_methods
from eigenkms.wire.codec import MalformedError, encode
from eigenkms.wire.dealing import DealingRow
from eigenkms.wire.rpc_methods import (
    VersionHead,
    check_head,
    decode_head,
    decode_row,
    encode_head,
    encode_row,
)
from eigenkms.wire.transcript import ListedKey, Transcript
from eigenkms.wire.votes import Certificate, Phase, aggregate, vote_digest
from tests.protocols.rooms import version_of
from tests.protocols.support import CLUSTER, Cast, cast
from tests.support.fake_network import prove_settled

NAMES = [keccak256(b"%d" % number) for number in range(20)]


def signed(who: Cast, transcript: Transcript, phase: Phase, signers: int = 4) -> Certificate:
    digest = vote_digest(transcript.session, 3, phase, transcript.hash)
    from eigenkms.crypto import bn254

    votes = {a: bn254.sign(who.keys[a], digest) for a in who.addresses[:signers]}
    return aggregate(transcript.session, 3, phase, transcript.hash, votes, transcript.recipients)


def a_head(
    who: Cast, phase: Phase, *, rotation: bool = True, signers: int = 4, lists_keys: bool = True
) -> VersionHead:
    """Without keys, a version of protocol 1."""
    made = version_of(who).transcript
    keys = tuple(ListedKey(100, bytes(48)) for _ in who.addresses) if lists_keys else ()
    source = (90, b"\x05" * 32) if rotation else (0, bytes(32))
    transcript = replace(made, keys=keys, source_version=source[0], source_hash=source[1])
    return VersionHead(transcript, signed(who, transcript, phase, signers))


@pytest.mark.usefixtures("toy_curves")
class TestHead:
    """The highest version of an operator, and what proves it."""

    def test_it_comes_back_and_verifies(self) -> None:
        """Certified, or prepared in a rotation."""
        who = cast(4)
        for head in (
            a_head(who, Phase.COMMIT),
            a_head(who, Phase.PREPARE),
            a_head(who, Phase.COMMIT, rotation=False),
        ):
            again = decode_head(encode_head(head))
            assert (again.transcript.encoded, again.certificate.encoded) == (
                head.transcript.encoded,
                head.certificate.encoded,
            )
            check_head(again, CLUSTER)

    def test_it_proves_nothing_with_a_certificate_that_does_not(self) -> None:
        """A genesis that is merely prepared, too few signers, another transcript or session, another cluster."""
        who = cast(4)
        good = a_head(who, Phase.COMMIT)
        other = a_head(who, Phase.COMMIT, rotation=False)
        for bad, message in (
            (a_head(who, Phase.PREPARE, rotation=False), "a genesis, or of protocol 1, and merely prepared"),
            (a_head(who, Phase.COMMIT, signers=2), "2 signers, 3 needed"),
            (replace(good, certificate=other.certificate), "not of this transcript"),
            (
                replace(good, certificate=replace(good.certificate, session=who.later().id)),
                "not of this transcript",
            ),
            (replace(good, certificate=replace(good.certificate, view=4)), "does not verify"),
        ):
            with pytest.raises(VerificationError, match=message):
                check_head(bad, CLUSTER)
        with pytest.raises(VerificationError, match="of another cluster"):
            check_head(good, type(CLUSTER)(b"\x01" * 32))

    def test_a_version_of_protocol_1_comes_with_its_settlement_proof(self) -> None:
        """Unless it is a genesis; four of four must have confirmed it, and it is certified."""
        who = cast(4)
        alone = a_head(who, Phase.COMMIT, lists_keys=False)
        check_head(a_head(who, Phase.COMMIT, rotation=False, lists_keys=False), CLUSTER)
        proven = replace(alone, proof=prove_settled(alone.transcript, who.keys))
        again = decode_head(encode_head(proven))
        assert again == proven
        check_head(again, CLUSTER)
        few = {address: who.keys[address] for address in who.addresses[:3]}
        for bad, message in (
            (alone, "it has no settlement proof"),
            (replace(alone, proof=prove_settled(alone.transcript, few)), "3 signers, 4 needed"),
            (replace(proven, certificate=signed(who, alone.transcript, Phase.PREPARE)), "merely prepared"),
        ):
            with pytest.raises(VerificationError, match=message):
                check_head(bad, CLUSTER)

    def test_other_bytes_are_refused(self) -> None:
        """Cut, longer, of another shape."""
        good = encode_head(a_head(cast(4), Phase.COMMIT))
        for bad in (b"", good[:-1], good + b"\x00", encode([b"", b""]), encode([1, 2])):
            with pytest.raises(MalformedError):
                decode_head(bad)


def test_rows_and_bodies_are_measured_before_anything_else() -> None:
    """What fits comes back; what no dealing can have is refused."""
    row = DealingRow(b"header", bytes(1792))
    assert decode_row(encode_row(row)) == row
    for bad in (b"", encode([b"h"]), encode([b"h", bytes(5000)]), encode([bytes(200_000), b""])):
        with pytest.raises(MalformedError):
            decode_row(bad)
    body = bytes(pvss.encoded_size(1))
    assert rpc_methods.decode_push(rpc_methods.encode_push(NAMES[0], body)) == (NAMES[0], body)
    for size in (0, len(body) - 1, rpc_methods.MAX_BODY_BYTES + 1):
        with pytest.raises(MalformedError):
            rpc_methods.decode_push(rpc_methods.encode_push(NAMES[0], bytes(size)))
    assert rpc_methods.read_name(NAMES[0]) == NAMES[0]
    with pytest.raises(MalformedError):
        rpc_methods.read_name(NAMES[0][:-1])


def test_the_largest_body_fits_a_call() -> None:
    """With its name, and with room for the envelope."""
    from eigenkms.p2p.limits import Limits

    assert len(rpc_methods.encode_push(NAMES[0], bytes(rpc_methods.MAX_BODY_BYTES))) < Limits().rpc.body
