"""The ``eigenkms`` command, one module a verb; :mod:`eigenkms.cli.main` is the way in."""
