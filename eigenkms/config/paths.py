"""Default paths.

In ``.eigenkms`` of the user's home folder, and in the node's data folder.
"""

from pathlib import Path
from typing import Final

from eigenkms.config.home_folder import home
from eigenkms.config.settings import Settings
from eigenkms.errors import InputError

FOLDER_NAME: Final = ".eigenkms"
DEFAULT_DATA_DIR: Final = f"{FOLDER_NAME}/node"
DEFAULT_KNOWN_CLUSTERS: Final = f"{FOLDER_NAME}/known_clusters"
"""Paths below the home folder."""
P2P_KEYSTORE_NAME: Final = "p2p.json"
"""Name of the p2p keystore that a node makes in its data folder."""


def data_dir(settings: Settings) -> Path:
    """Return the node's data folder: as set, else ``~/.eigenkms/node``.

    Raises ``InputError`` if there is neither.
    """
    found: Path | None = settings.get("data_dir")
    return found or _default(DEFAULT_DATA_DIR, "find the data folder", "--data-dir FOLDER")


def known_clusters(settings: Settings) -> Path:
    """Return the file that pins master public keys.

    As set, else ``~/.eigenkms/known_clusters``.

    Raises ``InputError`` if there is neither.
    """
    found: Path | None = settings.get("known_clusters")
    return found or _default(
        DEFAULT_KNOWN_CLUSTERS, "find the file of known clusters", "--known-clusters FILE"
    )


def p2p_keystore(settings: Settings) -> Path:
    """Return the p2p keystore: as set, else ``p2p.json`` in the data folder.

    Raises ``InputError`` as ``data_dir``.
    """
    found: Path | None = settings.get("p2p_keystore")
    return found or data_dir(settings) / P2P_KEYSTORE_NAME


def _default(name: str, action: str, option: str) -> Path:
    try:
        return home() / name
    except ValueError as error:
        raise InputError(f"{action}: {error}", hint=f"give {option}, or set HOME") from error
