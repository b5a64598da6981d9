"""Configuration: the table of settings, where their values come from, a node's checked configuration, an example file."""
