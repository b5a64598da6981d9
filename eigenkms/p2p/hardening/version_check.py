"""The private names of libp2p 0.8.1 that the guards use, and their check at start."""

import logging
import os
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Any, Final

from eigenkms.errors import EigenKmsError

LIBP2P: Final = "0.8.1"

NAMES: Final[tuple[tuple[str, str], ...]] = (
    ("libp2p.network.swarm", "Swarm.add_conn"),
    ("libp2p.network.swarm", "Swarm.set_stream_handler"),
    ("libp2p.network.swarm", "Swarm.set_resource_manager"),
    ("libp2p.network.swarm", "Swarm.remove_notifee"),
    ("libp2p.network.swarm", "Swarm.get_connections"),
    ("libp2p.network.swarm", "Swarm.dial_peer"),
    ("libp2p.network.auto_connector", "AutoConnector.record_disconnect"),
    ("libp2p.network.auto_connector", "AutoConnector.maybe_connect"),
    ("libp2p.network.connection.swarm_connection", "SwarmConn.new_stream"),
    ("libp2p.network.connection.swarm_connection", "logging"),
    ("libp2p.transport.upgrader", "TransportUpgrader.upgrade_security"),
    ("libp2p.stream_muxer.muxer_multistream", "MuxerMultistream.select_transport"),
    ("libp2p.stream_muxer.yamux.yamux", "Yamux._write_frame"),
    ("libp2p.stream_muxer.yamux.yamux", "Yamux._measure_rtt_loop"),
    ("libp2p.stream_muxer.yamux.yamux", "Yamux._read_data_body"),
    ("libp2p.stream_muxer.yamux.yamux", "Yamux.open_stream"),
    ("libp2p.stream_muxer.yamux.yamux", "Yamux.accept_stream"),
    ("libp2p.stream_muxer.yamux.yamux", "YamuxStream.write"),
    ("libp2p.stream_muxer.yamux.yamux", "YamuxStream._auto_tune_and_send_window_update"),
    ("libp2p.stream_muxer.yamux.yamux", "YamuxStream._grow_threshold"),
    ("libp2p.stream_muxer.yamux.yamux", "YAMUX_HEADER_FORMAT"),
    ("libp2p.stream_muxer.yamux.yamux", "MAX_WINDOW_SIZE"),
    ("libp2p.stream_muxer.yamux.yamux", "read_exactly"),
    ("libp2p.io.msgio", "read_exactly"),
    ("libp2p.utils.varint", "read_exactly"),
    ("libp2p.pubsub.pubsub", "RpcQueue"),
    ("libp2p.pubsub.rpc_queue", "RpcQueue.pop"),
    ("libp2p.pubsub.rpc_queue", "RpcQueue.push"),
    ("libp2p.pubsub.mcache", "MessageCache.put"),
    ("libp2p.pubsub.mcache", "MessageCache.shift"),
    ("libp2p.pubsub.pubsub", "Pubsub.push_msg"),
    ("libp2p.pubsub.pubsub", "Pubsub.validate_msg"),
    ("libp2p.pubsub.pubsub", "Pubsub.notify_subscriptions"),
    ("libp2p.pubsub.pubsub", "Pubsub.write_msg"),
    ("libp2p.pubsub.pubsub", "Pubsub.handle_subscription"),
    ("libp2p.pubsub.pubsub", "Pubsub._handle_new_peer"),
    ("libp2p.pubsub.pubsub", "Pubsub._handle_new_peer_with_retry"),
    ("libp2p.pubsub.pubsub", "Pubsub._handle_dead_peer"),
    ("libp2p.pubsub.gossipsub", "GossipSub.heartbeat"),
    ("libp2p.pubsub.gossipsub", "GossipSub.add_peer"),
    ("libp2p.pubsub.gossipsub", "GossipSub.send_rpc"),
    ("libp2p.pubsub.gossipsub", "GossipSub._check_back_off"),
    ("libp2p.pubsub.gossipsub", "GossipSub._is_gossipsub_peer"),
    ("libp2p.pubsub.gossipsub", "GossipSub.on_peer_subscribed"),
    ("libp2p.pubsub.gossipsub", "GossipSub.flush_pending_messages"),
    ("libp2p.pubsub.gossipsub", "GossipSub._do_px"),
    ("libp2p.pubsub.gossipsub", "GossipSub.handle_iwant"),
    ("libp2p.pubsub.gossipsub", "GossipSub.handle_rpc"),
)


class HardeningError(EigenKmsError):
    """The installed libp2p is not the one that the guards were written for.

    It is not safe to open a port with it.
    """

    default_hint = f"install libp2p=={LIBP2P}"


def _present(module: str, path: str) -> bool:
    found: object = import_module(module)
    for name in path.split("."):
        if not hasattr(found, name):
            return False
        found = getattr(found, name)
    return True


def self_test() -> None:
    """Raise HardeningError unless libp2p has the pinned version and all private names."""
    installed = version("libp2p")
    if installed != LIBP2P:
        raise HardeningError(f"check libp2p: version {installed} is installed, the guards are for {LIBP2P}")
    missing = [f"{module}.{path}" for module, path in NAMES if not _present(module, path)]
    if missing:
        raise HardeningError(f"check libp2p: names that the guards replace are missing: {', '.join(missing)}")


def _quiet_logs() -> None:
    """Keep strangers from writing this program's log.

    In one module libp2p logs at the root logger, and configures it as a side effect. With no handler of its own it prints warnings
    to stderr. Its own switch, LIBP2P_DEBUG, still works.
    """
    logger = logging.getLogger("libp2p")
    if not os.environ.get("LIBP2P_DEBUG") and not logger.handlers:
        logger.addHandler(logging.NullHandler())
        logger.setLevel(logging.CRITICAL)
    swarm_connection = import_module("libp2p.network.connection.swarm_connection")
    swarm_connection.logging = logging.getLogger("libp2p.network.connection")  # type: ignore[attr-defined]


@cache
def apply_process_wide() -> None:
    """Replace, once in a process, the parts that only libp2p's modules hold.

    These are P11, P12, the windows and their updates, and the gossip queue.
    """
    from eigenkms.p2p.hardening import bounded_io, muxer, queues, streams

    self_test()
    _quiet_logs()
    for module in ("libp2p.stream_muxer.yamux.yamux", "libp2p.io.msgio", "libp2p.utils.varint"):
        import_module(module).read_exactly = bounded_io.read_exactly  # type: ignore[attr-defined]
    yamux: Any = import_module("libp2p.stream_muxer.yamux.yamux")
    yamux.MAX_WINDOW_SIZE = muxer.WINDOW
    yamux.YamuxStream._auto_tune_and_send_window_update = muxer.update_window_late  # noqa: SLF001
    yamux.YamuxStream = streams.GuardedStream
    import_module("libp2p.pubsub.pubsub").RpcQueue = queues.BatchingRpcQueue  # type: ignore[attr-defined]
