"""The engine: it runs the ceremonies' machines, makes their effects durable, and sends what they ask to send."""
