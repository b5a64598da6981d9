"""The decision on a request for a key, and the record of each answer."""
