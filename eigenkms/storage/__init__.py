"""The durable key store of one node; :mod:`eigenkms.storage.store` is the way in."""
