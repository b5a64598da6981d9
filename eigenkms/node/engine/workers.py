"""The threads in which the machines' long work is done, beside their steps.

Why threads and not processes. The native libraries hold the interpreter's lock, so two threads at once take as long as one after
the other. But they hold it for one call only. In measurements with 7, 20 and 50 recipients, a loop beside a worker waited at most
70 ms. A batch of 50 dealings took 13 s. So nothing is late because of a worker, and no secret crosses a pipe. The second thread is
there so that a dealing does not wait for a batch of checks.

A thread cannot be stopped. When the engine ends, jobs under way are left alone: they change nothing, and end with the process.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from eigenkms.crypto import pvss
from eigenkms.crypto.hashing import Rng
from eigenkms.protocols.ceremony.jobs import Job, OpenJob, Result, run_job

THREADS: Final = 2


class Workers:
    """Runs jobs in ``THREADS`` threads.

    ``rng`` yields secret randomness and is called from several threads. ``make_table`` takes 0.5 to 1.5 s and is called once.
    """

    def __init__(self, rng: Rng, make_table: Callable[[], pvss.LogarithmTable] = pvss.LogarithmTable) -> None:
        self._rng = rng
        self._make_table = make_table
        self._table: pvss.LogarithmTable | None = None
        self._making = threading.Lock()
        self._limiter = trio.CapacityLimiter(THREADS)

    async def prepare(self) -> None:
        """Make the table that decrypts shares, so that the first share does not wait."""
        await trio.to_thread.run_sync(
            self._known_table,
            limiter=self._limiter,
            abandon_on_cancel=True,
        )

    async def run_job(self, job: Job) -> Result:
        """Do the work of a job. Cancellation is immediate, although the thread goes on."""
        return await trio.to_thread.run_sync(
            partial(self._compute, job),
            limiter=self._limiter,
            abandon_on_cancel=True,
        )

    def _compute(self, job: Job) -> Result:
        table = self._known_table() if isinstance(job, OpenJob) else None
        return run_job(job, self._rng, table)

    def _known_table(self) -> pvss.LogarithmTable:
        with self._making:
            if self._table is None:
                self._table = self._make_table()
            return self._table
