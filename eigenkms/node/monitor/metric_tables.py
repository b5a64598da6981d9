"""The metrics that are read from the parts of the node when they are requested.

The reference in docs/metrics.md is made from these tables.

Most come from the status, and from what the parts count in any case. Labels have few values: never an application, a stranger's
peer id or a client's address.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Final

from eigenkms import __version__
from eigenkms.chain.boundaries import BoundaryStatistics
from eigenkms.chain.provider import ProviderState, ProviderStatus
from eigenkms.node.engine.statistics import EngineStatistics
from eigenkms.node.monitor.canary import Canary
from eigenkms.node.monitor.health import CANNOT_SERVE, DEGRADED, HEALTHY
from eigenkms.node.monitor.operator_status import MemberStatus, OperatorStatus
from eigenkms.p2p.types import Statistics
from eigenkms.protocols.ceremony.session_observer import FAILED
from eigenkms.public_status import PublicStatus
from eigenkms.types import to_hex

STATES: Final = (
    *(ProviderState.OK, ProviderState.UNTRIED, ProviderState.FAILING),
    *(ProviderState.STALE, ProviderState.DISAGREES, ProviderState.WRONG_CHAIN),
)
"""States of an RPC, in the order of the exposition."""
EVENTS: Final = (
    *("source", "announced", "dealt", "bad dealing", "proposed", "voted", "view"),
    *("certified", "share held", "share not opened", "closed without a key", FAILED),
)
"""Events of a session that are counted."""

Values = Iterator[tuple[tuple[str, ...], float]]
"""Values of one metric, each with its label values."""


@dataclass(frozen=True, kw_only=True)
class MetricsInput:
    """One reading of the node: the status, and what the parts count. Times are trio's."""

    status: OperatorStatus
    ready: bool
    now: float
    follower: BoundaryStatistics
    engine: EngineStatistics
    host: Statistics
    canary: Canary
    data_dir: Path
    clock_behind: float
    certificate_end: datetime | None


@dataclass(frozen=True)
class ReadMetric:
    """A metric that is read when it is requested.

    ``read`` gives a value for each set of label values.
    """

    name: str
    help: str
    read: Callable[[MetricsInput], Values]
    labels: tuple[str, ...] = ()


def _one(value: object) -> Values:
    """Return a single value; none if it is unknown."""
    if isinstance(value, bool | int | float):
        yield (), float(value)


def _of_host(name: str) -> Callable[[MetricsInput], Values]:
    return lambda found: _one(attrgetter(name)(found.host))


def _public(read: Callable[[PublicStatus], object]) -> Callable[[MetricsInput], Values]:
    return lambda found: _one(read(found.status.public))


def _version(found: MetricsInput) -> Values:
    newest = found.status.public.key.transcript
    return _one(None if newest is None else newest.version)


def _uptime(found: MetricsInput) -> Values:
    return _one(round(found.status.details.uptime_seconds, 1))


def _rpcs(found: MetricsInput) -> Iterator[tuple[str, ProviderStatus]]:
    """Return the RPCs by their place in the configuration, from 1."""
    for index, each in enumerate(() if found.status.rpc is None else found.status.rpc.providers, 1):
        yield str(index), each


def _rpc_states(found: MetricsInput) -> Values:
    for index, each in _rpcs(found):
        for state in STATES:
            yield (index, state.value), float(each.state is state)


def _rpc_latencies(found: MetricsInput) -> Values:
    for index, each in _rpcs(found):
        if each.latency is not None:
            yield (index,), _seconds(each.latency)


def _rpc_heads(found: MetricsInput) -> Values:
    for index, each in _rpcs(found):
        if each.head is not None:
            yield (index,), float(each.head.number)


def _rpc_disagreements(found: MetricsInput) -> Values:
    return _one(None if found.status.rpc is None else found.status.rpc.disagreements)


def _others(found: MetricsInput) -> Iterator[MemberStatus]:
    """Return the operators but for this one."""
    return (each for each in found.status.details.members if not each.is_self)


def _peers_there(found: MetricsInput) -> Values:
    for each in _others(found):
        if not each.is_former:
            yield (to_hex(each.operator),), float(each.is_proven)


def _peer_latencies(found: MetricsInput) -> Values:
    for each in _others(found):
        if each.ping.latency is not None:
            yield (to_hex(each.operator),), _seconds(each.ping.latency)


