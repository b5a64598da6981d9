"""Messages: signed frames and their bodies, transcripts, requests, answers."""
