"""Where files lie that no setting names: in ``.eigenkms`` of the user's home folder.

There may be none: a service or a container can run without ``HOME``, under a user id that has no account. A path that needs the
folder is refused then; a setting can name every path instead.
"""

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.config.settings import Settings

FOLDER_NAME: Final = ".eigenkms"


def expanded(text: str) -> Path:
    """A path in which ``~`` stands for the home folder, as a shell has it. Raises ``ValueError`` where there is no such folder."""
    first, _, rest = text.partition("/")
    if first == "~":
        return home() / rest
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"there is no user {first[1:40]!r}") from None


def home() -> Path:
    """The user's home folder: ``HOME``, else as the account says. Raises ``ValueError`` where neither names one."""
    path = os.environ.get("HOME") or _home_of_account()
    if not os.path.isabs(path):  # noqa: PTH117 - also of an empty text
        raise ValueError(f"HOME is not set, and user id {os.getuid()} has no home folder")
    return Path(path)


def _home_of_account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def data_dir(settings: "Settings") -> Path:
    """The node's data folder: as set, else ``~/.eigenkms/node``. Raises ``InputError`` where there is neither."""
    found: Path | None = settings.get("data_dir")
    return found or _default("node", "find the data folder", "--data-dir FOLDER")


def known_clusters(settings: "Settings") -> Path:
    """The file that pins master public keys: as set, else ``~/.eigenkms/known_clusters``. Errors as ``data_dir``."""
    found: Path | None = settings.get("known_clusters")
    return found or _default("known_clusters", "find the file of known clusters", "--known-clusters FILE")


def _default(name: str, action: str, option: str) -> Path:
    try:
        return home() / FOLDER_NAME / name
    except ValueError as error:
        raise InputError(f"{action}: {error}", hint=f"give {option}, or set HOME") from error
