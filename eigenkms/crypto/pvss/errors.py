"""Whose fault it is that a dealing or a key cannot be used."""

from eigenkms.errors import VerificationError


class InvalidDealing(VerificationError):  # noqa: N818 - named as InvalidPoint is
    """The dealer's fault: an encrypted part is malformed, or its proof does not hold for these commitments,
    recipients and context.
    """


class UndecryptableShare(InvalidDealing):
    """The dealer's fault: a chunk has no logarithm within the bound, so the dealing was never verified or its proof is forged."""


class InvalidEncryptionKey(VerificationError):  # noqa: N818 - named as InvalidPoint is
    """The key owner's fault: an encryption key is no point of the group, is listed twice, or comes without a
    valid proof of possession.
    """
