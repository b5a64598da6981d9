"""The vote guard: a store that may have forgotten votes does not vote twice.

A store that is new, restored or copied may lack votes that this operator gave. It votes at no boundary up to the newest one of its
first start, the *vote floor*. It joins no genesis unless the operator consents with ``--genesis`` (docs/protocol.md, Crashes). Both
limits are durable before anything is sent. They stay until the store is restored or copied again.

A genesis needs more than consent: no version is known, no member ever left the set, and the anchor has no entry of this cluster.
The operator's word replaces the last two, since a departed member or an entry only suggests that a key exists.
"""

import logging
from dataclasses import dataclass
from typing import Self

import trio

from eigenkms.chain.anchor import Anchor
from eigenkms.chain.boundaries import newest_boundary
from eigenkms.chain.operator_set_source import OperatorSetSource
from eigenkms.errors import EigenKmsError
from eigenkms.node.backing_services import BackingServices
from eigenkms.node.key_versions import Versions
from eigenkms.storage.rebuild import RESTORED
from eigenkms.storage.store import Store
from eigenkms.types import BlockRef

log = logging.getLogger(__name__)

_FLOOR, _CONSENT = "vote-floor", "genesis-consent"


@dataclass(frozen=True)
class VoteLimits:
    """The durable limits of a store.

    ``floor`` is the highest block at which it may have forgotten votes.
    """

    floor: int = 0
    genesis_consent: bool = False


class VoteGuard:
    """Decides which sessions this operator may join.

    ``genesis`` is the operator's word that no key exists.
    """

    def __init__(
        self,
        limits: VoteLimits,
        chain: OperatorSetSource,
        versions: Versions,
        anchor: Anchor | None,
        *,
        genesis: bool,
    ) -> None:
        self.limits = limits
        self._chain = chain
        self._versions = versions
        self._anchor = anchor
        self._genesis = genesis

    @classmethod
    async def open(cls, backing: BackingServices, versions: Versions) -> Self:
        """Read the limits of the store; raise them first if it may have forgotten votes.

        Raises ``ChainError``.
        """
        chain, config = backing.chain, backing.config
        head, newest = await chain.head(), await chain.newest_number()
        seen = newest_boundary(max(head.number, newest), config.session.interval_blocks)
        limits = await trio.to_thread.run_sync(_update_limits, backing, versions, seen)
        return cls(limits, chain, versions, backing.anchor, genesis=config.session.genesis)

    def may_vote_at(self, block: BlockRef) -> bool:
        """Return whether the store can have forgotten no vote at this boundary."""
        return block.number > self.limits.floor

    async def may_join_genesis(self, block: BlockRef) -> bool:
        """Return whether this operator may take part in a genesis at this boundary.

        Raises ``ChainError``.
        """
        if not self.limits.genesis_consent or len(self._versions):
            return False
        if self._genesis:
            return True
        if await self._chain.members_ever_left(block):
            log.warning(
                "an operator once left this set and may hold a key: genesis needs --genesis on every operator"
            )
            return False
        objection = await self._anchor_objection()
        if objection is not None:
            log.warning("%s: genesis needs --genesis on every operator", objection)
        return objection is None

    async def warn_if_anchored(self) -> None:
        """Warn if the operator consented to a genesis and the anchor shows a key."""
        if not self._genesis or len(self._versions):
            return
        objection = await self._anchor_objection()
        if objection is not None:
            log.warning("%s, and --genesis is given all the same: leave it out if there is a key", objection)

    async def _anchor_objection(self) -> str | None:
        return None if self._anchor is None else await genesis_objection(self._anchor)


async def genesis_objection(anchor: Anchor) -> str | None:
    """Return why no second master key may be made, or None.

    A registry that cannot be read is a reason too.
    """
    try:
        entries = await anchor.submissions()
    except EigenKmsError as error:
        return f"the anchor cannot be read ({error.one_line})"
    return f"the anchor has entries of this cluster ({entries}), so it has a key" if entries else None


def _update_limits(backing: BackingServices, versions: Versions, newest: int) -> VoteLimits:
    """Raise the floor if need be, and return the limits; blocks on the disk.

    ``newest`` is the number of the newest boundary.
    """
    store, genesis = backing.store, backing.config.session.genesis
    if store.get_meta(_FLOOR) is None or store.rolled_back:
        _raise_floor(store, newest)
    if genesis and store.get_meta(RESTORED) is None:
        store.set_meta(_CONSENT, b"1")
    elif genesis and not len(versions):
        log.warning(
            "genesis is set, but this data folder was restored or begun anew, and an earlier one may have taken part in one: "
            "no genesis with it"
        )
    limits = VoteLimits(int(store.get_meta(_FLOOR) or b"0"), store.get_meta(_CONSENT) == b"1")
    if not limits.genesis_consent and not len(versions):
        log.warning(
            "this data folder is new and genesis is not allowed: start with --genesis if this operator has never "
            "taken part in a genesis with another data folder"
        )
    return limits


def _raise_floor(store: Store, newest: int) -> None:
    if store.rolled_back:
        log.warning("the data folder is a restored or copied one: not voting up to block %d", newest)
    store.set_meta(_FLOOR, str(newest).encode())
    store.set_meta(_CONSENT, b"0")
    # acknowledged last: after a crash before this line the floor is raised once more
    store.acknowledge_rollback()
