"""Encryption keys of operators: published, listed, kept and erased.

*Life of a key.* Each member of a session publishes a fresh key in it, numbered with the session's boundary block: numbers rise, and
nobody needs a counter that a restored disk could put back. The session's transcript *lists* one key for each recipient: the fresh
one if it was there in time, else the one that the source lists. Sessions that deal from this version encrypt to the listed keys, so
all dealers use the same ones, and an absent operator keeps its last one. A recipient that the source does not list (a newcomer)
gets its shares under the key that it publishes in the session itself.

*Erasure.* With a certified version V, of which the share is durable, no session that deals from an older version than V can be
certified any more (``participant``). So what can still be needed is the key that V lists for this operator, keys published
above V's boundary, which a later transcript may list, and, until the share of V is durable, the key that it is encrypted to.
Everything else is destroyed: then recorded dealings and the disk of a later day give nothing.
"""

from collections.abc import Iterable, Mapping

from eigenkms.types import OperatorAddress
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import ListedKey, Transcript


def next_keys(
    session: Session,
    source: Transcript | None,
    fresh: Mapping[OperatorAddress, ListedKey],
) -> tuple[ListedKey | None, ...]:
    """Return the keys that a transcript lists: the fresh one, or else the source's."""
    return tuple(
        fresh.get(address) or (None if source is None else source.key_of(address))
        for address in session.recipients.addresses
    )


def needed_numbers(
    held: Iterable[int],
    me: OperatorAddress,
    version: Transcript,
    used: int | None,
    *,
    has_share: bool,
) -> frozenset[int]:
    """Return which ``held`` keys can still be needed; all others are to be erased.

    ``version`` is the highest certified one. ``used`` is the number of the key that this operator's share of it is encrypted to,
    ``None`` if no dealing serves it.
    """
    listed = version.key_of(me)
    floor = version.boundary.number
    kept = {number for number in held if number > floor}
    if listed is not None:
        kept.add(listed.number)
    if used is not None and not has_share:
        kept.add(used)
    return frozenset(kept & set(held))
