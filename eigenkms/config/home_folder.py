"""Find the home folder of the user who runs this process.

There may be none: a service or a container can run without ``HOME``, under a user id that has no account. A path that
needs the folder is refused then. A setting can name every path instead.
"""

import os
import pwd
from pathlib import Path


def expanded(text: str) -> Path:
    """Return a path in which ``~`` stands for the home folder, as in a shell.

    Raises ``ValueError`` if there is none.
    """
    first, _, rest = text.partition("/")
    if first == "~":
        return home() / rest
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"there is no user {first[1:40]!r}") from None


def home() -> Path:
    """Return ``HOME``, else the account's home folder.

    Raises ``ValueError`` if neither names one.
    """
    path = os.environ.get("HOME") or _home_of_account()
    if not os.path.isabs(path):  # noqa: PTH117 - also of an empty text
        raise ValueError(f"HOME is not set, and user id {os.getuid()} has no home folder")
    return Path(path)


def _home_of_account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""
