"""The transport under the network: peers, bytes, protocols and topics.

It runs on a libp2p that was made safe to expose. ``host`` is the door: ``open_host`` and all that a caller needs beside
``identity`` (peer ids, keys, addresses). Behind it, ``listening`` and ``dialing`` make connections, and ``connections`` bounds
their number. ``rpc`` carries requests, ``gossip`` carries messages, and ``hardening`` guards against libp2p's defects one by one.
No module here has an operator, a key share or a chain.
"""
