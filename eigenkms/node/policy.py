"""Who may have a partial signature. Nothing leaves an operator without this saying yes (docs/protocol.md, invariant 9)."""

from dataclasses import dataclass
from typing import Literal

from eigenkms.errors import RefusedError
from eigenkms.protocols.requests import PartialRequest


@dataclass(frozen=True)
class Policy:
    """``open`` grants every request (a devnet, or forced with a warning: see NodeConfig); ``closed`` grants none."""

    mode: Literal["open", "closed"]

    def authorise(self, request: PartialRequest) -> None:
        """Raise ``RefusedError`` unless the requester has shown its right to ``request.app_id``'s key."""
        del request
        if self.mode != "open":
            raise RefusedError(
                "this operator grants no partial signatures: its policy is closed",
                hint="the operators of this network must enable a way to prove the right to a key",
            )
