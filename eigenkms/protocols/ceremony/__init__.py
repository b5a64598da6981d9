"""From a boundary to a certificate and a share: the machines of an operator."""
