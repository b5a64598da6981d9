"""Settings: one table, and the places that a value may come from.

The first of these places that has a value wins: the flag, the environment variable, the TOML file, the preset that ``environment``
names, the default. Every value has one text form and one parser for all places. The file is typed too, so a number in quotes is an
error. A file with an unknown key is refused: a misspelt ``genesis_quorum`` would otherwise be a silent default.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eigenkms.config.home_folder import expanded
from eigenkms.config.parsers import DescribedParser, Parser, rpc_url, signer_url
from eigenkms.errors import InputError
from eigenkms.plain_text import MARK, NotUtf8Error, decode_text


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the settings.

    It is ``name`` in the file, ``--na-me`` as a flag, and ``EIGENKMS_NAME`` in the environment.
    """

    name: str
    parse: Parser
    help: str
    toml: type = str
    many: bool = False
    default: Any = None
    scalar_allowed: bool = False
    """Of one that may have many values: in the file it need not be a list."""
    is_path: bool = False
    example: str = ""
    """A text where there is no default and the parser has no example."""
    flag_name: str = ""
    """The flag where it differs from the name, for settings of one verb: ``--operators`` of ``devnet_operators``."""

    @property
    def flag(self) -> str:
        return self.flag_name or "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "EIGENKMS_" + self.name.upper()

    @property
    def is_secret(self) -> bool:
        """Return whether a value may hold a secret, such as the API key in a URL."""
        return self.parse in (rpc_url, signer_url)

    @property
    def type_name(self) -> str:
        names = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
        if not self.many:
            return names[self.toml]
        several = f"a list, each {names[self.toml]}"
        return f"{names[self.toml]} or {several}" if self.scalar_allowed else several

    @property
    def form(self) -> str:
        """Return the form of its text beyond the type, or nothing."""
        return self.parse.form if isinstance(self.parse, DescribedParser) else ""

    @property
    def example_text(self) -> str:
        """Return a text that parses."""
        found = self.parse.example if isinstance(self.parse, DescribedParser) else ""
        return self.example or found

    def fits(self, value: object) -> bool:
        """Return whether a TOML value has this setting's type."""
        if self.many and (isinstance(value, list) or not self.scalar_allowed):
            return isinstance(value, list) and all(self._fits_one(v) for v in value)
        return self._fits_one(value)

    def _fits_one(self, value: object) -> bool:
        if self.toml is float:
            return type(value) in (int, float)
        return type(value) is self.toml


@dataclass(frozen=True, slots=True, repr=False)
class RawValue:
    """The text form(s) of a value and where it was given, for messages."""

    texts: tuple[str, ...]
    where: str


class Settings:
    """The table with what was given for it; parses a value when it is asked for."""

    def __init__(
        self, table: Mapping[str, Setting], given: Mapping[str, RawValue], file: Path | None = None
    ) -> None:
        self._table = table
        self._given = given
        self.file = file
        """The configuration file that was read, if one was."""

    def __repr__(self) -> str:
        return f"<Settings {', '.join(sorted(self._given))}>"

    @classmethod
    def gather(
        cls,
        table: Mapping[str, Setting],
        *,
        flags: Mapping[str, object],
        environ: Mapping[str, str],
        file: Path | None = None,
        presets: Mapping[str, Mapping[str, str]] | None = None,
        problems: list[InputError] | None = None,
        text: str | None = None,
    ) -> "Settings":
        """Collect values by their order of precedence.

        A flag that is None or an empty tuple was not given. ``text`` stands for what the file has, where it is not there yet.

        InputError: the file is missing or not TOML, has an unknown key or a wrong type; the preset does not
        exist. With ``problems``, keys of the file that are wrong are left out and their errors go there.
        """
        given = _from_file(table, file, text, problems) if file is not None else {}
        given |= _from_environment(table, environ)
        given |= _from_flags(table, flags)
        if presets is not None:
            given = _from_preset(presets, given.get("environment")) | given
        return cls(table, given, file)

    def get(self, name: str) -> Any:
        """Return the parsed value, or the default.

        InputError names the place of a value that does not parse.
        """
        setting, given = self._table[name], self._given.get(name)
        if given is None:
            return setting.default
        try:
            values = tuple(setting.parse(text) for text in given.texts)
        except ValueError as error:
            raise InputError(f"read {name} from {given.where}: {error}") from error
        return values if setting.many else values[0]

    def require(self, name: str) -> Any:
        """Return the value as ``get``.

        Raises ``InputError`` if there is no value and no default.
        """
        value = self.get(name)
        if value is None or value == ():
            setting = self._table[name]
            raise InputError(
                f"read {name}: it is not set",
                hint=f"give {setting.flag}, set {setting.variable}, or write {name} = … in the config file",
            )
        return value

    def where(self, name: str) -> str:
        """Return the origin of the value, for messages."""
        given = self._given.get(name)
        return given.where if given else "the default"

    def raw_texts(self, name: str) -> tuple[str, ...]:
        """Return the text form(s) that were given; none if the default applies."""
        given = self._given.get(name)
        return given.texts if given else ()


