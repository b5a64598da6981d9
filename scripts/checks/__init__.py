"""Checks of the gate on prose and on structure, each with a ratchet."""
