"""What is kept and shown to third parties: evidence, the audit log, the settlement proof of protocol 1."""
