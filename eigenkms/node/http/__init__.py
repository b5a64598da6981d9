"""The HTTP API of a node, behind the pipeline that the libp2p services have."""
