"""The parts of a ceremony, for the tests that are about one of them. No other test module looks inside a ceremony."""

from eigenkms.protocols.ceremony.agreement import Agreement
from eigenkms.protocols.ceremony.base_versions import BaseVersions
from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.protocols.ceremony.dealing_pool import DealingPool
from eigenkms.protocols.ceremony.frame_log import FrameLog
from eigenkms.protocols.ceremony.sharing import SharingPhase
from eigenkms.wire.key_directory import KeyDirectory


def agreement_of(ceremony: Ceremony) -> Agreement:
    """Return the agreement on a transcript."""
    return ceremony._agreement


def base_versions_of(ceremony: Ceremony) -> BaseVersions:
    """Return the versions that are dealt from, each with its dealings."""
    return ceremony._sources


def frame_log_of(ceremony: Ceremony) -> FrameLog:
    """Return the frames that count."""
    return ceremony._log


def keys_of(ceremony: Ceremony) -> KeyDirectory:
    """Return the encryption keys that were published."""
    return ceremony._keys


def dealing_pool_of(dealings: SharingPhase) -> DealingPool:
    """Return the dealings that came, each with its stage."""
    return dealings._pool
