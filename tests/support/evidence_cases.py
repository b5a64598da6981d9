"""Evidence against operators of the fake network, and operators that serve it."""

from typing import Any

from eigenkms.p2p.host import Request
from eigenkms.protocols.records.evidence import Evidence, Fault
from eigenkms.protocols.records.evidence_bundle import Bundle
from eigenkms.wire import rpc_methods
from eigenkms.wire.client_rpc import EvidencePage, decode_evidence_request
from eigenkms.wire.frames import Frame, FrameKind, build_frame
from eigenkms.wire.messages import dealing_body, ref_of
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import Transcript
from tests.support.fake_network import (
    CLUSTER,
    FakeNetwork,
    Honest,
    Operator,
)


def equivocation(network: FakeNetwork, number: int = 1, accused: int = 3) -> Bundle:
    """Return two hashes of one operator, others for each ``number``."""
    return equivocation_in(network.session, network.operators[accused], number)


def equivocation_in(session: Session, liar: Operator, number: int = 1) -> Bundle:
    frames = tuple(
        signed_frame(session, liar, FrameKind.HASH, [bytes([number, place]) * 16]) for place in (0, 1)
    )
    return Bundle(session, Evidence(Fault.EQUIVOCATION, liar.address, session.id, frames))


def bad_dealing(network: FakeNetwork, source: Transcript, accused: int = 3) -> Bundle:
    """Return a signed dealing from a version, without a header."""
    session, liar = network.session, network.operators[accused]
    frame = signed_frame(session, liar, FrameKind.DEALING, dealing_body(ref_of(source), b"no header"))
    return Bundle(session, Evidence(Fault.BAD_DEALING, liar.address, session.id, (frame,), source))


def signed_frame(session: Session, operator: Operator, kind: FrameKind, body: list[Any]) -> Frame:
    return build_frame(
        operator.key,
        kind=kind,
        cluster=session.cluster,
        sender=operator.address,
        session=session.id,
        body=body,
    )


class EvidenceServer(Honest):
    """Shows ``bundles``, one a page, and answers to nothing else if it has no key."""

    def __init__(self, network: FakeNetwork, *bundles: Bundle | bytes) -> None:
        super().__init__(network)
        self.pages = [bundle if isinstance(bundle, bytes) else bundle.encoded for bundle in bundles]

    async def answer(self, operator: Operator, request: Request) -> bytes:
        if request.method != rpc_methods.EVIDENCE:
            return await super().answer(operator, request)
        cluster, after = decode_evidence_request(request.body)
        assert cluster == CLUSTER
        self.asked.append(request.method)
        return self.page(after).encoded

    def page(self, after: int) -> EvidencePage:
        rows = list(enumerate(self.pages, 1))[after : after + 1]
        return EvidencePage(tuple(rows), more=after + 1 < len(self.pages))