def _seconds(latency: float) -> float:
    """Return a latency rounded to a tenth of a millisecond, as the status page has it."""
    return round(latency * 1000, 1) / 1000


def _sessions(found: MetricsInput) -> Values:
    for event in EVENTS:
        yield (event,), float(found.engine.notes[event])


def _canary(name: str) -> Callable[[MetricsInput], Values]:
    return lambda found: _one(None if found.canary.result is None else getattr(found.canary.result, name))


def _head_age(found: MetricsInput) -> Values:
    at = found.follower.head_at
    return _one(None if at is None else found.now - at)


def _health(found: MetricsInput) -> Values:
    for word in (HEALTHY, DEGRADED, CANNOT_SERVE):
        yield (word,), float(found.status.details.health.word == word)


def _anchor_failing(found: MetricsInput) -> Values:
    records = found.status.public.records
    has_anchor = records.anchored is not None or records.anchor_error is not None
    return _one(records.anchor_error is not None if has_anchor else None)


def _disk_free(found: MetricsInput) -> Values:
    return _one(shutil.disk_usage(found.data_dir).free)


def _database(found: MetricsInput) -> Values:
    for path in sorted(found.data_dir.glob("*.db")):
        yield (path.name,), float(path.stat().st_size)


GAUGES: Final = (
    ReadMetric(
        "info",
        "Always 1; the release and the policy.",
        lambda found: iter([((__version__, found.status.public.policy), 1.0)]),
        ("release", "policy"),
    ),
    ReadMetric(
        "health",
        "1 for the verdict of the status page: healthy, degraded or cannot serve.",
        _health,
        ("verdict",),
    ),
    ReadMetric("ready", "Whether this node can serve keys, as /ready says.", lambda found: _one(found.ready)),
    ReadMetric("uptime_seconds", "Seconds since the node was up.", _uptime),
    ReadMetric(
        "share_held",
        "Whether a share of the newest version is held.",
        _public(lambda status: status.key.has_share),
    ),
    ReadMetric("version_seconds", "The newest version: unix time of its boundary block.", _version),
    ReadMetric(
        "operators",
        "Operators in the set at the newest boundary.",
        _public(lambda status: status.membership.operators),
    ),
    ReadMetric(
        "peers",
        "Operators that are connected and proved who they are, those among them that left the set too.",
        _public(lambda status: status.membership.connected),
    ),
    ReadMetric(
        "peer_connected",
        "Whether another operator of the set is connected, and proved who it is.",
        _peers_there,
        ("operator",),
    ),
    ReadMetric(
        "peer_latency_seconds",
        "Seconds that an operator took to answer the last ping.",
        _peer_latencies,
        ("operator",),
    ),
    ReadMetric(
        "boundary_block",
        "The newest boundary that was seen.",
        _public(lambda status: status.chain.boundary),
    ),
    ReadMetric(
        "head_block",
        "The newest block that counts, by the finality that is set.",
        _public(lambda status: status.chain.head),
    ),
    ReadMetric("head_seen_seconds", "Seconds since that block was first seen.", _head_age),
    ReadMetric(
        "chain_failures_in_row",
        "Looks at the chain that failed, one after another; 0 while it answers.",
        lambda found: _one(found.follower.failures_in_row),
    ),
    ReadMetric(
        "chain_stale",
        "Whether no RPC shows a recent block.",
        _public(lambda status: status.chain.is_stale),
    ),
    ReadMetric(
        "rpc_state",
        "1 for the state of each RPC, by its place in the configuration.",
        _rpc_states,
        ("rpc", "state"),
    ),
    ReadMetric(
        "rpc_latency_seconds", "Seconds that an RPC took for its last answer.", _rpc_latencies, ("rpc",)
    ),
    ReadMetric("rpc_head_block", "The newest block of an RPC.", _rpc_heads, ("rpc",)),
    ReadMetric(
        "session_seconds",
        "Seconds from the newest boundary that was joined to the certificate of its version.",
        lambda found: _one(found.engine.certified_after),
    ),
    ReadMetric(
        "accused_operators",
        "Operators that evidence is held against.",
        _public(lambda status: len(status.records.accused)),
    ),
    ReadMetric(
        "evidence_pieces",
        "Pieces of evidence that are held.",
        _public(lambda status: status.records.evidence),
    ),
    ReadMetric(
        "anchor_failing",
        "Whether the newest version could not be written to the anchor yet; only with an anchor.",
        _anchor_failing,
    ),
    ReadMetric("canary_ok", "Whether the last trial decryption worked.", _canary("ok")),
    ReadMetric("canary_seconds", "Seconds that it took.", _canary("seconds")),
    ReadMetric("canary_timestamp_seconds", "Unix time of it.", _canary("at")),
    ReadMetric("canary_answers", "Operators that answered it, this one among them.", _canary("answered")),
    ReadMetric("connections", "Open libp2p connections of operators.", _of_host("connected")),
    ReadMetric("client_connections", "Open libp2p connections of others.", _of_host("clients")),
    ReadMetric("gossip_peers", "Peers that gossip can be sent to.", _of_host("gossip.peers")),
    ReadMetric(
        "clock_behind_seconds",
        "Seconds from this machine's clock to the newest boundary block, when it came from the future; 0 if it did not.",
        lambda found: _one(found.clock_behind),
    ),
    ReadMetric(
        "http_certificate_end_timestamp_seconds",
        "Unix time until which the HTTP API's certificate, as it was read at the start, is valid; only with one.",
        lambda found: _one(None if found.certificate_end is None else found.certificate_end.timestamp()),
    ),
    ReadMetric("data_dir_free_bytes", "Free bytes of the file system of data_dir.", _disk_free),
    ReadMetric("database_bytes", "Size of each database.", _database, ("file",)),
)
"""Values that go up and down."""

