"""What clients and operators say to each other: frozen to the byte, decoded strictly, and bound to the very request.

Run this module as a script (``python -m tests.protocols.test_requests``) to write the golden file: on purpose only, together with
a new version byte.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from eigenkms.crypto import bls, bn254, sealing
from eigenkms.crypto.hashing import be32, keccak256
from eigenkms.crypto.ibe_identities import identity_of, identity_v2
from eigenkms.errors import EigenKmsError, VerificationError
from eigenkms.types import AppId, ClusterId, DialOutcome
from eigenkms.wire.canary_request import CanaryRequest, decode_canary_request
from eigenkms.wire.certified_transcript import CertifiedTranscript, check_certified_transcript
from eigenkms.wire.client_rpc import (
    MAX_APP_ID_BYTES,
    MAX_AUTHORISATION_BYTES,
    MAX_RECORDS,
    EvidencePage,
    PartialRequest,
    build_statement,
    decode_evidence_page,
    decode_evidence_request,
    decode_info,
    decode_info_request,
    decode_partial_request,
    encode_evidence_request,
    encode_info,
    encode_info_request,
    open_partial,
    read_statement,
    seal_partial,
)
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.dial_back import (
    ReachAnswer,
    build_reach_request,
    decode_reach_answer,
    read_reach_request,
)
from eigenkms.wire.frames import (
    BadSignatureError,
    Frame,
    FrameKind,
    build_frame,
    decode_frame,
    verify_frame,
)
from eigenkms.wire.transcript import decode_transcript
from eigenkms.wire.votes import BadCertificateError, Phase
from tests.support.fake_network import CLUSTER, FakeNetwork, Operator, make_network
from tests.support.faulty_operators import false_epochs
from tests.support.randomness import counter_rng

FILE = Path(__file__).parent / "golden" / "requests.json"
NONCE = bytes(range(32))
APP = AppId("my-app")
DIALLED = ReachAnswer("/ip4/192.0.2.7/tcp/9400", DialOutcome.TIMED_OUT)
CANARY = CanaryRequest(CLUSTER, bytes(range(32, 64)), NONCE)
PAGE = EvidencePage(((8, b"a bundle"), (11, b"another")), more=True)


pytestmark = pytest.mark.usefixtures("real_curves")


@pytest.fixture(scope="module")
def network() -> FakeNetwork:
    """Four operators; made once, changed by nobody."""
    return make_network(seed="golden requests")


@pytest.fixture(scope="module")
def golden() -> dict[str, str]:
    found: dict[str, str] = json.loads(FILE.read_text())
    return found


def asking(network: FakeNetwork) -> tuple[bytes, PartialRequest]:
    """(private reply key, request)."""
    private, public = sealing.x25519_keypair(counter_rng("reply key"))
    return private, PartialRequest(CLUSTER, APP, 2, network.epoch.transcript.hash, public, NONCE)


def asking_for_a_dial(network: FakeNetwork) -> Frame:
    """The first operator's question to the second."""
    first, second = network.operators[:2]
    return build_reach_request(
        first.key,
        cluster=CLUSTER,
        operator=first.address,
        recipient=second.address,
        time_ms=1_700_000_000_000,
    )


def example(network: FakeNetwork) -> dict[str, str]:
    """One of each; the sealed answer is another one each time."""
    private, request = asking(network)
    operator, transcript = network.operators[0], network.epoch.transcript
    record = operator.record(
        ["/ip4/192.0.2.7/tcp/9400", "/dns4/kms.example.org/tcp/9400"], sequence=1_700_000_000_000
    )
    statement = build_statement(operator.key, operator.address, transcript, NONCE)
    signature = bls.partial_sign(operator.share, identity_v2(CLUSTER, APP))
    return {
        "info request": encode_info_request(CLUSTER, NONCE).hex(),
        "info answer": encode_info(network.epoch, statement, [record]).hex(),
        "statement": statement.encoded.hex(),
        "peer record": record.encoded.hex(),
        "partial request": request.encoded.hex(),
        "partial request with authorisation": replace(request, authorisation=b"proof").encoded.hex(),
        "request digest": request.digest.hex(),
        "private reply key": private.hex(),
        "sealed partial": seal_partial(operator.key, operator.address, transcript, request, signature).hex(),
        "partial signature": signature.hex(),
        "evidence request": encode_evidence_request(CLUSTER, 7).hex(),
        "evidence answer": PAGE.encoded.hex(),
        "reach request": asking_for_a_dial(network).encoded.hex(),
        "reach answer": DIALLED.encoded.hex(),
        "canary request": CANARY.encoded.hex(),
        "canary signature": bls.partial_sign(operator.share, CANARY.identity).hex(),
    }


