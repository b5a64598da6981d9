"""Hosts for tests in which slowness decides nothing: no deadline of theirs ends because a machine is busy."""

from functools import partial

from eigenkms.p2p.host import open_host
from eigenkms.p2p.limits import ConnectionLimits, DialLimits, HandshakeLimits, Limits, RpcLimits, StreamLimits
from tests.support.waiting import PATIENCE

NEVER = 1000 * PATIENCE
"""In seconds: farther than a test puts a clock forward."""
PATIENT = Limits(
    rpc=RpcLimits(handler_deadline=NEVER, idle_stream=NEVER, idle_session=NEVER, stuck_session=NEVER),
    dialing=DialLimits(dial_timeout=NEVER),
    handshakes=HandshakeLimits(upgrade_timeout=NEVER),
    connections=ConnectionLimits(
        admission=NEVER, keepalive_interval=NEVER, keepalive_timeout=NEVER, write_stall=NEVER
    ),
    streams=StreamLimits(negotiation=NEVER, write_deadline=NEVER),
)
"""The default limits, with deadlines that no test reaches."""
patient_host = partial(open_host, limits=PATIENT)
