"""The operator node: its parts over one open host, their tasks in one nursery.

    run_node ─┬─ boundary follower      (retries chain errors for ever, and shows them)
              ├─ boundary handler       (reads the operator set at each boundary, opens or passes its session)
              ├─ version sync           (asks for versions that were made without this node)
              ├─ engine                 (the ceremonies; a disk that refuses ends the node)
              └─ operator network       (identifies peers, syncs, pushes, fetches, gossips)

Construction goes from the bottom to the top, and each part is complete when it is made. First come the backing services: storage,
chain and policy. Then the state is checked, before anything is sent. Then the host opens. The services of the ceremonies and the
servers are wired over it.

SIGTERM and SIGINT cancel the root. Everything that must be durable is durable before it is sent, so stopping takes no longer than
to close the connections.
"""

import logging
import os
import signal
import time

import trio

from eigenkms.applications import Applications
from eigenkms.config.node import NodeConfig
from eigenkms.node.backing_services import BackingServices, NodeKeys, open_backing_services
from eigenkms.node.ceremony_wiring import wire_ceremonies
from eigenkms.node.monitor.log_bounds import bounded_lines
from eigenkms.node.monitor.monitor_api import serve_monitor
from eigenkms.node.monitor.recent_warnings import RecentWarnings
from eigenkms.node.network.own_record import make_own_record
from eigenkms.node.server_wiring import wire_servers
from eigenkms.node.state import NodeState, read_state
from eigenkms.node.systemd import SystemdNotifier
from eigenkms.p2p.host import Host, open_host
from eigenkms.types import BlockRef, to_hex
from eigenkms.wire import rpc_methods
from eigenkms.wire.frames import Frame

__all__ = ["Node", "NodeKeys", "run_node", "run_until_signalled"]

log = logging.getLogger(__name__)


async def run_node(
    config: NodeConfig,
    keys: NodeKeys,
    task_status: trio.TaskStatus[Host] = trio.TASK_STATUS_IGNORED,
    *,
    applications: Applications | None = None,
) -> None:
    """Run a node until cancelled.

    The policy ``attested`` reads ``applications``, by default the chain's app controller. Raises ``EigenKmsError`` if the operator
    must correct something.
    """
    with bounded_lines():
        async with (
            RecentWarnings.collect() as recent,
            open_backing_services(config, keys, applications) as backing,
        ):
            await _run_over_host(backing, recent, task_status)


async def _run_over_host(
    backing: BackingServices, recent: RecentWarnings, task_status: trio.TaskStatus[Host]
) -> None:
    state = await read_state(backing)
    async with open_host(
        backing.keys.peer,
        listen=backing.config.network.listen,
        gate=state.peers.admits,
        topics=[rpc_methods.gossip_topic(backing.cluster)],
    ) as host:
        record = await make_own_record(backing, host)
        node = Node(backing, state, host, record, recent, started_at=trio.current_time())
        await node.run(task_status)


async def run_until_signalled(config: NodeConfig, keys: NodeKeys) -> None:
    """Run a node until SIGTERM or SIGINT.

    Notify systemd when it is up, and when it stops.
    """
    systemd = SystemdNotifier(os.environ)
    async with trio.open_nursery() as root:

        async def stop_on_signal() -> None:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for number in signals:
                    log.info("stopping on %s", signal.Signals(number).name)
                    systemd.notify("STOPPING=1")
                    root.cancel_scope.cancel()
                    return

        root.start_soon(stop_on_signal)
        root.start_soon(systemd.run_watchdog)
        await root.start(run_node, config, keys)
        systemd.notify("READY=1")


class Node:
    """One node over an open host.

    ``own_record`` is its peer record there, ``started_at`` is on trio's clock.
    """

    def __init__(
        self,
        backing: BackingServices,
        state: NodeState,
        host: Host,
        own_record: Frame,
        recent: RecentWarnings,
        *,
        started_at: float,
    ) -> None:
        self.backing = backing
        self.state = state
        self.host = host
        self.ceremonies = wire_ceremonies(backing, state, host, own_record)
        self.services = wire_servers(backing, state, host, self.ceremonies, recent, started_at=started_at)

    async def run(self, task_status: trio.TaskStatus[Host] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve and take part until cancelled."""
        self._serve_peers()
        self.ceremonies.network.refresh()
        async with trio.open_nursery() as nursery:
            await self._resume_ceremonies(nursery)
            await self._open_listeners(nursery)
            self._follow_chain(nursery)
            log.info(
                "node of operator %s is up as peer %s",
                to_hex(self.backing.config.operator),
                self.host.peer_id,
                extra={"fields": {"event": "up", "peer": str(self.host.peer_id)}},
            )
            task_status.started(self.host)

    def _serve_peers(self) -> None:
        services, metered = self.services, self.services.metrics.metered
        self.host.serve(rpc_methods.CLIENT_PROTOCOL, metered(services.client_handlers.answer))
        self.host.serve(rpc_methods.OPERATOR_PROTOCOL, metered(services.operator_handlers.answer))

    async def _resume_ceremonies(self, nursery: trio.Nursery) -> None:
        """Start the tasks of the ceremonies, and resume the sessions of the journal.

        No boundary is read before.
        """
        parts, backing = self.ceremonies, self.backing
        nursery.start_soon(parts.workers.prepare)
        nursery.start_soon(parts.network.run)
        nursery.start_soon(parts.pinger.run, self.host)
        nursery.start_soon(backing.issuer.run)
        if backing.policy.authoriser is not None:
            nursery.start_soon(backing.policy.authoriser.run)
        nursery.start_soon(parts.engine.run, parts.network)
        await parts.engine.restore(parts.network, time.time(), floor=self.state.guard.limits.floor)

    async def _open_listeners(self, nursery: trio.Nursery) -> None:
        """Listen for HTTP only after the sessions are resumed."""
        services = self.services
        await nursery.start(services.api_listener.serve, services.metrics.counted(services.key_api.app))
        await nursery.start(serve_monitor, self.backing.config.monitor.listen, services.monitor.app)

    def _follow_chain(self, nursery: trio.Nursery) -> None:
        parts = self.ceremonies
        send, receive = trio.open_memory_channel[BlockRef](1)
        nursery.start_soon(parts.follower.run, send)
        nursery.start_soon(parts.boundaries.run, receive)
        nursery.start_soon(parts.sync.follow_unknown_bases)
        nursery.start_soon(parts.sync.bootstrap)
        nursery.start_soon(self.services.canary.run, self.host)
        if parts.publisher is not None:
            nursery.start_soon(parts.publisher.run)
            nursery.start_soon(self.state.guard.warn_if_anchored)
