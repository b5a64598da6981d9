"""The floor: the version that an operator committed to, or knows to be certified.

It prepares no fresh transcript from an older version in a later session. A later lock takes the place of an earlier one, and a
certified version that of a lock in its session or before.
"""

from collections.abc import Sequence

from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.protocols.ceremony.holdings import KnownVersion
from eigenkms.wire.messages import SourceRef, ref_of


def raised(
    floor: SourceRef,
    ceremonies: Sequence[Ceremony],
    versions: Sequence[KnownVersion],
    certified: KnownVersion | None,
) -> SourceRef:
    """Return the floor after ``ceremonies``, oldest first.

    ``versions`` ascend by rank; ``certified`` is the highest certified one.
    """
    for ceremony in ceremonies:
        bound = bound_by(ceremony, versions)
        if bound is not None and bound.version >= floor.version:
            floor = bound
    if certified is not None and certified.transcript.version >= floor.version:
        floor = ref_of(certified.transcript)
    return floor


def bound_by(ceremony: Ceremony, versions: Sequence[KnownVersion]) -> SourceRef | None:
    """Return what binds this operator to a session.

    It is the transcript that it committed to, or one that the session prepared in a later view.

    The latter shows that the former was not certified in the view of this operator's vote. Without this, an operator that is locked
    on the former and deals from the latter would never prepare again.
    """
    locked = ceremony.locked
    if locked is None:
        return None
    made = [known for known in versions if known.transcript.session == locked.session]
    later = [known for known in made if known.certificate.view > ceremony.locked_in]
    return ref_of(later[-1].transcript if later else locked)
