"""Default paths: in ``.eigenkms`` of the user's home folder, if no setting names another path."""

from pathlib import Path
from typing import Final

from eigenkms.config.home_folder import home
from eigenkms.config.settings import Settings
from eigenkms.errors import InputError

FOLDER_NAME: Final = ".eigenkms"


def data_dir(settings: Settings) -> Path:
    """Return the node's data folder: as set, else ``~/.eigenkms/node``. Raises ``InputError`` if there is neither."""
    found: Path | None = settings.get("data_dir")
    return found or _default("node", "find the data folder", "--data-dir FOLDER")


def known_clusters(settings: Settings) -> Path:
    """Return the file that pins master public keys: as set, else ``~/.eigenkms/known_clusters``.

    Raises ``InputError`` if there is neither.
    """
    found: Path | None = settings.get("known_clusters")
    return found or _default("known_clusters", "find the file of known clusters", "--known-clusters FILE")


def _default(name: str, action: str, option: str) -> Path:
    try:
        return home() / FOLDER_NAME / name
    except ValueError as error:
        raise InputError(f"{action}: {error}", hint=f"give {option}, or set HOME") from error
