"""Metrics for Prometheus, at ``/metrics`` of the monitoring listener. docs/metrics.md is made from the tables in this file.

Most are read from the parts of the node when they are asked for (``GAUGES``, ``COUNTERS``), out of what the status page shows and
what the parts count anyhow. What has to be counted as it happens, requests and how long they took, is observed here.

Labels have few values: never an application, a stranger's peer id or a client's address.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eigenkms import __version__
from eigenkms.chain.boundaries import BoundaryStatistics
from eigenkms.node.engine import EngineStatistics
from eigenkms.node.monitor.canary import Canary
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.types import Handler, Statistics
from eigenkms.p2p.types import Request as PeerRequest
from eigenkms.protocols.ceremony.ceremony import FAILED
from eigenkms.protocols.wire import rpc_methods
from eigenkms.protocols.wire.authorisation import Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, MutableMapping

    from eigenkms.node.http.connection import App

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
NAMESPACE: Final = "eigenkms"
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
METHODS: Final = (
    *(
        rpc_methods.INFO,
        rpc_methods.PARTIAL,
        rpc_methods.STATUS,
        rpc_methods.EVIDENCE,
        rpc_methods.HELLO,
        rpc_methods.REACH,
    ),
    *(rpc_methods.SYNC, rpc_methods.PUSH, rpc_methods.BODY, rpc_methods.ROW, rpc_methods.HEAD),
    *(rpc_methods.PING, rpc_methods.CANARY),
)
OTHER: Final = "other"
"""Stands for whatever is none of the known names."""
CODES: Final = frozenset(
    {
        *map(str, Refusal),
        *("unknown-method", "bad-request", "refused-frame", "wrong-cluster", "no-version", "unknown-version"),
        *("no-share", "wrong-peer", "say-hello", "wrong-sender", "not-a-member", "wrong-time", "replayed"),
        *("no-address", "no-dealing"),
    }
)
"""Codes of refusals that are told apart."""
PATHS: Final = ("/pubkey", "/app/sign", "/secrets", "/health", "/ready", "/openapi.json")
STATES: Final = ("ok", "untried", "failing", "stale", "disagrees", "wrong chain")
"""Of an RPC."""
EVENTS: Final = (
    *("source", "announced", "dealt", "bad dealing", "proposed", "voted", "view"),
    *("certified", "share held", "share not opened", "closed without a key", FAILED),
)
"""What is noted of a session."""

Values = Iterator[tuple[tuple[str, ...], float]]


@dataclass(frozen=True, kw_only=True)
class MetricsInput:
    """What one look at the node found. ``status`` is what the status page is made of; times are trio's."""

    status: Mapping[str, Any]
    ready: bool
    now: float
    follower: BoundaryStatistics | None
    engine: EngineStatistics
    host: Statistics | None
    canary: Canary
    data_dir: Path
    clock_behind: float
    certificate_end: datetime | None


@dataclass(frozen=True)
class Read:
    """One metric that is read when it is asked for: ``read`` gives a value for each set of label values."""

    name: str
    help: str
    read: Callable[[MetricsInput], Values]
    labels: tuple[str, ...] = ()


def _one(value: object) -> Values:
    """A single value; none if it is unknown."""
    if isinstance(value, bool | int | float):
        yield (), float(value)


def _field(name: str) -> Callable[[MetricsInput], Values]:
    return lambda seen: _one(seen.status.get(name))


def _of_host(name: str) -> Callable[[MetricsInput], Values]:
    return lambda seen: _one(None if seen.host is None else getattr(seen.host, name))


def _rpcs(seen: MetricsInput) -> Sequence[Mapping[str, Any]]:
    return seen.status.get("rpc") or ()


def _rpc_states(seen: MetricsInput) -> Values:
    for index, each in enumerate(_rpcs(seen), 1):
        for state in STATES:
            yield (str(index), state), float(each["state"] == state)


def _rpc_latencies(seen: MetricsInput) -> Values:
    for index, each in enumerate(_rpcs(seen), 1):
        if each["latency_ms"] is not None:
            yield (str(index),), each["latency_ms"] / 1000


def _rpc_heads(seen: MetricsInput) -> Values:
    for index, each in enumerate(_rpcs(seen), 1):
        if each["head"] is not None:
            yield (str(index),), float(each["head"])


