"""The operator set and applications on chain, and an operator's transactions."""
