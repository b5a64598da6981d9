"""The known-clusters file: the master public key of each cluster, pinned when it was first seen.

Text, one cluster a line: ``<cluster id hex> <master public key hex> <unix seconds>``; ``#`` begins a comment. Written atomically,
mode 0600. It is to clusters what ``known_hosts`` is to ssh.
"""

import os
import tempfile
import time
from pathlib import Path

from eigenkms.client.errors import KeyChangedError
from eigenkms.errors import InputError
from eigenkms.types import ClusterId


class KnownClusters:
    """Reads the file at each call, so that several processes may share it. Blocking, but tiny."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, cluster: ClusterId) -> bytes | None:
        """The pinned master public key (96 bytes), or ``None``. Raises ``InputError`` naming a line that is none."""
        return self._read().get(cluster)

    def check(self, cluster: ClusterId, mpk: bytes) -> bool:
        """Whether ``mpk`` is the pinned key; ``False`` if none is pinned. Raises ``KeyChangedError`` if it is another."""
        pinned = self.get(cluster)
        if pinned is not None and pinned != mpk:
            raise KeyChangedError(
                f"verify master public key: cluster {cluster.hex()[:16]} has {mpk.hex()[:16]}…, "
                f"but {self.path} pins {pinned.hex()[:16]}…"
            )
        return pinned is not None

    def pin(self, cluster: ClusterId, mpk: bytes) -> None:
        """Add the cluster if it is new. Raises ``InputError`` if the file cannot be written."""
        if self.check(cluster, mpk):
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            before = self.path.read_text() if self.path.exists() else ""
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
            with os.fdopen(handle, "w") as file:
                file.write(before + line)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _read(self) -> dict[ClusterId, bytes]:
        try:
            lines = self.path.read_text().splitlines()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"read {self.path}: {error}") from error
        found = {}
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.startswith("#"):
                cluster, mpk = self._parse(number, line)
                found[cluster] = mpk
        return found

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