def _from_flags(table: Mapping[str, Setting], flags: Mapping[str, object]) -> dict[str, RawValue]:
    texts = {name: _texts(value) for name, value in flags.items() if value not in (None, ())}
    return {name: RawValue(text, table[name].flag) for name, text in texts.items()}


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else (value,)
    return tuple(str(v).lower() if isinstance(v, bool) else str(v) for v in values)


def _from_environment(table: Mapping[str, Setting], environ: Mapping[str, str]) -> dict[str, RawValue]:
    given = {}
    for setting in table.values():
        text = environ.get(setting.variable, "").removeprefix(MARK).rstrip("\r\n")
        if text:
            texts = tuple(t.strip() for t in text.split(",")) if setting.many else (text,)
            given[setting.name] = RawValue(texts, f"the environment variable {setting.variable}")
    return given


def _from_preset(presets: Mapping[str, Mapping[str, str]], chosen: RawValue | None) -> dict[str, RawValue]:
    if chosen is None:
        return {}
    (name,) = chosen.texts
    if name not in presets:
        raise InputError(
            f"read environment from {chosen.where}: there is no preset {name!r}",
            hint=f"use one of {', '.join(sorted(presets))}, or none and give each setting",
        )
    return {key: RawValue((text,), f"the preset {name}") for key, text in presets[name].items()}


def _from_file(
    table: Mapping[str, Setting], path: Path, text: str | None, problems: list[InputError] | None
) -> dict[str, RawValue]:
    text = _read(path) if text is None else text
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = str(error)[:1].lower() + str(error)[1:]
        raise InputError(
            f"read configuration file {path}: {reason}", hint="the file is TOML: key = value"
        ) from error
    given = {}
    for key, value in content.items():
        try:
            given[key] = _given(table, path, key, value, _line(text, key))
        except InputError as error:
            if problems is None:
                raise
            problems.append(error)
    return given


def _read(path: Path) -> str:
    try:
        return decode_text(path.read_bytes())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"read configuration file {path}: {reason}", hint="check --config") from error
    except NotUtf8Error as error:
        raise InputError(f"read configuration file {path}: {error}") from error


def _line(text: str, key: str) -> int:
    """Return the line of ``key``, as key or as table.

    1 where it is written in some rarer way.
    """
    pattern = re.compile(rf"""\s*(\[+\s*)?["']?{re.escape(key)}["']?\s*[\]=.]""")
    lines = (number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line))
    return next(lines, 1)


def _given(table: Mapping[str, Setting], path: Path, key: str, value: Any, line: int) -> RawValue:
    where = f"{path} line {line}"
    setting = table.get(key)
    if setting is None:
        near = difflib.get_close_matches(key, table, n=1, cutoff=0.0)
        raise InputError(f"read {where}: there is no setting {key!r}", hint=f"did you mean {near[0]}?")
    if not setting.fits(value):
        raise InputError(f"read {key} from {where}: it must be {setting.type_name}")
    texts = _texts(value)
    if setting.is_path:
        try:
            texts = tuple(str(path.parent / expanded(t)) for t in texts)
        except ValueError as error:
            raise InputError(f"read {key} from {where}: {error}", hint="write the whole path") from error
    return RawValue(texts, where)
