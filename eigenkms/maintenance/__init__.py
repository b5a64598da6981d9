"""What an operator does to a node that does not run: backup, restore, repair, a new peer key, the preflight."""