def _members(seen: MetricsInput) -> Sequence[Mapping[str, Any]]:
    return seen.status.get("members") or ()


def _peers_there(seen: MetricsInput) -> Values:
    for each in _members(seen):
        if not each["me"] and not each["former"]:
            yield (str(each["operator"]),), float(bool(each["proven"]))


def _peer_latencies(seen: MetricsInput) -> Values:
    for each in _members(seen):
        if isinstance(each.get("latency_ms"), int | float) and not each["me"]:
            yield (str(each["operator"]),), each["latency_ms"] / 1000


def _sessions(seen: MetricsInput) -> Values:
    for event in EVENTS:
        yield (event,), float(seen.engine.notes[event])


def _canary(name: str) -> Callable[[MetricsInput], Values]:
    return lambda seen: _one(None if seen.canary.result is None else getattr(seen.canary.result, name))


def _head_age(seen: MetricsInput) -> Values:
    at = None if seen.follower is None else seen.follower.head_at
    return _one(None if at is None else seen.now - at)


def _health(seen: MetricsInput) -> Values:
    for word in ("healthy", "degraded", "cannot serve"):
        yield (word,), float(seen.status.get("health") == word)


def _disk_free(seen: MetricsInput) -> Values:
    return _one(shutil.disk_usage(seen.data_dir).free)


def _database(seen: MetricsInput) -> Values:
    for path in sorted(seen.data_dir.glob("*.db")):
        yield (path.name,), float(path.stat().st_size)


GAUGES: Final = (
    Read(
        "info",
        "Always 1; the release and the policy.",
        lambda seen: iter([((__version__, str(seen.status["policy"])), 1.0)]),
        ("release", "policy"),
    ),
    Read(
        "health",
        "1 for the verdict of the status page: healthy, degraded or cannot serve.",
        _health,
        ("verdict",),
    ),
    Read("ready", "Whether this node can serve keys, as /ready says.", lambda seen: _one(seen.ready)),
    Read("uptime_seconds", "Seconds since the node was up.", _field("uptime_seconds")),
    Read("share_held", "Whether a share of the newest version is held.", _field("share")),
    Read("version_seconds", "The newest version: unix time of its boundary block.", _field("version")),
    Read("operators", "Operators in the set at the newest boundary.", _field("operators")),
    Read(
        "peers",
        "Operators that are connected and proved who they are, those among them that left the set too.",
        _field("peers"),
    ),
    Read(
        "peer_connected",
        "Whether another operator of the set is connected, and proved who it is.",
        _peers_there,
        ("operator",),
    ),
    Read(
        "peer_latency_seconds",
        "Seconds that an operator took to answer the last ping.",
        _peer_latencies,
        ("operator",),
    ),
    Read("boundary_block", "The newest boundary that was seen.", _field("boundary")),
    Read("head_block", "The newest block that counts, by the finality that is set.", _field("head")),
    Read("head_seen_seconds", "Seconds since that block was first seen.", _head_age),
    Read(
        "chain_failures_in_row",
        "Looks at the chain that failed, one after another; 0 while it answers.",
        lambda seen: _one(None if seen.follower is None else seen.follower.failures_in_row),
    ),
    Read("chain_stale", "Whether no RPC shows a recent block.", _field("chain_stale")),
    Read(
        "rpc_state",
        "1 for the state of each RPC, by its place in the configuration.",
        _rpc_states,
        ("rpc", "state"),
    ),
    Read("rpc_latency_seconds", "Seconds that an RPC took for its last answer.", _rpc_latencies, ("rpc",)),
    Read("rpc_head_block", "The newest block of an RPC.", _rpc_heads, ("rpc",)),
    Read(
        "session_seconds",
        "Seconds from the newest boundary that was joined to the certificate of its version.",
        lambda seen: _one(seen.engine.certified_after),
    ),
    Read(
        "accused_operators",
        "Operators that evidence is held against.",
        lambda seen: _one(len(seen.status.get("accused") or ())),
    ),
    Read("evidence_pieces", "Pieces of evidence that are held.", _field("evidence")),
    Read(
        "anchor_failing",
        "Whether the newest version could not be written to the anchor yet; only with an anchor.",
        lambda seen: _one(
            None
            if seen.status.get("anchored") is None and seen.status.get("anchor_error") is None
            else seen.status.get("anchor_error") is not None
        ),
    ),
    Read("canary_ok", "Whether the last trial decryption worked.", _canary("ok")),
    Read("canary_seconds", "Seconds that it took.", _canary("seconds")),
    Read("canary_timestamp_seconds", "Unix time of it.", _canary("at")),
    Read("canary_answers", "Operators that answered it, this one among them.", _canary("answered")),
    Read("connections", "Open libp2p connections of operators.", _of_host("connected")),
    Read("client_connections", "Open libp2p connections of others.", _of_host("clients")),
    Read("gossip_peers", "Peers that gossip can be sent to.", _of_host("gossip_peers")),
    Read(
        "clock_behind_seconds",
        "Seconds from this machine's clock to the newest boundary block, when it came from the future; 0 if it did not.",
        lambda seen: _one(seen.clock_behind),
    ),
    Read(
        "http_certificate_end_timestamp_seconds",
        "Unix time until which the HTTP API's certificate, as it was read at the start, is valid; only with one.",
        lambda seen: _one(None if seen.certificate_end is None else seen.certificate_end.timestamp()),
    ),
    Read("data_dir_free_bytes", "Free bytes of the file system of data_dir.", _disk_free),
    Read("database_bytes", "Size of each database.", _database, ("file",)),
)
"""Values that go up and down."""