# -- frozen ------------------------------------------------------------------------------------------------------


def test_every_byte_is_as_it_was(network: FakeNetwork, golden: dict[str, str]) -> None:
    """But for the sealed answer, whose ephemeral key is random."""
    now = example(network)
    assert now.keys() == golden.keys()
    for name in now.keys() - {"sealed partial"}:
        assert now[name] == golden[name], name
    assert len(now["sealed partial"]) == len(golden["sealed partial"])


def test_an_answer_that_was_sealed_long_ago_still_opens(network: FakeNetwork, golden: dict[str, str]) -> None:
    """With the private key of then, to the partial signature of then."""
    request = decode_partial_request(bytes.fromhex(golden["partial request"]))
    frame, signature = open_partial(
        bytes.fromhex(golden["private reply key"]),
        request,
        network.epoch.transcript,
        bytes.fromhex(golden["sealed partial"]),
    )
    assert signature.hex() == golden["partial signature"]
    verify_frame(frame, network.operators[0].key.g2)


def test_what_was_written_long_ago_is_read(network: FakeNetwork, golden: dict[str, str]) -> None:
    """Every part, and written again it is the same."""
    assert decode_info_request(bytes.fromhex(golden["info request"])) == (CLUSTER, NONCE)
    info = decode_info(bytes.fromhex(golden["info answer"]))
    assert info.epoch == network.epoch
    assert encode_info(info.epoch, info.statement, info.records).hex() == golden["info answer"]
    assert [r.encoded.hex() for r in info.records] == [golden["peer record"]]
    statement = read_statement(info.statement)
    assert (statement.nonce, statement.transcript_hash) == (NONCE, network.epoch.transcript.hash)
    assert statement.mpk == network.epoch.transcript.mpk
    assert decode_evidence_request(bytes.fromhex(golden["evidence request"])) == (CLUSTER, 7)
    assert decode_evidence_page(bytes.fromhex(golden["evidence answer"]), 7) == PAGE
    reach = decode_frame(bytes.fromhex(golden["reach request"]))
    verify_frame(reach, network.operators[0].key.g2)
    asked = read_reach_request(reach, cluster=CLUSTER, me=network.operators[1].address)
    assert asked == 1_700_000_000_000
    assert decode_reach_answer(bytes.fromhex(golden["reach answer"])) == DIALLED
    assert decode_canary_request(bytes.fromhex(golden["canary request"])) == CANARY
    request = decode_partial_request(bytes.fromhex(golden["partial request with authorisation"]))
    assert request == replace(asking(network)[1], authorisation=b"proof")


def test_the_digest_names_the_whole_request(network: FakeNetwork) -> None:
    """``keccak256("eigenkms/request/1" ‖ request)``; no field can change under it."""
    _, request = asking(network)
    assert request.digest == keccak256(b"eigenkms/request/1", request.encoded)
    others = [
        replace(request, cluster=ClusterId(bytes(32))),
        replace(request, app_id=AppId("your-app")),
        replace(request, ciphertext_version=1),
        replace(request, transcript_hash=bytes(32)),
        replace(request, reply_key=bytes(32)),
        replace(request, nonce=bytes(32)),
        replace(request, authorisation=b""),
    ]
    assert len({r.digest for r in [request, *others]}) == 8


# -- strict ------------------------------------------------------------------------------------------------------

Decoder = Callable[[bytes], Any]


def packed(value: Any) -> bytes:
    data: bytes = msgpack.packb(value, use_bin_type=True)
    return data


