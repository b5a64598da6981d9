"""The newest certified version, for tasks that wait for another one."""

import trio

from eigenkms.node.key_versions import Versions
from eigenkms.wire.certified_transcript import CertifiedTranscript


class NewestVersion:
    """Wakes its waiters when the newest version, or the share of it, has changed."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._last = versions.newest
        self._changed = trio.Event()

    def wake_if_changed(self) -> None:
        """Compare with the last call, after a step of the machines."""
        if self._versions.newest is not self._last:
            self._last = self._versions.newest
            self._changed.set()
            self._changed = trio.Event()

    async def wait_for_newer(self, transcript_hash: bytes | None) -> CertifiedTranscript:
        """Return the newest certified version once its hash is another one."""
        while True:
            newest = self._versions.newest
            if newest is not None and newest.epoch.transcript.hash != transcript_hash:
                return newest.epoch
            await self._changed.wait()
