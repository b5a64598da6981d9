"""The release of eigenkms that opened a data folder last, a line of text in it.

A release that finds a newer format in the folder names the one that wrote it.
"""

import os
import re
from pathlib import Path
from typing import Final

from eigenkms import __version__
from eigenkms.storage.data_dir import storage_error, sync_folder

RELEASE_NAME: Final = "release"
_RELEASE: Final = re.compile(r"[0-9A-Za-z.+!_-]{1,64}")


def read_release(folder: Path) -> str | None:
    """Return the release that last wrote to the folder.

    Returns None if there is none, or none in a form that a message may repeat.
    """
    try:
        with (folder / RELEASE_NAME).open(encoding="ascii") as file:
            text = file.read(100).removesuffix("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return text if _RELEASE.fullmatch(text) else None


def note_release(folder: Path) -> None:
    """Write down that this release opened the folder. Raises ``StorageError``."""
    if read_release(folder) == __version__:
        return
    path = folder / RELEASE_NAME
    fresh = path.with_name(RELEASE_NAME + ".new")
    try:
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(__version__ + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_folder(folder)
    except OSError as error:
        raise storage_error("write", path, error) from error
