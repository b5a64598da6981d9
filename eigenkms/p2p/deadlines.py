"""A deadline as one expression, the same whether it cancels, shields or both."""

import trio


def within(seconds: float, *, shield: bool = False) -> trio.CancelScope:
    """A cancel scope that ends its block after ``seconds``; ask ``cancelled_caught`` whether it did."""
    return trio.CancelScope(deadline=trio.current_time() + seconds, shield=shield)
