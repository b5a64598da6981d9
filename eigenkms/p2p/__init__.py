"""The transport: peers, requests and gossip on a libp2p that is safe to expose.

``host`` is the way in: ``open_host``, and what a caller needs beside ``identity`` (peer ids, keys, addresses). ``listening``
and ``dialing`` make connections, and ``connections`` bounds their number. ``rpc`` carries requests, ``gossip`` carries topics, and
``hardening`` has a guard for each defect of libp2p. Nothing here depends on an operator, a key share or a chain.
"""
