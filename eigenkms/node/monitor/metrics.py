"""Metrics for Prometheus, at ``/metrics`` of the monitoring listener.

Most are read from the parts of the node when they are requested (``metric_tables``). Requests and their durations are counted
here, as they happen. Labels have few values: ``OTHER`` stands for each name that is not known.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import trio
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eigenkms.node.monitor.metric_tables import COUNTERS, GAUGES, MetricsInput
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.types import Handler
from eigenkms.p2p.types import Request as PeerRequest
from eigenkms.wire import rpc_methods
from eigenkms.wire.authorisation import Refusal

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
"""Label value of a name that is not known."""
CODES: Final = frozenset(
    {
        *map(str, Refusal),
        *("unknown-method", "bad-request", "refused-frame", "wrong-cluster", "no-version", "unknown-version"),
        *("no-share", "wrong-peer", "say-hello", "wrong-sender", "not-a-member", "wrong-time", "replayed"),
        *("no-address", "no-dealing"),
    }
)
"""Codes of refusals that have a label value."""
PATHS: Final = ("/pubkey", "/app/sign", "/secrets", "/health", "/ready", "/openapi.json")


@dataclass(frozen=True)
class Observation:
    """A metric that is counted as things happen."""

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
    """The registry of one node.

    ``read`` reads the node's parts when the metrics are requested.
    """

    def __init__(self, read: Callable[[], MetricsInput]) -> None:
        self._read = read
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
        """Count a request through libp2p, with ``ok`` or the code of its refusal."""
        known = method if method in METHODS else OTHER
        self._requests.labels(known, outcome if outcome == "ok" or outcome in CODES else OTHER).inc()
        self._seconds.labels(known).observe(seconds)

    def metered(self, handler: Handler) -> Handler:
        """Return a handler that counts its libp2p requests, except cancelled ones."""

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
        """Return the HTTP API with its answers counted."""

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
        """Return the metrics of the tables, for the registry."""
        seen = self._read()
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
    """Return name, kind, labels and help of every metric, in the order of the page."""
    return [
        *((f"{NAMESPACE}_{row.name}", "gauge", row.labels, row.help) for row in GAUGES),
        *((f"{NAMESPACE}_{row.name}", "counter", row.labels, row.help) for row in COUNTERS),
        *((f"{NAMESPACE}_{row.name}", row.kind, row.labels, row.help) for row in OBSERVED),
    ]
