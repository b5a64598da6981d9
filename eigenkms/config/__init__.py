"""Configuration.

The table of settings, where their values come from, a node's checked configuration, an example file.
"""
