"""The read side of a participant: the answers to the node.

Nothing here changes a state.

The node asks between steps, from another thread than the steps run in, so answers are made from copies.
"""

from collections import OrderedDict

from eigenkms.protocols.ceremony import retention
from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.protocols.ceremony.context import SourceVersion
from eigenkms.protocols.ceremony.holdings import Holdings, KnownVersion
from eigenkms.types import OperatorAddress, SessionId
from eigenkms.wire.dealing import DealingRow, row_of
from eigenkms.wire.messages import GENESIS, SourceRef
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import Transcript


class ParticipantReader:
    """The read side of operator ``me``: its sessions, and what it holds across them."""

    def __init__(self, me: OperatorAddress) -> None:
        self.me = me
        self._ceremonies: OrderedDict[SessionId, Ceremony] = OrderedDict()
        self._holdings = Holdings(me)

    # -- versions and keys -------------------------------------------------------------------------------------

    @property
    def versions(self) -> tuple[KnownVersion, ...]:
        return self._holdings.versions

    @property
    def has_version(self) -> bool:
        return bool(len(self._holdings))

    @property
    def head(self) -> KnownVersion | None:
        """The version that the next rotation deals from."""
        return self._holdings.head

    @property
    def certified(self) -> KnownVersion | None:
        """The highest certified version."""
        return self._holdings.certified

    @property
    def key_numbers(self) -> frozenset[int]:
        """Numbers of the encryption keys that this operator holds."""
        return self._holdings.key_numbers

    def can_adopt(self, transcript: Transcript) -> bool:
        """Return whether a version is to be taken in: see ``Holdings.can_adopt``."""
        return self._holdings.can_adopt(transcript)

    # -- sessions ----------------------------------------------------------------------------------------------

    @property
    def _all(self) -> tuple[Ceremony, ...]:
        """Oldest first.

        A copy, as the node asks between steps, from another thread than the steps run in.
        """
        return tuple(self._ceremonies.values())

    def may_join(self, session: Session) -> bool:
        """Return whether this operator has a part in a session, which is the newest.

        An operator that left the set listens, and deals, if it holds a share of any version, or was a member of a session in which
        one may have been made without its knowledge.
        """
        newest = max((c.session.boundary.number for c in self._all), default=-1)
        member = session.recipients.get(self.me) is not None
        if session.boundary.number <= newest:
            return False
        if self.head is None:
            return member and self.binding_session is None
        holds = any(known.share is not None for known in self.versions)
        return bool(self._sources_of(session)) and (member or holds or self._was_member)

    @property
    def _was_member(self) -> bool:
        """Whether a session may have made a later version for this operator."""
        certified = self.certified
        floor = -1 if certified is None else certified.transcript.boundary.number
        return any(self.me in c.session.x and c.session.boundary.number > floor for c in self._all)

    @property
    def binding_session(self) -> Session | None:
        """The undecided genesis session in which this operator voted for a key."""
        return next((c.session for c in self._all if c.has_prepared_key), None)

    def _sources_of(self, session: Session) -> list[SourceVersion]:
        """Return what a session that begins now deals from: the head, if it is older."""
        head = self.head
        if head is None or head.transcript.boundary.number >= session.boundary.number:
            return []
        return [head.source]

    def deadline(self) -> float | None:
        """Return when to call ``tick`` if nothing else happens; it may have passed.

        See ``Ceremony.deadline``.
        """
        times = (c.deadline() for c in self._all)
        return min((t for t in times if t is not None), default=None)

    # -- what the node asks ------------------------------------------------------------------------------------

    def ceremony(self, session: SessionId) -> Ceremony | None:
        return self._ceremonies.get(session)

    @property
    def newest(self) -> Ceremony | None:
        """The session of the newest boundary that was joined."""
        ceremonies = self._all
        return ceremonies[-1] if ceremonies else None

    @property
    def unknown_sources(self) -> dict[OperatorAddress, SourceRef]:
        """The versions that may be better ones, by operator that deals from them.

        A version is unknown here, or an operator that left the set knows it as prepared alone.
        """
        newest, certified = self.newest, self.certified
        floor = GENESIS.version if certified is None else int(certified.transcript.version)
        heard = {} if newest is None else newest.unknown_sources
        unknown = {who: ref for who, ref in heard.items() if self._holdings.version(ref.hash) is None}
        both = {**self._unproven_sources, **unknown}
        return {who: ref for who, ref in both.items() if ref.version > floor}

    @property
    def _unproven_sources(self) -> dict[OperatorAddress, SourceRef]:
        """The sources of the newest session, if this operator is no member of it.

        It hears of certificates by gossip alone, as others answer the pulls of members and of holders of their source.
        """
        newest = self.newest
        return {} if newest is None or self.me in newest.session.x else newest.dealt_sources

    @property
    def syncable(self) -> tuple[Ceremony, ...]:
        """Sessions in which others may have what this operator needs, oldest first."""
        return retention.syncable(self._all)

    @property
    def wanted_bodies(self) -> tuple[bytes, ...]:
        """Names of dealings whose bodies are to be fetched from anybody who has them."""
        return tuple(name for ceremony in self._all for name in ceremony.wanted_bodies)

    @property
    def wanted_rows(self) -> tuple[bytes, ...]:
        """Names of dealings of which this operator's row is to be fetched."""
        return self._holdings.wanted_rows

    def is_obtaining(self, transcript_hash: bytes) -> bool:
        """Return whether the share of a version is being fetched or decrypted."""
        return self._holdings.is_obtaining(transcript_hash)

    @property
    def is_obtaining_a_share(self) -> bool:
        """Whether a share of any version is on its way."""
        return self._holdings.is_obtaining_a_share

    def body(self, name: bytes) -> bytes | None:
        """Return the body of a dealing, to be served to any member."""
        return next((body for c in self._all if (body := c.body(name)) is not None), None)

    def row(self, name: bytes, recipient: OperatorAddress) -> DealingRow | None:
        """Return one recipient's row of a dealing, to be served to that recipient.

        CPU: 4 ms for 256 recipients.
        """
        for ceremony in self._all:
            dealing, members = ceremony.dealing(name), ceremony.session.recipients.addresses
            if dealing is None or dealing.encrypted is None or recipient not in members:
                continue
            position = dealing.header.position(members.index(recipient))
            encoded = b"" if position is None else row_of(dealing.encrypted, position)
            return DealingRow(dealing.header.encoded, encoded)
        return None
