"""The outcome of a session: a version to store, or an end without a key."""

from eigenkms.protocols.ceremony.effects import CloseSession, Effect, LogEvent, StoreCertifiedVersion
from eigenkms.protocols.ceremony.proposals import Decision
from eigenkms.wire.session import Session


def outcome_of(decision: Decision, session: Session) -> list[Effect]:
    """Return the effects of a decision.

    The caller makes the certificate durable first.
    """
    certificate, transcript = decision.certificate, decision.transcript
    if transcript is None:
        return [
            CloseSession(certificate),
            LogEvent("closed without a key", {"view": certificate.view}),
        ]
    summary = {
        "view": certificate.view,
        "version": int(transcript.version),
        "mpk": transcript.mpk.hex()[:16],
        "signers": len(certificate.signers(session.recipients)),
    }
    return [StoreCertifiedVersion(transcript, certificate), LogEvent("certified", summary)]
