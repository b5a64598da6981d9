"""Guards that make py-libp2p 0.8.1 safe to expose, one for each defect.

A stranger, or a slow machine, can trigger each defect below. The comment over each guard names it, and
tests/p2p/test_guards.py shows every defect without its guard.

====  =======================================================================  =======================================
P1    also offers plaintext and secio: anyone is accepted as anyone            ``handshake.noise_only``
P2    keeps one inbound slot per connection until it stops (250 in its life)   ``listener`` accepts, not the swarm
P3    an exception that leaves a stream handler ends the host                  ``swarm.guard_streams``, ``gossip``
P4    cancelling a write loses a noise nonce, and so the connection            ``muxer.GuardedYamux._write_frame``
P5    cancelling an open leaks one of 256 stream slots; at 0 it hangs          ``muxer.GuardedYamux.open_stream``
P6    one failed dial bars the peer for 60 s                                   ``handshake.secure``, our own dialer
P7    a dial has no deadline (120 s)                                           ``dialing`` gives it one
P8    a peer that has stopped is never noticed                                 ``muxer.GuardedYamux._measure_rtt_loop``
P9    the receive window is not enforced: memory for any peer that pushes      ``muxer.CappedBuffers``
P10   metrics without a reader block every connection after 100 events         metrics stay off (``swarm.build``)
P11   ``read_exactly`` gives up after 101 reads                                ``bounded_io.read_exactly``
P12   a write waits without end for a reader that takes a byte now and then    ``streams.GuardedStream``
P13   dials the peers that a PRUNE names, without any of these guards          ``gossip``, ``swarm.strip``
====  =======================================================================  =======================================

Unneeded protocols are not offered: identify, identify push, ping, TLS and mplex. Nor is the resource manager in use, a second
account of limits that are kept here. So their code never gets a stranger's byte.

The guards use names that are private in libp2p. So its version is pinned exactly, and ``self_test`` proves at start that every one
of those names exists.
"""

from eigenkms.p2p.hardening.version_check import apply_process_wide, self_test

__all__ = ["apply_process_wide", "self_test"]
