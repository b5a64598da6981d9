"""A node's part of the anchor: each version that it is a recipient of is written down once, and an empty registry is looked for.

It is a witness and holds nothing up. Its task waits for a newer version, looks whether the chain has this operator's entry
already (of this life or an earlier one), and writes it if not. What goes wrong is a warning, shown in ``status``, and tried
again after a pause that doubles, until it works or a newer version is there: then that one is anchored, and the older stays
without an entry of this operator.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from eigenkms.chain.anchor import Anchor, commitment_to
from eigenkms.chain.transactions import Sender, Terms
from eigenkms.errors import EigenKmsError
from eigenkms.node import log_fields
from eigenkms.node.network.client_handlers import explain
from eigenkms.protocols.wire.certified_transcript import CertifiedTranscript
from eigenkms.protocols.wire.transcript import Transcript
from eigenkms.types import OperatorAddress

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 5.0
MAX_PAUSE_SECONDS: Final = 300.0


def anchoring_terms(max_gas_price_gwei: int) -> Terms:
    """Of an entry's transaction: nobody waits for it, and it is replaced by a dearer one if it is in no block for a minute."""
    return Terms(max_fee_wei=max_gas_price_gwei * 10**9, replace_after=60, deadline=600)


OtherThan = Callable[[bytes | None], Awaitable[CertifiedTranscript]]
"""Waits until the newest version's transcript has another hash than that, and gives the version."""


class AnchorPublisher:
    """``writer`` is the operator's own account; without one nothing is written. ``anchored`` is the newest version that the chain
    has this operator's word on, ``failure`` what keeps the next one from being there.
    """

    def __init__(
        self, anchor: Anchor, writer: Sender | None, operator: OperatorAddress, other_than: OtherThan
    ) -> None:
        self._anchor = anchor
        self._writer = writer
        self._operator = operator
        self._other_than = other_than
        self.anchored: int | None = None
        self.failure: str | None = None

    async def forbids_genesis(self) -> str | None:
        """Why no second master key may be made, or None. A registry that cannot be read is a reason too."""
        try:
            entries = await self._anchor.submissions()
        except EigenKmsError as error:
            return f"the anchor cannot be read ({explain(error)})"
        return f"the anchor has entries of this cluster ({entries}), so it has a key" if entries else None

    async def warn_of_genesis(self) -> None:
        """For an operator that gave its word and knows no version: say if the anchor speaks against it."""
        reason = await self.forbids_genesis()
        if reason is not None:
            log.warning("%s, and --genesis is given all the same: leave it out if there is a key", reason)

    async def run(self) -> None:
        """Anchor one version after another, until cancelled."""
        if self._writer is None:
            return
        last: bytes | None = None
        while True:
            transcript = (await self._other_than(last)).transcript
            last = transcript.hash
            if transcript.recipients.get(self._operator) is not None:
                await self._anchor_until_newer(self._writer, transcript)

    async def _anchor_until_newer(self, writer: Sender, transcript: Transcript) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._anchor_once(writer, transcript)
            except EigenKmsError as error:
                self.failure = explain(error)
                log.warning(
                    "version %d is not anchored by this operator yet: %s",
                    transcript.version,
                    self.failure,
                    extra=log_fields.of(transcript.session, "not-anchored", version=int(transcript.version)),
                )
            else:
                return
            with trio.move_on_after(pause) as waiting:
                await self._other_than(transcript.hash)
            if not waiting.cancelled_caught:
                return
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    async def _anchor_once(self, writer: Sender, transcript: Transcript) -> None:
        mine, version = commitment_to(transcript), transcript.version
        there = (await self._anchor.commitments(version, [self._operator])).get(self._operator)
        if there is not None and there != mine:
            self.failure = f"the anchor has another transcript of version {version} by this operator"
            log.error(
                "the anchor has another transcript of version %d by this operator, and it cannot be changed: "
                "somebody else uses the operator's account, or this data folder is not its own",
                version,
                extra=log_fields.of(transcript.session, "anchor-contradicts", version=int(version)),
            )
            return
        if there is None:
            await self._anchor.submit(writer, version, mine)
        self.anchored, self.failure = int(version), None
        log.info(
            "version %d is anchored%s",
            version,
            "" if there is None else ", from before",
            extra=log_fields.of(transcript.session, "anchored", version=int(version)),
        )