COUNTERS: Final = (
    Read(
        "releases_total",
        "Partial signatures given to applications, ever: the number of the release log's head.",
        _field("released"),
    ),
    Read(
        "session_notes_total",
        "What happened in sessions, by the event of its log line.",
        _sessions,
        ("event",),
    ),
    Read(
        "boundaries_total",
        "Boundaries that were seen.",
        lambda seen: _one(None if seen.follower is None else seen.follower.delivered),
    ),
    Read("rpc_disagreements_total", "Boundaries at which RPCs disagreed.", _field("rpc_disagreements")),
    Read("frames_total", "Frames that were taken from others.", lambda seen: _one(seen.engine.frames)),
    Read(
        "frames_refused_total",
        "Frames that did not decode, belong here, or verify.",
        lambda seen: _one(seen.engine.refused),
    ),
    Read(
        "frames_dropped_total",
        "Frames that found their source's queue full.",
        lambda seen: _one(seen.engine.dropped),
    ),
    Read("canaries_total", "Trial decryptions.", lambda seen: _one(seen.canary.runs)),
    Read("canaries_failed_total", "Those of them that failed.", lambda seen: _one(seen.canary.failed)),
    Read("connections_accepted_total", "Inbound sockets.", _of_host("accepted")),
    Read(
        "handshakes_refused_total",
        "Those of them that did not become a connection.",
        _of_host("refused_handshakes"),
    ),
    Read("connections_evicted_total", "Connections that made room for newer ones.", _of_host("evicted")),
    Read("dials_failed_total", "Dials that reached nobody.", _of_host("failed_dials")),
    Read("connections_lost_total", "Connections of operators that were lost.", _of_host("lost_connections")),
    Read(
        "streams_gated_total",
        "Streams of strangers on the operators' protocol, refused.",
        _of_host("gated_streams"),
    ),
    Read("streams_bad_total", "Streams that ended by an error of the peer.", _of_host("bad_streams")),
    Read(
        "request_errors_total",
        "Requests through libp2p that ended by an error of this node, or by its deadline: in no other count of requests.",
        _of_host("handler_errors"),
    ),
    Read("gossip_received_total", "Gossip messages that came.", _of_host("gossip_received")),
    Read("gossip_refused_total", "Those that a check refused.", _of_host("gossip_refused")),
    Read("gossip_dropped_total", "Those that nobody took in time.", _of_host("gossip_dropped")),
)
"""Values that only grow, until a restart."""


