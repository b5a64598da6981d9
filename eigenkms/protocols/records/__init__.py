"""Records for third parties: evidence, audit log, settlement proof."""
