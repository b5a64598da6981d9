"""The preflight of a node: checks, each with its next step.

It changes nothing that lasts, needs no node that runs and disturbs none. Checks are functions, one each, that look at a ``Case``;
the table in ``table`` gives their order, and what each needs to make sense.
"""
