"""The durable key store and write-ahead log of one node; :mod:`eigenkms.storage.store` is the way in."""