def cases() -> list[Any]:
    """(decoder, the fields of a good message, for each field values that are wrong)."""
    made = make_network(seed="golden requests")
    _, request = asking(made)
    operator = made.operators[0]
    statement = build_statement(operator.key, operator.address, made.epoch.transcript, NONCE)
    good_info = [made.epoch.transcript.encoded, made.epoch.certificate.encoded, statement.encoded, []]
    short, long, odd = b"x" * 31, b"x" * 33, "text"
    return [
        pytest.param(
            decode_info_request,
            [1, CLUSTER, NONCE, 0],
            [
                [0, 2, -1, "1", None, 1.0],
                [short, long, odd, None],
                [short, long, None],
                [2, -1, 256, 2**64 - 1, True, False, "0", b"", None, 0.0],
            ],
            id="info request",
        ),
        pytest.param(
            decode_partial_request,
            msgpack.unpackb(request.encoded),
            [
                [0, 2, True, "1", None],
                [short, long, odd, None],
                ["four", "", "é" * 2, "x" * (MAX_APP_ID_BYTES + 1), b"bytes", None],
                [0, 3, 2**16, -1, True, "1", None],
                [short, long, None],
                [short, long, None],
                [short, long, None],
                [odd, 1, bytes(MAX_AUTHORISATION_BYTES + 1)],
            ],
            id="partial request",
        ),
        pytest.param(
            decode_info,
            good_info,
            [
                [b"", b"\xc1", None, odd, good_info[1]],
                [b"", b"\xc1", None, good_info[0], bytes(1000)],
                [b"", b"\xc1", None, statement.encoded[:-1]],
                [None, [None], ["x"], [b""], [b"\xc1"], [statement.encoded] * (MAX_RECORDS + 1)],
            ],
            id="info answer",
        ),
        pytest.param(
            decode_evidence_request,
            [1, CLUSTER, 7],
            [[0, 2, -1, "1", None, 1.0], [short, long, odd, None], [-1, "1", None, True, 2**63]],
            id="evidence request",
        ),
        pytest.param(
            lambda data: decode_evidence_page(data, 7),
            [[[8, b"a bundle"], [11, b"another"]], 1],
            [
                [
                    *(
                        None,
                        [None],
                        [[]],
                        [[8]],
                        [[8, b"", b""]],
                        [["8", b""]],
                        [[8, "text"]],
                        [[2**63, b""]],
                    ),
                    *([[7, b""]], [[8, b""], [8, b""]], [[9, b""], [8, b""]], []),
                ],
                [2, True, None, "1"],
            ],
            id="evidence answer",
        ),
    ]


def test_evidence_pages_end() -> None:
    """An empty last page is one; ids may begin anywhere above what was asked for."""
    for page in (EvidencePage((), more=False), EvidencePage(((2**63 - 1, b"x"),), more=False)):
        assert decode_evidence_page(page.encoded, 0) == page


@pytest.mark.parametrize(("decode", "good", "wrong"), cases())
def test_each_field_has_one_form(decode: Decoder, good: list[Any], wrong: list[list[Any]]) -> None:
    """Another type, length or value is malformed, wherever it stands; so are more fields, fewer, and none."""
    decode(packed(good))
    assert len(wrong) == len(good)
    for place, values in enumerate(wrong):
        for value in values:
            with pytest.raises(MalformedError):
                decode(packed([*good[:place], value, *good[place + 1 :]]))
    for value in (good[:-1], [*good, None], [], None, {}, dict(enumerate(good)), b"bytes"):
        with pytest.raises(MalformedError):
            decode(packed(value))


@pytest.mark.parametrize(("decode", "good", "wrong"), cases())
def test_there_is_one_encoding(decode: Decoder, good: list[Any], wrong: list[list[Any]]) -> None:
    """Longer forms of the same value, bytes after it and cuts are refused."""
    data = packed(good)
    longer = [b"\xdc" + len(good).to_bytes(2, "big") + data[1:], b"\xdd" + be32(len(good)) + data[1:]]
    for bad in [*longer, data + b"\x00", data + data, data[:-1], data[:1], b""]:
        with pytest.raises(MalformedError):
            decode(bad)


