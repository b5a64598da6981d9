"""The decision on a request for a key: policy, evidence, release and rate."""
