"""The parts by which the operator watches its node by: read-only, on a listener of its own."""
