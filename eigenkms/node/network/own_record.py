"""Own peer record: the addresses and the peer id that this node announces.

The operator's key signs it. A record replaces one with a lower sequence, so sequences must ascend over restarts, even if the clock
goes back.
"""

import time
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

import trio

from eigenkms.node.backing_services import BackingServices
from eigenkms.node.network.peer_book import FUTURE_MS
from eigenkms.p2p.host import Host
from eigenkms.storage.store import Store
from eigenkms.wire.frames import Frame
from eigenkms.wire.peer_record import build_peer_record

_SEQUENCE: Final = "record-sequence"


async def make_own_record(backing: BackingServices, host: Host) -> Frame:
    """Return the signed record of this node on ``host``. Its sequence is durable then."""
    sequence = await trio.to_thread.run_sync(next_sequence, backing.store)
    return build_peer_record(
        backing.keys.bn254,
        cluster=backing.cluster,
        operator=backing.config.operator,
        peer_id=bytes(host.peer_id),
        addresses=announced_addresses(backing.config.network.announce, host),
        sequence=sequence,
    )


def announced_addresses(configured: Sequence[str], host: Host) -> list[str]:
    """Return the addresses of the record, without the peer id.

    They are those configured, or else those that ``host`` listens at. An address such as 0.0.0.0, which nobody else can dial, is
    left out.
    """
    bound = (a for a in host.addresses if not ip_address(a.transport.host).is_unspecified)
    return list(configured) or [a.multiaddr for a in bound]


def next_sequence(store: Store) -> int:
    """Return the sequence of a new record, and keep it.

    It is unix milliseconds, or one more than the last record's. The last one does not count if the clock was so far ahead then that
    no other operator accepted the record.
    """
    now = time.time_ns() // 1_000_000
    last = int(store.get_meta(_SEQUENCE) or b"0")
    sequence = max(now, last + 1) if last <= now + FUTURE_MS else now
    store.set_meta(_SEQUENCE, str(sequence).encode())
    return sequence
