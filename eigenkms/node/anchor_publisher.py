"""The anchor publisher: it writes this operator's entry for each version it has.

The anchor is a witness, and nothing waits for it. The publisher's task waits for a newer version and checks whether the chain has
this operator's entry already. If not, it writes one. A failure is a warning, shown in ``status``.
The publisher tries again after a pause that doubles, until it succeeds or a newer version exists. Then it anchors the newer one,
and the older stays without an entry of this operator. The anchor's other use is in ``vote_guard``.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from eigenkms.chain.anchor import Anchor, commitment_to
from eigenkms.chain.transactions import Sender, Terms
from eigenkms.errors import EigenKmsError
from eigenkms.node import log_fields
from eigenkms.types import OperatorAddress
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.transcript import Transcript

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 5.0
MAX_PAUSE_SECONDS: Final = 300.0


def anchoring_terms(max_gas_price_gwei: int) -> Terms:
    """Return the terms of an entry's transaction.

    Nobody waits for it. A dearer one replaces it if it is in no block after a minute.
    """
    return Terms(max_fee_wei=max_gas_price_gwei * 10**9, replace_after=60, deadline=600)


WaitForNewer = Callable[[bytes | None], Awaitable[CertifiedTranscript]]
"""Waits until the newest version's transcript has another hash than this one, and returns the version."""


class AnchorPublisher:
    """Writes entries with ``writer``, the operator's own account.

    Without an account nothing is written. ``anchored`` is the newest version that the chain has this operator's entry of,
    ``failure`` why the next one is not there.
    """

    def __init__(
        self, anchor: Anchor, writer: Sender | None, operator: OperatorAddress, wait_for_newer: WaitForNewer
    ) -> None:
        self._anchor = anchor
        self._writer = writer
        self._operator = operator
        self._other_than = wait_for_newer
        self.anchored: int | None = None
        self.failure: str | None = None

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
                self.failure = error.one_line
                log.warning(
                    "version %d is not anchored by this operator yet: %s",
                    transcript.version,
                    self.failure,
                    extra=log_fields.session_fields(
                        transcript.session, "not-anchored", version=int(transcript.version)
                    ),
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
                extra=log_fields.session_fields(
                    transcript.session, "anchor-contradicts", version=int(version)
                ),
            )
            return
        if there is None:
            await self._anchor.submit(writer, version, mine)
        self.anchored, self.failure = int(version), None
        log.info(
            "version %d is anchored%s",
            version,
            "" if there is None else ", from before",
            extra=log_fields.session_fields(transcript.session, "anchored", version=int(version)),
        )