def test_an_application_id_may_be_any_text_of_five_bytes(network: FakeNetwork) -> None:
    """Counted in UTF-8."""
    _, request = asking(network)
    for app in ("abcde", "ééa", "🔑1", "x" * MAX_APP_ID_BYTES):
        assert decode_partial_request(replace(request, app_id=AppId(app)).encoded).app_id == app


def test_an_application_id_is_what_the_request_spells_out(network: FakeNetwork) -> None:
    """A client can verify no other identity; a wrong checksum is refused by its name."""
    _, request = asking(network)
    spelled = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    for each in (spelled, spelled.lower()):
        found = decode_partial_request(replace(request, app_id=AppId(each)).encoded)
        assert (found.app_id, found.identity) == (
            each,
            identity_of(request.ciphertext_version, CLUSTER, each),
        )
    with pytest.raises(MalformedError, match=r"the checksum of this address \(EIP-55\) is wrong"):
        decode_partial_request(replace(request, app_id=AppId(spelled.replace("a", "A", 1))).encoded)


def test_more_records_than_fit_are_left_out(network: FakeNetwork) -> None:
    """The first ones are told."""
    operator = network.operators[0]
    statement = build_statement(operator.key, operator.address, network.epoch.transcript, NONCE)
    records = [operator.record([], sequence=n) for n in range(3)] * 100
    assert len(decode_info(encode_info(network.epoch, statement, records)).records) == MAX_RECORDS


# -- statements and answers --------------------------------------------------------------------------------------


def framed(network: FakeNetwork, operator: Operator, kind: FrameKind, body: list[Any]) -> Frame:
    return build_frame(
        operator.key,
        kind=kind,
        cluster=CLUSTER,
        sender=operator.address,
        session=network.session.id,
        body=body,
    )


def test_a_statement_is_its_own_kind(network: FakeNetwork) -> None:
    """A frame of another kind with the same body is none, nor is one with another body."""
    operator, transcript = network.operators[0], network.epoch.transcript
    body = [NONCE, transcript.hash, transcript.mpk]
    assert read_statement(framed(network, operator, FrameKind.STATEMENT, body)).nonce == NONCE
    with pytest.raises(MalformedError, match="PARTIAL frame"):
        read_statement(framed(network, operator, FrameKind.PARTIAL, body))
    for bad in (body[:2], [*body, b""], [b"", *body[1:]], [NONCE, transcript.hash, transcript.mpk[:48]]):
        with pytest.raises(MalformedError):
            read_statement(framed(network, operator, FrameKind.STATEMENT, bad))


def seal(network: FakeNetwork, request: PartialRequest, frame: Frame) -> bytes:
    """Any frame, sealed as an answer to ``request``."""
    return sealing.hpke_seal(
        request.reply_key, b"eigenkms/partial/1" + CLUSTER, request.digest, frame.encoded
    )


def test_an_answer_is_bound_to_request_and_version(network: FakeNetwork) -> None:
    """Under the right seal, a frame of another kind, cluster, session, request or version is refused."""
    private, request = asking(network)
    operator, transcript = network.operators[0], network.epoch.transcript
    body = [request.digest, transcript.hash, bytes(48)]
    open_partial(
        private,
        request,
        transcript,
        seal(network, request, framed(network, operator, FrameKind.PARTIAL, body)),
    )
    elsewhere = make_network(seed="elsewhere")
    for bad in (
        framed(network, operator, FrameKind.STATEMENT, body),
        framed(elsewhere, operator, FrameKind.PARTIAL, body),
        framed(network, operator, FrameKind.PARTIAL, [bytes(32), *body[1:]]),
        framed(network, operator, FrameKind.PARTIAL, [body[0], bytes(32), body[2]]),
        framed(network, operator, FrameKind.PARTIAL, body[:2]),
        framed(network, operator, FrameKind.PARTIAL, [*body[:2], bytes(47)]),
    ):
        with pytest.raises(MalformedError):
            open_partial(private, request, transcript, seal(network, request, bad))


