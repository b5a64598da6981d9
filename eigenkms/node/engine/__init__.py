"""The engine: it runs the ceremonies' machines and applies their effects."""
