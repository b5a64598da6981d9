"""Engines here are as slow as those of the tests of the chain."""

from tests.chain.conftest import far_deadlines

__all__ = ["far_deadlines"]