@dataclass(frozen=True)
class Observation:
    """One metric that is counted as things happen."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]


REQUESTS = Observation(
    "requests_total",
    "counter",
    "Requests through libp2p, by method and outcome: ok, or the code of the refusal.",
    ("method", "outcome"),
)
REQUEST_SECONDS = Observation(
    "request_seconds", "histogram", "Seconds that a request through libp2p took.", ("method",)
)
HTTP_REQUESTS = Observation(
    "http_requests_total", "counter", "Requests to the HTTP API, by path and status.", ("path", "status")
)
HTTP_REQUEST_SECONDS = Observation(
    "http_request_seconds",
    "histogram",
    "Seconds that a request to the HTTP API took, by path, its answer's last byte included.",
    ("path",),
)
OBSERVED: Final = (REQUESTS, REQUEST_SECONDS, HTTP_REQUESTS, HTTP_REQUEST_SECONDS)


class Metrics:
    """The registry of one node. ``look`` takes stock of it when somebody asks."""

    def __init__(self) -> None:
        self.look: Callable[[], MetricsInput] | None = None
        self._registry = CollectorRegistry()
        self._requests = self._counter(REQUESTS)
        self._seconds = self._histogram(REQUEST_SECONDS)
        self._http = self._counter(HTTP_REQUESTS)
        self._http_seconds = self._histogram(HTTP_REQUEST_SECONDS)
        for method in METHODS:
            self._requests.labels(method, "ok")
            self._seconds.labels(method)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def _counter(self, row: Observation) -> Counter:
        return Counter(row.name, row.help, row.labels, namespace=NAMESPACE, registry=self._registry)

    def _histogram(self, row: Observation) -> Histogram:
        return Histogram(
            row.name, row.help, row.labels, namespace=NAMESPACE, registry=self._registry, buckets=SECONDS
        )

    # -- what is observed

    def request(self, method: str, outcome: str, seconds: float) -> None:
        """A request through libp2p was answered (``ok``) or refused with a code."""
        known = method if method in METHODS else OTHER
        self._requests.labels(known, outcome if outcome == "ok" or outcome in CODES else OTHER).inc()
        self._seconds.labels(known).observe(seconds)

    def metered(self, handler: Handler) -> Handler:
        """A handler of libp2p requests, with them counted; not those that are cancelled."""

        async def wrapper(request: PeerRequest) -> bytes:
            begun = trio.current_time()
            try:
                answer = await handler(request)
            except RpcRefusal as refusal:
                self.request(request.method, refusal.code, trio.current_time() - begun)
                raise
            self.request(request.method, "ok", trio.current_time() - begun)
            return answer

        return wrapper

    def counted(self, app: "App") -> "App":
        """The HTTP API, with its answers counted."""

        async def wrapper(
            scope: "MutableMapping[str, Any]",
            receive: "Callable[[], Awaitable[MutableMapping[str, Any]]]",
            send: "Callable[[MutableMapping[str, Any]], Awaitable[None]]",
        ) -> None:
            path, begun = scope["path"] if scope["path"] in PATHS else OTHER, trio.current_time()

            async def told(message: "MutableMapping[str, Any]") -> None:
                if message["type"] == "http.response.start":
                    self._http.labels(path, str(message["status"])).inc()
                await send(message)

            await app(scope, receive, told)
            self._http_seconds.labels(path).observe(trio.current_time() - begun)

        return wrapper

    # -- what is read

    def collect(self) -> Iterator[Metric]:
        """For the registry: what the tables name."""
        if self.look is None:
            return
        seen = self.look()
        for kind, table in ((GaugeMetricFamily, GAUGES), (CounterMetricFamily, COUNTERS)):
            for row in table:
                family = kind(f"{NAMESPACE}_{row.name}", row.help, labels=row.labels)
                for labels, value in row.read(seen):
                    family.add_metric(labels, value)
                yield family

    def exposition(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)

    @property
    def route(self) -> Route:
        """``/metrics``."""
        return Route("/metrics", self._answer, methods=["GET"])

    async def _answer(self, _: Request) -> Response:
        return Response(self.exposition(), headers={"cache-control": "no-store"}, media_type=CONTENT_TYPE)


def documented() -> list[tuple[str, str, tuple[str, ...], str]]:
    """(name, kind, labels, help) of every metric of this project, in the order of docs/metrics.md."""
    return [
        *((f"{NAMESPACE}_{row.name}", "gauge", row.labels, row.help) for row in GAUGES),
        *((f"{NAMESPACE}_{row.name}", "counter", row.labels, row.help) for row in COUNTERS),
        *((f"{NAMESPACE}_{row.name}", row.kind, row.labels, row.help) for row in OBSERVED),
    ]
