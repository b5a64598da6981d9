"""The operator's view of its node: status page, metrics and health."""
