"""Encryption keys of operators: published, listed, kept and erased.

*Life of a key.* Each member of a session publishes a fresh key in it, numbered with the session's boundary block: numbers rise, and
nobody needs a counter that a restored disk could put back. The session's transcript *lists* one key for each recipient: the fresh
one if it was there in time, else the one that the source lists. Sessions that deal from this version encrypt to the listed keys, so
all dealers use the same ones, and an absent operator keeps its last one. A recipient that the source does not list (a newcomer)
gets its shares under the key that it publishes in the session itself.

*Erasure.* With a certified version V, of which the share is durable, no session that deals from an older version than V can be
certified any more (protocols/operator). So what can still be needed is the key that V lists for this operator, keys published
above V's boundary, which a later transcript may list, and, until the share of V is durable, the key that it is encrypted to.
Everything else is destroyed: then recorded dealings and the disk of a later day give nothing.
"""

from collections.abc import Collection, Iterable, Mapping

from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.pvss import InvalidEncryptionKey, KeySlot, check_possession
from eigenkms.errors import RemoteProtocolError
from eigenkms.protocols.codec import MalformedError
from eigenkms.protocols.frames import Frame, Kind, decode_frame, verify_frame
from eigenkms.protocols.messages import read_key
from eigenkms.protocols.session import Session
from eigenkms.protocols.transcript import ListedKey, Transcript
from eigenkms.types import OperatorAddress, OperatorSet

MAX_READ = 1024
"""Frames of which it is remembered whether they are good; beyond, they are verified anew."""


class BadKeyError(RemoteProtocolError):
    """A published encryption key that cannot be used."""

    default_hint = "the operator that published it is faulty; its key was dropped"


def key_slot(session: Session, operator: OperatorAddress) -> KeySlot:
    """What the proof of possession of a key published in this session is bound to."""
    return KeySlot(session.cluster, operator, session.boundary.number)


def check_key_frame(frame: Frame, session: Session) -> ListedKey:
    """The key that a frame of this session, with a verified signature, publishes.

    Raises ``BadKeyError``, ``MalformedError``. CPU: 0.3 ms.
    """
    message = read_key(frame)
    try:
        check_possession(message.public, key_slot(session, frame.sender), message.proof)
    except InvalidEncryptionKey as error:
        raise BadKeyError(f"read key of 0x{frame.sender.hex()}: {error}") from None
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
        """Take a verified KEY frame of a recipient, unless its proof is bad; whether it was taken."""
        try:
            key = check_key_frame(frame, self._session)
        except BadKeyError:
            return False
        self._keys.setdefault(frame.sender, (key, frame))
        self._remember(frame.encoded, (frame.sender, key))
        return True

    def read(self, encoded: bytes) -> tuple[OperatorAddress, ListedKey]:
        """Whose key an encoded KEY frame inside another frame publishes: it is known from then on. Raises ``RemoteProtocolError``.

        CPU: a pairing, for a frame that was not seen before. A bad one is remembered too: each step of a view
        checks the key frames of its proposal.
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
        if frame.kind is not Kind.KEY:
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
        """The encoded frames of these operators' keys, as far as they are here, ascending by operator."""
        return tuple(self._keys[a][1].encoded for a in sorted(operators) if a in self._keys)

    @property
    def owners(self) -> Collection[OperatorAddress]:
        """Whose keys are here."""
        return self._keys.keys()

    def __contains__(self, operator: OperatorAddress) -> bool:
        return operator in self._keys

    def has_all(self, operators: OperatorSet) -> bool:
        return all(address in self._keys for address in operators.addresses)


def next_keys(
    session: Session,
    source: Transcript | None,
    fresh: Mapping[OperatorAddress, ListedKey],
) -> tuple[ListedKey | None, ...]:
    """What a transcript lists: each recipient's fresh key if there is one, else that of the source."""
    return tuple(
        fresh.get(address) or (None if source is None else source.key_of(address))
        for address in session.recipients.addresses
    )


def needed_numbers(
    held: Iterable[int],
    me: OperatorAddress,
    version: Transcript,
    used: int | None,
    *,
    has_share: bool,
) -> frozenset[int]:
    """Which of the ``held`` keys can still be needed once ``version`` is the highest certified one; all others are to be erased.

    ``used`` is the number of the key that my share of it is encrypted to, ``None`` if no dealing serves me.
    """
    listed = version.key_of(me)
    floor = version.boundary.number
    kept = {number for number in held if number > floor}
    if listed is not None:
        kept.add(listed.number)
    if used is not None and not has_share:
        kept.add(used)
    return frozenset(kept & set(held))
