"""The ``eigenkms`` command: one module a verb, loaded by ``main``."""
