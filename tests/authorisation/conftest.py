"""Give the tests of authorisation a network, an issuer of tokens, and operators that wait for slow machines."""

from tests.support.node_fixtures import authority, issuer, network, patient_calls

__all__ = ["authority", "issuer", "network", "patient_calls"]
