"""The known-clusters file: the master public key of each cluster, once seen.

Text, one cluster a line: ``<cluster id hex> <master public key hex> <unix seconds>``; ``#`` begins a comment. Written atomically,
mode 0600. It is to clusters what ``known_hosts`` is to ssh. The first line of a new file is a comment with the version of the
format and the release that wrote it.
"""

import os
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from eigenkms import __version__
from eigenkms.client.errors import KeyChangedError
from eigenkms.errors import InputError
from eigenkms.plain_text import NotUtf8Error, decode_text
from eigenkms.types import ClusterId

VERSION: Final = 1
_TITLE: Final = "# eigenkms known clusters"


class KnownClusters:
    """The file, read at each call, so that several processes may share it.

    Blocking, for well under a millisecond.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, cluster: ClusterId) -> bytes | None:
        """Return the pinned master public key (96 bytes), or None.

        Raises ``InputError`` naming a line that is invalid.
        """
        return self._read().get(cluster)

    def check(self, cluster: ClusterId, mpk: bytes) -> bool:
        """Return whether ``mpk`` is the pinned key; False if none is pinned.

        Raises ``KeyChangedError`` if another key is pinned.
        """
        pinned = self.get(cluster)
        if pinned is not None and pinned != mpk:
            raise KeyChangedError(
                f"verify master public key: cluster {cluster.hex()[:16]} has {mpk.hex()[:16]}…, "
                f"but {self.path} pins {pinned.hex()[:16]}…"
            )
        return pinned is not None

    def pin(self, cluster: ClusterId, mpk: bytes) -> None:
        """Add the cluster if it is new.

        Raises ``InputError`` if the file cannot be written.
        """
        if self.check(cluster, mpk):
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            before = self._text() if self.path.exists() else f"{_TITLE} {VERSION} {__version__}\n"
            line = f"{cluster.hex()} {mpk.hex()} {int(time.time())}\n"
            self._replace(before if not before or before.endswith("\n") else before + "\n", line)
        except OSError as error:
            raise InputError(
                f"pin cluster in {self.path}: {error.strerror}",
                hint="give another file with --known-clusters",
            ) from error

    def _replace(self, before: str, line: str) -> None:
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(before + line)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _read(self) -> dict[ClusterId, bytes]:
        try:
            lines = self._text().splitlines()
        except FileNotFoundError:
            return {}
        except (OSError, NotUtf8Error) as error:
            raise InputError(f"read {self.path}: {error}") from error
        self._check_version(lines)
        found = {}
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.startswith("#"):
                cluster, mpk = self._parse(number, line)
                found[cluster] = mpk
        return found

    def _text(self) -> str:
        return decode_text(self.path.read_bytes())

    def _check_version(self, lines: Sequence[str]) -> None:
        """Raise ``InputError`` for a file of another version of the format.

        A file without a title is of version 1, as the first releases wrote it.
        """
        title = (
            re.fullmatch(rf"{_TITLE} ([0-9]{{1,9}})(?: ([0-9A-Za-z.+!_-]{{1,64}}))?", lines[0])
            if lines
            else None
        )
        if title is not None and int(title[1]) != VERSION:
            by = f" (written by release {title[2]})" if title[2] else ""
            raise InputError(
                f"read {self.path}: version {title[1]}{by} is not {VERSION}, which this eigenkms knows",
                hint="use the release that wrote it, or a newer one; nothing was changed",
            )

    def _parse(self, number: int, line: str) -> tuple[ClusterId, bytes]:
        try:
            cluster, mpk = (bytes.fromhex(word) for word in line.split()[:2])
        except ValueError:
            cluster, mpk = b"", b""
        if len(cluster) != 32 or len(mpk) != 96:
            raise InputError(
                f"read {self.path} line {number}: not a cluster id and a master public key in hex",
                hint="mend or remove that line",
            )
        return ClusterId(cluster), mpk
