"""What the operator watches its node by: read-only, on a listener of its own."""
