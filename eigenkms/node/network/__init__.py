"""Connections to all operators, the answers to peers, and what is fetched."""
