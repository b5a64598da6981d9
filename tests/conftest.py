"""What all tests share: the virtual clock."""

from tests.support.waiting import virtual_clock

__all__ = ["virtual_clock"]
