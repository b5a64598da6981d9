"""Addresses of operators: sockets from the chain, and signed peer records.

The recipients of a version hold it, and some of them may have left the operator set since. Here they are *former* operators: asked
for partial signatures, never for their statement on the newest version. Their sockets are those that the chain gives for the
version's block. Their records are verified against the keys that they had in it.
"""

from collections.abc import Iterable, Sequence

from eigenkms.chain.operator_set import ChainOperator
from eigenkms.crypto import bn254
from eigenkms.errors import InputError, RemoteProtocolError
from eigenkms.p2p.identity import PeerAddress, PeerId, TransportAddress, parse_transport
from eigenkms.p2p.operator_socket import describe_unusable, parse_socket
from eigenkms.types import ClusterId, OperatorAddress
from eigenkms.wire.client_rpc import MAX_RECORDS
from eigenkms.wire.frames import NO_SESSION, Frame
from eigenkms.wire.peer_claims import ClaimStanding, PeerClaim, dial_order
from eigenkms.wire.peer_record import PeerRecord, read_peer_record

PeerLocation = tuple[PeerId, tuple[str, ...]]
"""A peer, and the addresses to dial it at."""


class AddressBook:
    """Operators, and the peers that answer for them.

    Pure state; a thread may read while another one changes it.
    """

    def __init__(self, cluster: ClusterId, operators: Sequence[ChainOperator]) -> None:
        self._cluster = cluster
        self._operators: dict[OperatorAddress, ChainOperator] = {}
        self._former: dict[OperatorAddress, ChainOperator] = {}
        self._records: dict[OperatorAddress, PeerRecord] = {}
        self._pending_records: dict[bytes, Frame] = {}
        self.set_operators(operators)

    def set_operators(self, operators: Sequence[ChainOperator]) -> None:
        """Adopt a newer operator set.

        The record of an operator is dropped if its socket or key has changed.
        """
        before = self._operators
        self._operators = {o.address: o for o in operators}
        former = self._former | before
        self._former = {a: o for a, o in former.items() if a not in self._operators}
        self._records = {
            a: record
            for a, record in self._records.items()
            if a not in self._operators or self._operators[a] == former.get(a)
        }
        self._pending_records = {}

    def add_recipients(self, recipients: Iterable[ChainOperator]) -> set[OperatorAddress]:
        """Add the recipients of a version.

        A recipient outside today's set is a former operator. Returns the recipients for which a record was pending. CPU-bound: a
        pairing for each.
        """
        new = {o.address: o for o in recipients if self._find(o.address) is None}
        self._former = self._former | new
        waiting = [frame for frame in self._pending_records.values() if frame.sender in new]
        return self.add_records(waiting)

    @property
    def operators(self) -> tuple[OperatorAddress, ...]:
        """Today's."""
        return tuple(self._operators)

    def _find(self, operator: OperatorAddress) -> ChainOperator | None:
        return self._operators.get(operator) or self._former.get(operator)

    def key_of(self, operator: OperatorAddress) -> bytes | None:
        """Return an operator's key of today, or the last key of a former operator."""
        found = self._find(operator)
        return None if found is None else found.key

    def peer_of(self, operator: OperatorAddress) -> PeerLocation | None:
        """Return the peer and its addresses: of the newest record, else of the socket.

        If several operators name one peer, only one of them can be it. The peer is then dialled at the same addresses for each of
        them, in the order of ``wire.peer_claims``.
        """
        own = self._claimed_location(operator)
        if own is None:
            return None
        everybody = [*self._operators, *self._former]
        rivals = [claim for other in everybody if (claim := self._claimed_location(other)) is not None]
        return own.peer, dial_order(claim for claim in rivals if claim.peer == own.peer)[own.peer]

    def describe_missing_peer(self, operator: OperatorAddress) -> str:
        """Return why ``peer_of`` knows no peer of an operator, as a sentence on it."""
        found = self._find(operator)
        return "it is no operator of this cluster" if found is None else describe_unusable(found.socket)

    @property
    def home(self) -> TransportAddress | None:
        """Return a public address of an operator, if most sockets on chain are public.

        Only sockets with an IP address count. A few operators cannot change whether there is one.
        """
        sockets = [socket for operator in self._operators if (socket := self._socket(operator)) is not None]
        public = [socket.transport for socket in sockets if socket.transport.is_public]
        private = [socket.transport for socket in sockets if socket.transport.is_public is False]
        return public[0] if len(public) > len(private) else None

    def _claimed_location(self, operator: OperatorAddress) -> PeerClaim[PeerId] | None:
        """Return the peer that the operator claims to be, and its addresses.

        They are those of its record, and of its socket too if that names the same peer.
        """
        record, socket = self._records.get(operator), self._socket(operator)
        if record is None:
            return (
                None
                if socket is None
                else PeerClaim(socket.peer_id, ClaimStanding.ON_CHAIN, (socket.multiaddr,))
            )
        peer = PeerId(record.peer_id)
        if socket is None or socket.peer_id != peer:
            return PeerClaim(peer, ClaimStanding.SAID, record.addresses)
        addresses = tuple(dict.fromkeys([*record.addresses, socket.multiaddr]))
        return PeerClaim(peer, ClaimStanding.ON_CHAIN, addresses)

    def _socket(self, operator: OperatorAddress) -> PeerAddress | None:
        found = self._find(operator)
        try:
            return None if found is None else parse_socket(found.socket).address
        except InputError:
            return None

    def add_records(self, frames: Iterable[Frame]) -> set[OperatorAddress]:
        """Add peer records; return the operators whose peer or addresses changed.

        CPU-bound: a pairing for each change. A record with an invalid address is dropped. Records of unknown operators are kept,
        since they may be recipients of a version that is shown later.
        """
        changed = set()
        for frame in frames:
            try:
                record = read_peer_record(frame)
                for address in record.addresses:
                    parse_transport(address)
            except (RemoteProtocolError, InputError):
                continue
            key, known = self.key_of(record.operator), self._claimed_location(record.operator)
            older = self._records.get(record.operator)
            if frame.cluster != self._cluster or frame.session != NO_SESSION:
                continue
            if key is None:
                self._keep_waiting(frame)
                continue
            if older is not None and older.sequence >= record.sequence:
                continue
            if (
                known is not None
                and bytes(known.peer) == record.peer_id
                and set(known.addresses) >= set(record.addresses)
            ):
                continue
            if bn254.verify(frame.digest, frame.signature, key):
                self._records[record.operator] = record
                changed.add(record.operator)
        return changed

    def _keep_waiting(self, frame: Frame) -> None:
        """Room for as many as one answer of each operator can hold."""
        if len(self._pending_records) < MAX_RECORDS * len(self._operators):
            self._pending_records[frame.encoded] = frame
