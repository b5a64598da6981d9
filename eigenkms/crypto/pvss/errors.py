"""Whose fault it is that a dealing or a key cannot be used."""

from eigenkms.errors import VerificationError


class InvalidDealing(VerificationError):  # noqa: N818 - named as InvalidPoint is
    """The dealer's fault: its encrypted part is malformed or not proven.

    The proof must hold for these commitments, recipients and context.
    """


class UndecryptableShare(InvalidDealing):
    """A chunk has no logarithm within the bound.

    It is the dealer's fault if the key is the one that the dealing was made to: the dealing was not verified, or
    its proof was forged.
    """


class InvalidEncryptionKey(VerificationError):  # noqa: N818 - named as InvalidPoint is
    """The key owner's fault: an encryption key cannot be used.

    It is no point of the group, or comes without a valid proof of possession.
    """
