"""Options, files, passwords, tables and signals that the verbs share."""
