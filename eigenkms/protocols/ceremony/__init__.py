"""From a boundary to a certificate and a share: the machines of one session, and of one operator across sessions."""
