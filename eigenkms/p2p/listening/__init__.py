"""The way from a listening socket to a connection, with turns and allowances."""
