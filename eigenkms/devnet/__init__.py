"""An embedded chain and a cluster of real node processes on this machine."""