COUNTERS: Final = (
    ReadMetric(
        "releases_total",
        "Partial signatures given to applications, ever: the number of the release log's head.",
        _public(lambda status: status.records.audit_log.number),
    ),
    ReadMetric(
        "session_notes_total",
        "What happened in sessions, by the event of its log line.",
        _sessions,
        ("event",),
    ),
    ReadMetric(
        "boundaries_total",
        "Boundaries that were seen.",
        lambda found: _one(found.follower.delivered),
    ),
    ReadMetric("rpc_disagreements_total", "Boundaries at which RPCs disagreed.", _rpc_disagreements),
    ReadMetric(
        "frames_total", "Frames that were taken from others.", lambda found: _one(found.engine.frames)
    ),
    ReadMetric(
        "frames_refused_total",
        "Frames that did not decode, belong here, or verify.",
        lambda found: _one(found.engine.refused),
    ),
    ReadMetric(
        "frames_dropped_total",
        "Frames that found their source's queue full.",
        lambda found: _one(found.engine.dropped),
    ),
    ReadMetric("canaries_total", "Trial decryptions.", lambda found: _one(found.canary.runs)),
    ReadMetric(
        "canaries_failed_total", "Those of them that failed.", lambda found: _one(found.canary.failed)
    ),
    ReadMetric("connections_accepted_total", "Inbound sockets.", _of_host("accepted")),
    ReadMetric(
        "handshakes_refused_total",
        "Those of them that did not become a connection.",
        _of_host("refused_handshakes"),
    ),
    ReadMetric(
        "connections_evicted_total", "Connections that made room for newer ones.", _of_host("evicted")
    ),
    ReadMetric("dials_failed_total", "Dials that reached nobody.", _of_host("failed_dials")),
    ReadMetric(
        "connections_lost_total", "Connections of operators that were lost.", _of_host("lost_connections")
    ),
    ReadMetric(
        "streams_gated_total",
        "Streams of strangers on the operators' protocol, refused.",
        _of_host("gated_streams"),
    ),
    ReadMetric("streams_bad_total", "Streams that ended by an error of the peer.", _of_host("bad_streams")),
    ReadMetric(
        "request_errors_total",
        "Requests through libp2p that ended by an error of this node, or by its deadline: in no other count of requests.",
        _of_host("handler_errors"),
    ),
    ReadMetric("gossip_received_total", "Gossip messages that came.", _of_host("gossip.received")),
    ReadMetric("gossip_refused_total", "Those that a check refused.", _of_host("gossip.refused")),
    ReadMetric("gossip_dropped_total", "Those that nobody took in time.", _of_host("gossip.dropped")),
)
"""Values that only grow, until a restart."""
