"""The decision on a request for a key: policy, evidence and rate limit."""
