"""The settings of one run.

The table of settings with the values of flags, environment, file and preset.
"""

from collections.abc import Mapping
from pathlib import Path

from eigenkms.config.presets import PRESETS
from eigenkms.config.schema import SETTINGS
from eigenkms.config.settings import Settings


def gather(
    flags: Mapping[str, object],
    *,
    environ: Mapping[str, str],
    file: Path | None = None,
    text: str | None = None,
) -> Settings:
    """Collect the values of all settings; ``text`` replaces the content of ``file``.

    Raises ``InputError`` as ``Settings.gather``.
    """
    return Settings.gather(SETTINGS, flags=flags, environ=environ, file=file, presets=PRESETS, text=text)
