"""Peers, bytes, protocols and topics: the transport under the network, on a libp2p that was made safe to expose.

``host`` is the door: ``open_host`` and everything that a caller needs beside ``identity`` (peer ids, keys, addresses).
The rest is behind it: ``listener`` and ``dialing`` make connections, the latter by ``connector``, ``race`` and ``resolver``;
``connections`` keeps their number in bounds, ``serving`` and ``sessions`` carry requests in ``framing``'s frames, ``topics``
carries gossip, ``hardening`` answers libp2p's defects one by one. Nothing here knows an operator, a key share or a chain.
"""
