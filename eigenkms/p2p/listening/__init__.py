"""Accepting strangers, each in its turn and within its allowance."""
