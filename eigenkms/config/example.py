"""The settings for readers.

Defaults in words, and an example of a configuration file with every key explained.
"""

import json
import re
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from eigenkms.config.paths import DEFAULT_DATA_DIR, DEFAULT_KNOWN_CLUSTERS
from eigenkms.config.presets import PRESETS
from eigenkms.config.schema import ALIKE, GROUPS, NODE_REQUIRED, SETTINGS
from eigenkms.config.schema.chain import DEFAULT_ANCHOR_FINALITY, DEFAULT_FINALITY
from eigenkms.config.schema.node import DEFAULT_LISTEN, WINDOWS_PER_INTERVAL
from eigenkms.config.settings import Setting

DERIVED = {
    "data_dir": f"`~/{DEFAULT_DATA_DIR}`",
    "listen": f"`{DEFAULT_LISTEN}`",
    "finality": f"`{DEFAULT_FINALITY}`",
    "window_seconds": f"`interval_blocks` · `block_seconds` / {WINDOWS_PER_INTERVAL}",
    "anchor_finality": f"`{DEFAULT_ANCHOR_FINALITY}`",
    "known_clusters": f"`~/{DEFAULT_KNOWN_CLUSTERS}`",
    "devnet_interval_blocks": "`10`; scenario rotation: `8`",
    "devnet_block_seconds": "`1`",
    "devnet_window_seconds": "`1`; scenario rotation: `0.5`",
}
"""Defaults in Markdown that are computed when the setting is used."""

_WIDTH = 100

_HEAD = """\
# Settings of eigenkms, every key of them. Made by "eigenkms config example{flags}".
#
# What has no "#" before it you must set; the rest shows its default, or an example where there is none.
# A flag wins over an environment variable (EIGENKMS_ and the key in capitals), that over this file, that
# over the preset that "environment" names. A relative path is relative to this file. To check the file:
# eigenkms config check --config FILE
"""


def default_of(setting: Setting) -> str:
    """Return the default in Markdown: "none", values in backquotes, or a formula."""
    if setting.name in DERIVED:
        return DERIVED[setting.name]
    if setting.default in (None, ()):
        return "none"
    values = setting.default if isinstance(setting.default, tuple) else (setting.default,)
    return ", ".join(f"`{str(v).lower() if isinstance(v, bool) else v}`" for v in values)


def example(environment: str | None = None) -> str:
    """Return a TOML file with every key: its meaning, type, form and default.

    Only keys that must be set are not comments.

    ``environment`` is the name of a preset, whose values replace the defaults.
    """
    flags = "" if environment is None else f" --environment {environment}"
    preset = PRESETS[environment] if environment is not None else {}
    parts = [_HEAD.format(flags=flags)]
    for title, names in GROUPS.items():
        parts.append(f"# === {title}\n")
        parts.extend("\n".join(_entry(SETTINGS[name], environment, preset.get(name))) for name in names)
    return "\n".join(parts)


def _entry(setting: Setting, environment: str | None, preset: str | None) -> Iterator[str]:
    chosen = setting.name == "environment" and environment is not None
    must = chosen or (setting.name in NODE_REQUIRED and preset is None)
    for text in (setting.help, _description(setting, must=must, preset=preset)):
        yield from (f"# {line}" for line in wrap(text, _WIDTH))
    value = json.dumps(environment) if chosen else _value(setting, preset)
    yield f"{'' if must else '# '}{setting.name} = {value}\n"


def _description(setting: Setting, *, must: bool, preset: str | None) -> str:
    """Return type, form, and the origin of the value below."""
    kind = setting.type_name + (f": {setting.form}" if setting.form else "")
    default = default_of(setting)
    if must:
        place = "Must be set."
    elif preset is not None:
        place = "From the preset."
    elif default == "none":
        place = "No default; an example:"
    elif _literal_default(setting) is None:
        place = f"Default: {default.replace('`', '')}; an example:"
    else:
        place = "Default:"
    alike = "The same at all operators. " if setting.name in ALIKE else ""
    return f"{kind[:1].upper()}{kind[1:]}. {alike}{place}"


def _literal_default(setting: Setting) -> Any:
    """Return the default if it can be written down, or None."""
    derived = re.fullmatch(r"`([^` ]+)`", DERIVED.get(setting.name, ""))
    if derived is None or setting.toml is not str:
        return setting.default or (None if setting.many else setting.default)
    return (derived[1],) if setting.many else derived[1]


def _value(setting: Setting, preset: str | None) -> str:
    """Return the value in TOML: of the preset, else the default, else an example."""
    value: Any = preset if preset is not None else _literal_default(setting)
    if value is None:
        value = (setting.example_text,) if setting.many else setting.example_text
    if isinstance(value, tuple):
        return "[" + ", ".join(_literal(setting, each) for each in value) + "]"
    return _literal(setting, value)


def _literal(setting: Setting, value: Any) -> str:
    return json.dumps(str(value)) if setting.toml is str else str(value).lower()
