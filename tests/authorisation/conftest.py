"""Give the tests of authorisation a network of operators and an issuer of tokens."""

from tests.support.node_fixtures import authority, issuer, network

__all__ = ["authority", "issuer", "network"]
