"""A client without pause: it encrypts a new secret, decrypts it, and begins again.

It is one ``eigenkms.client.Client`` for the whole run, with real connections, as in a program. A decryption has failed if it
raised, or returned other bytes than were encrypted.
"""

import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Protocol

import trio

from eigenkms.client.api import encrypt
from eigenkms.client.cluster_info import ClusterInfo
from eigenkms.errors import EigenKmsError
from eigenkms.types import AppId, Version

APPS = tuple(AppId(f"steady-app-{number}") for number in range(8))
"""Applications it decrypts for, in turn, if it is given no others."""
SECRET_BYTES = 64
AFTER_FAILURE_SECONDS = 0.2
MAX_TOLD = 20


@dataclass(frozen=True)
class Failure:
    """A decryption that failed: when (unix seconds), and why."""

    when: float
    why: str


@dataclass
class LatencyStats:
    """Results of decryptions; latencies in seconds, of those that succeeded."""

    latencies: list[float] = field(default_factory=list)
    versions: Counter[Version] = field(default_factory=Counter)
    """Which key version served how many."""
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    """The first of them."""

    @property
    def succeeded(self) -> int:
        return len(self.latencies)

    def quantile(self, share: float) -> float:
        """Return the latency that this share of the successes did not exceed.

        NaN without any.
        """
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan

    def add_failure(self, failure: Failure) -> None:
        self.failed += 1
        if len(self.failures) < MAX_TOLD:
            self.failures.append(failure)


class Decryptor(Protocol):
    """The part of ``eigenkms.client.api.Client`` that the load uses."""

    @property
    def version(self) -> Version | None: ...

    async def decrypt(self, app_id: AppId, ciphertext: bytes) -> bytes: ...


class LoadGenerator:
    """``total`` counts all; ``lap`` returns what was counted since the last lap."""

    def __init__(self, client: Decryptor, info: ClusterInfo, apps: Sequence[AppId] = APPS) -> None:
        self._client = client
        self._info = info
        self._apps = apps
        self._tallies = (LatencyStats(), LatencyStats())

    @property
    def total(self) -> LatencyStats:
        return self._tallies[0]

    @property
    def this_lap(self) -> LatencyStats:
        """Return the decryptions since the last lap ended."""
        return self._tallies[1]

    def lap(self) -> LatencyStats:
        """Begin a new lap, and return the one before."""
        total, lap = self._tallies
        self._tallies = (total, LatencyStats())
        return lap

    async def run(self) -> None:
        """Decrypt until cancelled. The decryption that is cancelled is not counted."""
        for app in cycle(self._apps):
            secret = os.urandom(SECRET_BYTES)
            ciphertext = await trio.to_thread.run_sync(encrypt, self._info, app, secret)
            begun = trio.current_time()
            why = await self._decrypt(app, ciphertext, secret)
            took = trio.current_time() - begun
            if why is None:
                self._succeeded(took)
            else:
                self._failed(why)
                await trio.sleep(AFTER_FAILURE_SECONDS)

    async def _decrypt(self, app: AppId, ciphertext: bytes, secret: bytes) -> str | None:
        """Return why it failed, if it did."""
        try:
            plaintext = await self._client.decrypt(app, ciphertext)
        except EigenKmsError as error:
            return str(error)
        return None if plaintext == secret else "the plaintext is not what was encrypted"

    def _succeeded(self, took: float) -> None:
        version = self._client.version
        for tally in self._tallies:
            tally.latencies.append(took)
            if version is not None:
                tally.versions[version] += 1

    def _failed(self, why: str) -> None:
        failure = Failure(time.time(), why)
        for tally in self._tallies:
            tally.add_failure(failure)
