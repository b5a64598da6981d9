"""From a peer id to a connection."""
