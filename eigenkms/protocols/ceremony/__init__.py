"""The state machines of one session, and of an operator across sessions."""