def test_a_sealed_answer_opens_for_its_own_request_alone(network: FakeNetwork) -> None:
    """Not with another key, not for a changed request, not once a bit of it is changed, not when it is cut."""
    private, request = asking(network)
    operator, transcript = network.operators[0], network.epoch.transcript
    sealed = seal_partial(operator.key, operator.address, transcript, request, bytes(48))
    other, _ = sealing.x25519_keypair(counter_rng("another"))
    changed = bytearray(sealed)
    changed[-1] ^= 1
    attempts: list[tuple[bytes, PartialRequest, bytes]] = [
        (other, request, sealed),
        (private, replace(request, nonce=bytes(32)), sealed),
        (private, replace(request, app_id=AppId("your-app")), sealed),
        (private, request, bytes(changed)),
        (private, request, sealed[:-1]),
        (private, request, b""),
    ]
    for key, asked, data in attempts:
        with pytest.raises(VerificationError):
            open_partial(key, asked, transcript, data)


@pytest.mark.parametrize("key", [bytes(32), (1).to_bytes(32, "little"), bytes(31), b""])
def test_nothing_is_sealed_to_a_key_that_is_none(network: FakeNetwork, key: bytes) -> None:
    """Of low order, or of another length."""
    operator, transcript = network.operators[0], network.epoch.transcript
    request = replace(asking(network)[1], reply_key=key)
    with pytest.raises(VerificationError):
        seal_partial(operator.key, operator.address, transcript, request, bytes(48))


def test_a_statement_signed_by_another_key_does_not_verify(network: FakeNetwork) -> None:
    """Nor one that was changed after it was signed."""
    operator = network.operators[0]
    good = build_statement(operator.key, operator.address, network.epoch.transcript, NONCE)
    verify_frame(good, operator.key.g2)
    with pytest.raises(BadSignatureError):
        verify_frame(good, network.operators[1].key.g2)
    forged = build_statement(bn254.KeyPair.from_secret(7), operator.address, network.epoch.transcript, NONCE)
    with pytest.raises(BadSignatureError):
        verify_frame(forged, operator.key.g2)


# -- epochs ------------------------------------------------------------------------------------------------------


def test_an_epoch_that_a_quorum_signed_is_good(network: FakeNetwork) -> None:
    """All four, or any three."""
    check_certified_transcript(network.epoch, CLUSTER)
    for left_out in range(4):
        signers = [o for i, o in enumerate(network.operators) if i != left_out]
        check_certified_transcript(
            CertifiedTranscript(network.epoch.transcript, network.certify(network.epoch.transcript, signers)),
            CLUSTER,
        )


CHAINS_TO_SAY = {"strangers as operators", "a block of a fork"}
"""What only the chain can tell."""


def test_a_false_epoch_is_refused_whatever_is_false_about_it(network: FakeNetwork) -> None:
    """Everything that can be seen without the chain."""
    seen = 0
    for name, (epoch, words) in false_epochs(network).items():
        if name in CHAINS_TO_SAY:
            continue
        with pytest.raises(VerificationError, match=words) as error:
            check_certified_transcript(epoch, CLUSTER)
        assert error.value.exit_code == 4, name
        seen += 1
    assert seen >= 12


def test_prepare_votes_are_no_epoch(network: FakeNetwork) -> None:
    """Although a quorum signed them."""
    certificate = replace(network.epoch.certificate, phase=Phase.PREPARE)
    with pytest.raises(BadCertificateError):
        check_certified_transcript(CertifiedTranscript(network.epoch.transcript, certificate), CLUSTER)


def test_a_changed_transcript_is_refused_byte_by_byte(network: FakeNetwork) -> None:
    """Every tenth byte in turn: it does not decode, or does not verify."""
    encoded = network.epoch.transcript.encoded
    for place in range(0, len(encoded), 10):
        changed = bytearray(encoded)
        changed[place] ^= 1
        with pytest.raises(EigenKmsError):
            check_certified_transcript(
                CertifiedTranscript(decode_transcript(bytes(changed)), network.epoch.certificate), CLUSTER
            )


def test_a_frame_in_an_answer_is_a_frame(golden: dict[str, str]) -> None:
    """The statement of then decodes by itself."""
    assert decode_frame(bytes.fromhex(golden["statement"])).kind is FrameKind.STATEMENT


if __name__ == "__main__":
    FILE.write_text(
        json.dumps(example(make_network(seed="golden requests")), indent=1, sort_keys=True) + "\n"
    )
