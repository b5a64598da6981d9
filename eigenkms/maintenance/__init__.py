"""Backup, restore, share repair, a new peer key, and the preflight of a node."""
