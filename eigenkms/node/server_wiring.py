"""Wiring of a node's servers: libp2p handlers, HTTP API and monitoring.

They answer others from the services that make key versions.
"""

from dataclasses import dataclass

import trio

from eigenkms.node.backing_services import BackingServices
from eigenkms.node.ceremony_wiring import CeremonyServices
from eigenkms.node.http.api_listener import ApiListener
from eigenkms.node.http.key_answers import KeyAnswers
from eigenkms.node.http.key_api import KeyApi
from eigenkms.node.monitor.canary import Canary
from eigenkms.node.monitor.details import NodeDetailsReader
from eigenkms.node.monitor.metric_tables import MetricsInput
from eigenkms.node.monitor.metrics import Metrics
from eigenkms.node.monitor.monitor_api import MonitorApi
from eigenkms.node.monitor.page import page_routes
from eigenkms.node.monitor.recent_warnings import RecentWarnings
from eigenkms.node.monitor.status import StatusReporter
from eigenkms.node.network.client_handlers import ClientHandlers
from eigenkms.node.network.dial_back import DialBackService
from eigenkms.node.network.operator_handlers import OperatorHandlers
from eigenkms.node.state import NodeState
from eigenkms.p2p.host import Host


@dataclass(frozen=True)
class NodeServers:
    """The servers of one node.

    ``key_api`` answers at ``api_listener``, ``monitor`` at a listener of its own.
    """

    canary: Canary
    reporter: StatusReporter
    client_handlers: ClientHandlers
    operator_handlers: OperatorHandlers
    key_api: KeyApi
    api_listener: ApiListener
    metrics: Metrics
    monitor: MonitorApi


def wire_servers(
    backing: BackingServices,
    state: NodeState,
    host: Host,
    ceremonies: CeremonyServices,
    recent: RecentWarnings,
    *,
    started_at: float,
) -> NodeServers:
    """Wire the servers over ``host`` and the ceremonies' services.

    ``recent`` collects warnings for the status page; ``started_at`` is on trio's clock.
    """
    config, cluster = backing.config, backing.cluster
    canary = Canary(cluster, config.operator, state.versions, state.peers, config.monitor.canary_seconds)
    details = NodeDetailsReader(
        config, state.peers, state.versions, ceremonies.engine, ceremonies.pinger, recent, started_at
    )
    reporter = StatusReporter(backing, state, host, ceremonies, canary, details)
    dial_back = DialBackService(cluster, config.operator, state.peers, ceremonies.checks, host)
    clients = ClientHandlers(
        backing,
        state.versions,
        ceremonies.engine,
        ceremonies.records,
        dial_back,
        reporter.public_status,
    )
    operators = OperatorHandlers(cluster, state.peers, ceremonies.engine, canary.answer)
    key_api = _make_key_api(backing, state, reporter)
    listener = ApiListener(config)

    def read_metrics() -> MetricsInput:
        return MetricsInput(
            status=reporter.operator_status(),
            ready=not reporter.not_ready(),
            now=trio.current_time(),
            follower=ceremonies.follower.statistics(),
            engine=ceremonies.engine.statistics(),
            host=host.statistics(),
            canary=canary,
            data_dir=config.data_dir,
            clock_behind=state.registration.clock_behind,
            certificate_end=listener.certificate_end,
        )

    metrics = Metrics(read_metrics)
    monitor = MonitorApi(
        status=reporter.operator_status,
        not_ready=reporter.not_ready,
        names=config.monitor.names,
        routes=[*page_routes(), metrics.route],
    )
    return NodeServers(canary, reporter, clients, operators, key_api, listener, metrics, monitor)


def _make_key_api(backing: BackingServices, state: NodeState, reporter: StatusReporter) -> KeyApi:
    config = backing.config
    answers = KeyAnswers(
        cluster=backing.cluster,
        operator=config.operator,
        versions=state.versions,
        policy=backing.policy,
        issuer=backing.issuer,
        app_sign=config.http.app_sign,
    )
    return KeyApi(answers, reporter.not_ready, rate=config.http.rate)
