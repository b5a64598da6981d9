"""Errors of a client, each with a hint of what to do next."""

from eigenkms.errors import EigenKmsError, NetworkError, VerificationError


class NoVersionError(NetworkError):
    """No operator has a master key yet."""

    default_hint = (
        "operators generate the key at the next boundary at which all of them are there; try again then"
    )


class QuorumError(NetworkError):
    """Fewer operators answered than the threshold; the message names who did not."""

    default_hint = "try again; if it stays, the named operators are down or unreachable from here"


class KeyChangedError(VerificationError):
    """The cluster's master public key is not the one this machine has pinned."""

    default_hint = (
        "do not continue unless the operators announced a new key; then remove the cluster's line from the "
        "known-clusters file"
    )


class AttesterError(EigenKmsError):
    """Evidence could not be made, so an operator was not asked.

    The message names the reason, which is on this machine.
    """

    exit_code = 2
    default_hint = "see docs/attestation.md for what this way to attest needs"
