"""The peer book: which libp2p peer is which operator.

A peer whose id is in an operator's socket on chain may open operator streams. It counts as that operator, for shares and everything
else, only once it is *authenticated*. For that it must itself hand over a record, which the operator's BN254 key signs and which
names the peer id that Noise authenticated.

A record that another peer passes on only says where to dial its operator: an operator could sign one with the peer id of another.
If several operators name one peer, ``wire.peer_claims`` decides where it is dialled.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from eigenkms.chain.operator_set import ChainOperator
from eigenkms.errors import InputError, RemoteProtocolError
from eigenkms.p2p.identity import PeerAddress, PeerId, TransportAddress, parse_transport
from eigenkms.p2p.operator_socket import parse_socket
from eigenkms.p2p.prefixes import plain_ip
from eigenkms.p2p.types import GOSSIP
from eigenkms.types import ClusterId, OperatorAddress, to_hex
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.frames import NO_SESSION, Frame, WrongScopeError
from eigenkms.wire.peer_claims import ClaimStanding, PeerClaim, dial_order
from eigenkms.wire.peer_record import PeerRecord, read_peer_record
from eigenkms.wire.rpc_methods import CLIENT_PROTOCOL, OPERATOR_PROTOCOL

log = logging.getLogger(__name__)

FUTURE_MS = 5 * 60 * 1000
"""How far ahead of this machine's clock a record's sequence may be."""


@dataclass(frozen=True)
class PeerEntry:
    """An operator and its peer.

    ``socket`` is as on chain, ``peer`` and ``addresses`` are as dialled. The latter are of its record, or else of its socket.
    ``former``: it has left the set and is kept as it holds a version. ``proven``: the peer is authenticated.
    """

    operator: OperatorAddress
    socket: str
    peer: PeerId | None
    addresses: tuple[str, ...]
    former: bool
    proven: bool


class PeerBook:
    """Operators of the newest set with their sockets and verified records.

    Pure state, without I/O.
    """

    def __init__(self, cluster: ClusterId, me: OperatorAddress, own_peer: PeerId) -> None:
        self._cluster = cluster
        self._me = me
        self._own_peer = own_peer
        self._operators: dict[OperatorAddress, ChainOperator] = {}
        self._former: dict[OperatorAddress, ChainOperator] = {}
        self._sockets: dict[OperatorAddress, PeerAddress] = {}
        self._hosts: frozenset[str] = frozenset()
        self._records: dict[OperatorAddress, tuple[PeerRecord, Frame]] = {}
        self._proven: dict[OperatorAddress, PeerId] = {}
        self._warned: set[tuple[OperatorAddress, str]] = set()
        self._expected: Mapping[PeerId, tuple[str, ...]] | None = None

    def update(
        self,
        operators: Sequence[ChainOperator],
        *,
        holders: Iterable[OperatorAddress] = (),
        former: Iterable[ChainOperator] = (),
    ) -> None:
        """Replace the operator set by a newer one.

        A socket that cannot be dialled is logged once, and its operator is dialled by record alone. An operator that left the set
        stays while it is one of ``holders``, as these deal from the version that they hold. So do the holders among ``former``
        operators, which were read from an older block.
        """
        known = {**{o.address: o for o in former}, **self._former, **self._operators}
        self._operators = {o.address: o for o in operators}
        self._former = {a: known[a] for a in holders if a in known and a not in self._operators}
        self._sockets = {}
        for operator in self._everybody.values():
            try:
                self._sockets[operator.address] = parse_socket(operator.socket).address
            except InputError as error:
                self._warn_once(operator.address, f"its socket on chain cannot be dialled: {error}")
        self._hosts = frozenset(socket.transport.host for socket in self._sockets.values())
        self._warn_of_private_sockets()
        self._records = {a: r for a, r in self._records.items() if a in self._everybody}
        self._expected = None
        self._proven = {a: p for a, p in self._proven.items() if a in self._everybody}
        for peer_id, owners in self._claimants().items():
            if len(owners) > 1:
                for owner in owners:
                    self._warn_once(
                        owner, f"its socket names peer id {peer_id}, which another operator names too"
                    )

    def _warn_of_private_sockets(self) -> None:
        """Warn of private sockets if this node is public, as it does not dial them.

        See ``p2p.dialing.connector``. Host names are not resolved here.
        """
        if self.home is None or not self.home.is_public:
            return
        for operator, socket in self._sockets.items():
            if socket.transport.is_public is False:
                self._warn_once(
                    operator, f"its socket on chain, {socket.multiaddr}, is private: it is not dialled there"
                )

    def _claimants(self) -> dict[PeerId, list[OperatorAddress]]:
        claims: dict[PeerId, list[OperatorAddress]] = {}
        for address, socket in self._sockets.items():
            claims.setdefault(socket.peer_id, []).append(address)
        return claims

    def _warn_once(self, operator: OperatorAddress, sentence: str) -> None:
        if (operator, sentence) not in self._warned:
            self._warned.add((operator, sentence))
            log.warning("operator %s: %s", to_hex(operator), sentence)

    @property
    def _everybody(self) -> dict[OperatorAddress, ChainOperator]:
        return {**self._former, **self._operators}

    @property
    def operators(self) -> tuple[ChainOperator, ...]:
        return tuple(self._operators.values())

    def entries(self) -> tuple[PeerEntry, ...]:
        """Return all operators that are known, this one too, ascending."""
        return tuple(self._entry(operator) for _, operator in sorted(self._everybody.items()))

    def _entry(self, operator: ChainOperator) -> PeerEntry:
        address = operator.address
        peer, addresses = next(iter(self._addresses(address)), (None, ()))
        if address == self._me:
            peer = self._own_peer
        return PeerEntry(
            address, operator.socket, peer, addresses, address in self._former, address in self._proven
        )

    @property
    def known(self) -> frozenset[OperatorAddress]:
        """All operators that may be a peer: members, and former ones that are kept."""
        return frozenset(self._everybody)

    def key_of(self, operator: OperatorAddress) -> bytes | None:
        found = self._everybody.get(operator)
        return None if found is None else found.key

    def is_member(self, operator: OperatorAddress) -> bool:
        """Return whether an operator is in the newest set, and has not left it."""
        return operator in self._operators

    def socket_of(self, operator: OperatorAddress) -> PeerAddress | None:
        """Return an operator's socket on chain if it can be dialled, else None."""
        return self._sockets.get(operator)

    @property
    def home(self) -> TransportAddress | None:
        """The address of this node on chain.

        None if its socket cannot be dialled, or it is no operator yet.
        """
        own = self._sockets.get(self._me)
        return None if own is None else own.transport

    # -- records ---------------------------------------------------------------------------------------------

    def check_fresh(self, frame: Frame, now_ms: int) -> PeerRecord | None:
        """Return the record in ``frame`` if it is worth a signature check, else None.

        It is if it is an operator's, in scope, and newer than the known one. Raises ``RemoteProtocolError`` for a frame that is no
        peer record of this cluster, or has an address that is none.
        """
        record = read_peer_record(frame)
        if frame.cluster != self._cluster or frame.session != NO_SESSION or frame.recipient is not None:
            raise WrongScopeError("read peer record: for another cluster or recipient")
        if record.operator not in self._everybody:
            raise WrongScopeError(f"read peer record: {to_hex(record.operator)} is not an operator")
        _check_addresses(record)
        known = self._records.get(record.operator)
        if record.operator == self._me or record.sequence > now_ms + FUTURE_MS:
            return None
        return None if known is not None and known[0].sequence >= record.sequence else record

    def accept(self, record: PeerRecord, frame: Frame) -> None:
        """Keep a verified record, unless it names our own peer id."""
        peer = PeerId(record.peer_id)
        if peer == self._own_peer:
            raise _foreign_peer(record.operator, peer)
        known = self._records.get(record.operator)
        if known is None or known[0].sequence < record.sequence:
            self._records[record.operator] = (record, frame)
            self._expected = None
            if self._proven.get(record.operator) != peer:
                self._proven.pop(record.operator, None)
            log.info("operator %s says to be peer %s", to_hex(record.operator), peer)

    def mark_authenticated(self, peer: PeerId, frame: Frame) -> None:
        """Authenticate ``peer``, which handed this record over, if the record names it.

        The record must be the one that is kept. Raises ``RemoteProtocolError`` if the peer is another operator already.
        """
        known = self._records.get(frame.sender)
        if known is None or known[1].encoded != frame.encoded or known[0].peer_id != bytes(peer):
            return
        if self.operator_of(peer) not in (None, frame.sender):
            raise _foreign_peer(frame.sender, peer)
        if frame.sender not in self._proven:
            self._proven[frame.sender] = peer
            self._expected = None
            log.info("operator %s is peer %s", to_hex(frame.sender), peer)

    def records(self) -> tuple[Frame, ...]:
        """Return the verified records, to pass on."""
        return tuple(frame for _, frame in self._records.values())

    # -- who is who ------------------------------------------------------------------------------------------

    def operator_of(self, peer: PeerId) -> OperatorAddress | None:
        """Return the operator that this peer is authenticated as, or None."""
        return next((a for a, p in self._proven.items() if p == peer), None)

    def peer_of(self, operator: OperatorAddress) -> PeerId | None:
        """Return the peer that this operator's record names, or None."""
        found = self._records.get(operator)
        return None if found is None else PeerId(found[0].peer_id)

    def is_at(self, address: str) -> bool:
        """Return whether an operator's socket on chain is at this IP address.

        A socket that names a host is at none.
        """
        return str(plain_ip(address)) in self._hosts

    def is_claimed_peer(self, peer: PeerId, operator: OperatorAddress) -> bool:
        """Return whether the operator's socket on chain or its record names this peer."""
        return any(named == peer for named, _ in self._addresses(operator))

    def may_open_operator_streams(self, peer: PeerId) -> bool:
        """Return whether a socket on chain or a record names this peer."""
        return peer in self.expected() or self.operator_of(peer) is not None

    def admits(self, peer: PeerId, protocol: str) -> bool:
        """Return whether a peer may use a protocol: strangers only the client protocol."""
        if protocol in (GOSSIP, OPERATOR_PROTOCOL):
            return self.may_open_operator_streams(peer)
        return protocol == CLIENT_PROTOCOL

    def expected(self) -> Mapping[PeerId, tuple[str, ...]]:
        """Return the peers of the other operators, each with its addresses in dial order.

        The object is the same until something changes.
        """
        if self._expected is None:
            self._expected = dial_order(self._find_claims())
        return self._expected

    def _find_claims(self) -> Iterator[PeerClaim[PeerId]]:
        """Yield the claims of others: addresses of the record, then of the socket."""
        for operator in self._everybody:
            told: dict[PeerId, tuple[str, ...]] = {}
            for peer, addresses in self._addresses(operator) if operator != self._me else ():
                told[peer] = (*told.get(peer, ()), *addresses)
            for peer, addresses in told.items():
                if peer != self._own_peer:
                    yield PeerClaim(peer, self._standing(operator, peer), addresses)

    def _standing(self, operator: OperatorAddress, peer: PeerId) -> ClaimStanding:
        if self._proven.get(operator) == peer:
            return ClaimStanding.PROVEN
        socket = self._sockets.get(operator)
        return ClaimStanding.ON_CHAIN if socket is not None and socket.peer_id == peer else ClaimStanding.SAID

    def _addresses(self, operator: OperatorAddress) -> Iterable[tuple[PeerId, tuple[str, ...]]]:
        record, socket = self._records.get(operator), self._sockets.get(operator)
        if record is not None:
            peer = PeerId(record[0].peer_id)
            yield peer, record[0].addresses
            if socket is not None and socket.peer_id != peer:
                return  # it proved to be another peer than the chain says: the socket is stale
        if socket is not None:
            yield socket.peer_id, (socket.multiaddr,)


def _check_addresses(record: PeerRecord) -> None:
    """Raise ``MalformedError`` for an address that cannot be dialled.

    An operator may sign anything.
    """
    for address in record.addresses:
        try:
            parse_transport(address)
        except InputError as error:
            raise MalformedError(f"read peer record of {to_hex(record.operator)}: {error}") from error


def _foreign_peer(operator: OperatorAddress, peer: PeerId) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"accept peer record of {to_hex(operator)}: peer id {peer} belongs to another operator"
    )
