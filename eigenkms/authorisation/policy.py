"""The policy of an operator on requests for partial signatures.

No partial signature leaves an operator without a grant by its policy (docs/protocol.md, invariant 9).
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from eigenkms.attestation.interface import AttestationRefusedError
from eigenkms.authorisation.pipeline import Authoriser, Grant, KeyRequest, read_authorisation
from eigenkms.errors import InputError
from eigenkms.types import AppId
from eigenkms.wire.authorisation import Refusal

Mode = Literal["open", "attested", "closed"]


class AuthorisedRequest(Protocol):
    """The fields of a request that a policy reads, whatever its transport."""

    @property
    def app_id(self) -> AppId: ...

    @property
    def reply_key(self) -> bytes: ...

    @property
    def authorisation(self) -> bytes | None: ...


@dataclass(frozen=True)
class Policy:
    """The decision on every request, by ``mode``.

    - ``open`` grants every request, on a devnet or if forced with a warning (``NodeConfig``).
    - ``attested`` grants the requests that its authoriser grants.
    - ``closed`` grants none.
    """

    mode: Mode
    authoriser: Authoriser | None = None

    def __post_init__(self) -> None:
        if self.mode == "attested" and self.authoriser is None:
            raise InputError(
                "set policy attested: this node has no way to look applications up",
                hint="give --app-controller, the address of the contract that knows the applications, or use the policy closed",
            )

    async def authorise(
        self, request: AuthorisedRequest, *, client: str = "", reference_nonce: str | None = None
    ) -> Grant | None:
        """Return the grant of the key of ``request.app_id``, None if the mode is open.

        ``client`` and ``reference_nonce`` are those of ``KeyRequest``. Raises ``AttestationRefusedError`` unless the requester has
        shown its right.
        """
        if self.mode == "open":
            return None
        if self.mode == "attested" and self.authoriser is not None:
            shown = read_authorisation(request.authorisation)
            return await self.authoriser.authorise(
                KeyRequest(request.app_id, request.reply_key, shown, reference_nonce, client)
            )
        raise AttestationRefusedError(
            Refusal.NOT_AUTHORISED,
            "this operator grants no partial signatures: its policy is closed",
            hint="the operators of this network must enable a way to prove the right to a key",
        )
