"""The keystore files of an operator's three keys."""
