"""Real hosts on loopback for the transport's tests; libp2p is imported once, with its own warnings set aside."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import libp2p
    import libp2p.pubsub.gossipsub  # noqa: F401
