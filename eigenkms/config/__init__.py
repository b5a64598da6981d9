"""Settings: their table and sources, validation, and an example file."""
