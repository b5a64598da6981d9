"""What travels: signed frames and their bodies, dealings, votes, transcripts, requests and their answers."""
