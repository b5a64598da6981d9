"""Validation of a configuration file without the network.

All its problems at once, and the effective values.

A URL is shown without the parts that may be secret: name, password, path and query.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from eigenkms.chain.endpoints import check_distinct
from eigenkms.config.chain import anchor_config
from eigenkms.config.node import NodeConfig, node_values
from eigenkms.config.presets import PRESETS
from eigenkms.config.schema import (
    CLIENT_SETTINGS,
    NODE_REQUIRED,
    NODE_SETTINGS,
    READER_SETTINGS,
    REQUIRED,
    SETTINGS,
)
from eigenkms.config.settings import Setting, Settings
from eigenkms.errors import InputError

CREATED_BY_EIGENKMS = frozenset({"data_dir", "devnet_dir", "known_clusters", "launcher_socket"})
"""Paths that eigenkms creates, or that need not be on this machine."""

_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?:[^\s/?#@'\"]*@)?(?P<host>[^\s/?#'\"]*)(?P<rest>[^\s'\"]*)"
)


@dataclass(frozen=True)
class EffectiveValue:
    """The value of a setting, as text, and its origin."""

    value: str
    where: str


@dataclass
class ValidationReport:
    """``problems`` are (message, hint); ``effective`` has the values that parse.

    ``warnings`` are those of a node's start.
    """

    problems: list[tuple[str, str | None]] = field(default_factory=list)
    effective: dict[str, EffectiveValue] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def add(self, error: InputError) -> None:
        """Note a problem, without secrets of URLs."""
        self.problems.append((without_url_secrets(str(error)), error.hint))


def check(file: Path, *, environ: Mapping[str, str], client: bool = False) -> ValidationReport:
    """Validate a node's settings, or a client's, without the network.

    Reads no key and no password.
    """
    report = ValidationReport()
    found: list[InputError] = []
    try:
        settings = Settings.gather(
            SETTINGS, flags={}, environ=environ, file=file, presets=PRESETS, problems=found
        )
    except InputError as error:
        found.append(error)
        settings = None
    for each in found:
        report.add(each)
    if settings is not None:
        _inspect(settings, report, client=client)
    return report


def _inspect(settings: Settings, report: ValidationReport, *, client: bool) -> None:
    """Parse each setting, check how they fit together, and note the effective values."""
    misspelt = bool(report.problems)
    for name in SETTINGS:
        _collect(partial(settings.get, name), report)
    for name in () if misspelt else REQUIRED if client else NODE_REQUIRED:
        if not settings.raw_texts(name):
            _collect(partial(settings.require, name), report)
    values: Mapping[str, Any] = {}
    if not report.problems:
        values = _check_client(settings, report) if client else _check_node(settings, report)
    shown = CLIENT_SETTINGS if client else NODE_SETTINGS
    for setting in SETTINGS.values():
        if settings.raw_texts(setting.name):
            _inspect_given(setting, settings, report)
        elif setting.name in shown:
            value = values.get(setting.name, settings.get(setting.name))
            if value not in (None, ()):
                report.effective[setting.name] = EffectiveValue(_text(value), settings.where(setting.name))


def _check_client(settings: Settings, report: ValidationReport) -> Mapping[str, Any]:
    """Check how a client's settings fit together.

    Returns no values: none depends on another.
    """
    _collect(lambda: anchor_config(*(settings.get(name) for name in READER_SETTINGS)), report)
    _collect(lambda: check_distinct(settings.get("rpc_url")), report)
    return {}


def _check_node(settings: Settings, report: ValidationReport) -> Mapping[str, Any]:
    """Check a node's configuration, and return its values, none if it is refused."""
    config = _collect(partial(NodeConfig.from_settings, settings), report)
    if config is None:
        return {}
    report.warnings = config.warnings
    return node_values(settings)


def _collect(action: Callable[[], Any], report: ValidationReport) -> Any:
    """Return the result, or note the error and return None."""
    try:
        return action()
    except InputError as error:
        report.add(error)
    return None


def _inspect_given(setting: Setting, settings: Settings, report: ValidationReport) -> None:
    """Note the value as it was given, if it parses; its files must exist."""
    name, where = setting.name, settings.where(setting.name)
    try:
        value = settings.get(name)
    except InputError:
        return
    report.effective[name] = EffectiveValue(
        ", ".join(map(without_url_secrets, settings.raw_texts(name))), where
    )
    if setting.is_path and name not in CREATED_BY_EIGENKMS:
        for path in value if setting.many else (value,):
            _collect(partial(_must_be_file, name, path, where), report)


def _text(value: Any) -> str:
    values = value if isinstance(value, tuple) else (value,)
    return ", ".join(str(v).lower() if isinstance(v, bool) else str(v) for v in values)


def _must_be_file(name: str, path: Path, where: str) -> None:
    if not path.is_file():
        reason = "it is not a file" if path.exists() else "no such file"
        raise InputError(
            f"use {name} from {where}: {path}: {reason}",
            hint="a path in the file is relative to the file's own folder",
        )


def without_url_secrets(text: str) -> str:
    """Cut each URL in the text to scheme, host and port.

    A provider's URL holds its key in path, query or password.
    """
    return _URL.sub(
        lambda url: url["scheme"] + url["host"] + ("/…" if len(url["rest"]) > 1 else url["rest"]), text
    )
