"""The HTTP API of a node (docs/http.md): what the reference's clients speak, behind the same pipeline as the libp2p services."""
