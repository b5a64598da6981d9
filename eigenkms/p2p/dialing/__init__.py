"""The way from a peer id to a connection."""
