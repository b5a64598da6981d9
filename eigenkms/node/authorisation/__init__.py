"""Who may have a key: from a request to a yes, whatever it came through."""
