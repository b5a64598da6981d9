"""Encryption keys that the members of one session publish: KEY frames, as they came and as they stand inside other frames."""

from collections.abc import Collection, Iterable

from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.pvss import InvalidEncryptionKey, KeySlot, check_possession
from eigenkms.errors import RemoteProtocolError
from eigenkms.types import OperatorAddress, OperatorSet, to_hex
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.frames import Frame, FrameKind, decode_frame, verify_frame
from eigenkms.wire.messages import read_key
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import ListedKey

MAX_READ = 1024
"""Frames of which it is remembered whether they are good; beyond, they are verified anew."""


class BadKeyError(RemoteProtocolError):
    """A published encryption key that cannot be used."""

    default_hint = "the operator that published it is faulty; its key was dropped"


def key_slot(session: Session, operator: OperatorAddress) -> KeySlot:
    """Return what the proof of possession of a published key is bound to."""
    return KeySlot(session.cluster, operator, session.boundary.number)


def check_key_frame(frame: Frame, session: Session) -> ListedKey:
    """Return the key that a frame of this session, with a verified signature, publishes.

    Raises ``BadKeyError``, ``MalformedError``. CPU: 0.3 ms.
    """
    message = read_key(frame)
    try:
        check_possession(message.public, key_slot(session, frame.sender), message.proof)
    except InvalidEncryptionKey as error:
        raise BadKeyError(f"read key of {to_hex(frame.sender)}: {error}") from None
    return ListedKey(session.boundary.number, message.public)


class KeyDirectory:
    """Keys published in one session: as frames of its members came, and as they stand inside other frames.

    A key frame inside a dealing or a proposal convinces by itself, so whoever signs two different ones divides nobody.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._keys: dict[OperatorAddress, tuple[ListedKey, Frame]] = {}
        self._read: dict[bytes, tuple[OperatorAddress, ListedKey] | None] = {}
        """By digest of an encoded frame; None for one that is no good."""

    def add(self, frame: Frame) -> bool:
        """Take a verified KEY frame of a recipient, unless its proof is bad.

        Whether it was taken.
        """
        try:
            key = check_key_frame(frame, self._session)
        except BadKeyError:
            return False
        self._keys.setdefault(frame.sender, (key, frame))
        self._remember(frame.encoded, (frame.sender, key))
        return True

    def read(self, encoded: bytes) -> tuple[OperatorAddress, ListedKey]:
        """Return the owner and key of an encoded KEY frame that stands inside another frame.

        It is known from then on. Raises ``RemoteProtocolError``. CPU: a pairing, for a frame that was not seen before. A bad one is
        remembered too: each step of a view checks the key frames of its proposal.
        """
        digest = keccak256(encoded)
        if digest not in self._read:
            try:
                frame, key = self._verify(encoded)
            except RemoteProtocolError:
                self._remember(encoded, None)
                raise
            self._remember(encoded, (frame.sender, key))
            self._keys.setdefault(frame.sender, (key, frame))
        known = self._read[digest]
        if known is None:
            raise BadKeyError("read key frame: it was refused before")
        return known

    def _remember(self, encoded: bytes, outcome: tuple[OperatorAddress, ListedKey] | None) -> None:
        if len(self._read) >= MAX_READ:
            self._read.clear()
        self._read[keccak256(encoded)] = outcome

    def _verify(self, encoded: bytes) -> tuple[Frame, ListedKey]:
        frame, session = decode_frame(encoded), self._session
        if frame.kind is not FrameKind.KEY:
            raise MalformedError(f"decode key frame: it is a {frame.kind.name}")
        members = session.recipients
        frame.check_scope(cluster=session.cluster, me=None, members=members, session=session.id)
        member = members.get(frame.sender)
        assert member is not None
        verify_frame(frame, member.key)
        return frame, check_key_frame(frame, session)

    def get(self, operator: OperatorAddress) -> ListedKey | None:
        held = self._keys.get(operator)
        return None if held is None else held[0]

    def frames(self, operators: Iterable[OperatorAddress]) -> tuple[bytes, ...]:
        """Return the encoded frames of these operators' keys, as far as they are here, ascending by operator."""
        return tuple(self._keys[a][1].encoded for a in sorted(operators) if a in self._keys)

    @property
    def owners(self) -> Collection[OperatorAddress]:
        """Whose keys are here."""
        return self._keys.keys()

    def __contains__(self, operator: OperatorAddress) -> bool:
        return operator in self._keys

    def has_all(self, operators: OperatorSet) -> bool:
        return all(address in self._keys for address in operators.addresses)
