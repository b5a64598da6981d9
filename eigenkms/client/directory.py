"""Where a client finds operators: sockets from the chain, and newer addresses from signed peer records."""

from collections.abc import Iterable, Sequence

from eigenkms.chain.reader import ChainOperator
from eigenkms.crypto import bn254
from eigenkms.errors import InputError, RemoteProtocolError
from eigenkms.p2p.identity import PeerAddress, PeerId, parse_address
from eigenkms.protocols.frames import NO_SESSION, Frame
from eigenkms.protocols.peer_record import PeerRecord, read_peer_record
from eigenkms.types import ClusterId, OperatorAddress


class Directory:
    """Operators with the peers that answer for them. Pure state."""

    def __init__(self, cluster: ClusterId, operators: Sequence[ChainOperator]) -> None:
        self._cluster = cluster
        self._operators = {o.address: o for o in operators}
        self._records: dict[OperatorAddress, PeerRecord] = {}

    @property
    def operators(self) -> tuple[OperatorAddress, ...]:
        return tuple(self._operators)

    def key_of(self, operator: OperatorAddress) -> bytes | None:
        found = self._operators.get(operator)
        return None if found is None else found.key

    def peer_of(self, operator: OperatorAddress) -> tuple[PeerId, tuple[str, ...]] | None:
        """The peer and the addresses to dial: of its newest record, else of its socket on chain.

        Where several operators name one peer, only one of them can be it: their addresses are all tried, ``operator``'s first.
        """
        own = self._claim(operator)
        if own is None:
            return None
        peer, addresses = own
        claims = [claim for other in self._operators if (claim := self._claim(other)) is not None]
        others = [address for claimed, found in claims if claimed == peer for address in found]
        return peer, tuple(dict.fromkeys([*addresses, *others]))

    def _claim(self, operator: OperatorAddress) -> tuple[PeerId, tuple[str, ...]] | None:
        """Which peer the operator says to be, and where: by its record, and by its socket if that names the same peer."""
        record, socket = self._records.get(operator), self._socket(operator)
        if record is None:
            return None if socket is None else (socket.peer_id, (socket.multiaddr,))
        peer = PeerId(record.peer_id)
        on_chain = (socket.multiaddr,) if socket is not None and socket.peer_id == peer else ()
        return peer, tuple(dict.fromkeys([*record.addresses, *on_chain]))

    def _socket(self, operator: OperatorAddress) -> PeerAddress | None:
        try:
            return parse_address(self._operators[operator].socket)
        except (KeyError, InputError):
            return None

    def learn(self, frames: Iterable[Frame]) -> set[OperatorAddress]:
        """Take peer records; returns operators whose peer or addresses changed. CPU-bound: a pairing for each change."""
        changed = set()
        for frame in frames:
            try:
                record = read_peer_record(frame)
            except RemoteProtocolError:
                continue
            key, known = self.key_of(record.operator), self._claim(record.operator)
            older = self._records.get(record.operator)
            if key is None or frame.cluster != self._cluster or frame.session != NO_SESSION:
                continue
            if older is not None and older.sequence >= record.sequence:
                continue
            if (
                known is not None
                and bytes(known[0]) == record.peer_id
                and set(known[1]) >= set(record.addresses)
            ):
                continue
            if bn254.verify(frame.digest, frame.signature, key):
                self._records[record.operator] = record
                changed.add(record.operator)
        return changed
