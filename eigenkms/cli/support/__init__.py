"""What the verbs share; each verb is a module of the package above."""
