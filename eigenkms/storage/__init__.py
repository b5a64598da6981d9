"""The durable key store and write-ahead log of one node."""
