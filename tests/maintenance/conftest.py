"""Give the tests of a node's maintenance a network and an issuer of tokens."""

from tests.support.node_fixtures import authority, issuer, network

__all__ = ["authority", "issuer", "network"]
