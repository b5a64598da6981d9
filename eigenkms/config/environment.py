"""The environment of programs that eigenkms starts.

Without the secrets of eigenkms.
"""

from collections.abc import Mapping

from eigenkms.config.schema import SETTINGS

_PASSED_ON = frozenset(each.variable for each in SETTINGS.values() if not each.is_secret) | {
    "EIGENKMS_CONFIG",
    "EIGENKMS_DEBUG",
}
"""Variables of eigenkms that are known to hold no secret."""


def without_own_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the environment that a program of a third party may have.

    It lacks each variable of eigenkms that is not known to hold no secret, so a new password needs no entry here.
    """
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("EIGENKMS_") or name in _PASSED_ON
    }
