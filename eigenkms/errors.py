"""Errors: the type states whose fault it was, the message what failed.

``hint`` is the next step. A message names the action that failed and its input ("read operator set at block 4711:
..."). It never holds a secret. The command line prints ``error: <message>`` and ``hint: <hint>`` and exits with
``exit_code``; the codes are stable (docs/cli.md).
"""

from typing import ClassVar


class EigenKmsError(Exception):
    """Base of every error that a user may see."""

    exit_code: ClassVar[int] = 1
    default_hint: ClassVar[str | None] = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint if hint is not None else self.default_hint

    @property
    def one_line(self) -> str:
        """The message with its hint in brackets, on one line, for a log."""
        return f"{self} ({self.hint})" if self.hint else str(self)


class InputError(EigenKmsError):
    """The command, its configuration, a file or an argument is wrong; nothing changed."""

    exit_code = 1


class NetworkError(EigenKmsError):
    """Peers could not be reached, or too few of them answered."""

    exit_code = 2
    default_hint = "check that the operators are running and that this machine can reach their addresses"


class ChainError(EigenKmsError):
    """The chain's RPC is down, is another chain, or gave an impossible answer."""

    exit_code = 2
    default_hint = "check the RPC URL, the chain id and the contract addresses"


class StorageError(EigenKmsError):
    """The data folder cannot be read or written; its content is unchanged."""

    exit_code = 1


class RefusedError(EigenKmsError):
    """An operator refused the request: not authorised, or attestation rejected."""

    exit_code = 3


class VerificationError(EigenKmsError):
    """Data did not verify.

    For example a wrong key, a tampered ciphertext, a certificate that proves nothing, or a changed key.
    """

    exit_code = 4


class RemoteProtocolError(EigenKmsError):
    """A peer broke the protocol.

    Its frame is dropped; one that proves a fault is kept as evidence.
    """

    exit_code = 2
