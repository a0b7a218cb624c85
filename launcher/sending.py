"""From frozen batches to SLURM jobs: each run is sent once, whatever happens to who sends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from launcher import batches, store
from launcher.errors import SubmissionError
from launcher.records import BatchPart, BatchRecord, SubmissionRecord
from launcher.scheduler.base import Job
from launcher.scheduler.client import FullError, SubmitLimitError, UnsureError
from launcher.scheduler.slurm import SlurmScheduler

LOOK_AGAIN_S = (1.0, 2.0, 4.0)
"""Pauses before a job is looked up again that sbatch may or may not have submitted."""


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Sends batches; what others wait for must come first."""

    scheduler: SlurmScheduler
    completed: Collection[str]
    """Keys of runs that need not be waited for any more."""
    known: Callable[[str], bool]
    """Whether the scheduler has the run of that key."""
    sleep: Callable[[float], None] = time.sleep

    def send(self, paths: Iterable[Path]) -> bool:
        """Send what is not sent yet of each batch; False if the submit limit left some.

        Raises:
            SubmissionError: SLURM refused a batch, or gave no answer.
        """
        return all(self._send(path) for path in paths)

    def _send(self, path: Path) -> bool:
        batch = store.read_record(path, BatchRecord)
        job = self._job(batch)
        if job is None:
            return False
        return all(self._send_range(path, job, *gap) for gap in batches.gaps(batch))

    def _job(self, batch: BatchRecord) -> Job | None:
        """Job of the batch, or None while something that it waits for is not sent."""
        sent = store.read_record(Path(batch.submissions[0]) / "submission.json", SubmissionRecord)
        after = tuple(key for key in sent.after if key not in self.completed)
        if not all(self.known(key) for key in after):
            return None
        return replace(Job.of(sent), after=after)

    def _send_range(self, path: Path, job: Job, first: int, last: int) -> bool:
        """Send elements `first` to `last`; as many as the submit limit leaves room for."""
        size = last - first + 1
        while first <= last:
            try:
                self._sbatch(path, job, first, min(first + size - 1, last))
                first += size
            except FullError:
                return False
            except SubmitLimitError:
                size = min(size, last - first + 1) // 2
                if size == 0:
                    return False
        return True

    def _sbatch(self, path: Path, job: Job, first: int, last: int) -> None:
        before = store.read_record(path, BatchRecord)
        part = BatchPart(first=first, last=last)
        store.write_record(path, before.model_copy(update={"parts": [*before.parts, part]}))
        try:
            job_id = self.scheduler.sbatch(
                job, before.token, (first, last) if before.is_array else None
            )
        except UnsureError:
            if self._was_taken(path):
                return
            raise
        except SubmissionError:
            store.write_record(path, before)
            raise
        parts = [*before.parts, part.model_copy(update={"job_id": job_id})]
        after = before.model_copy(update={"parts": parts})
        store.write_record(path, after)
        self._tell(after)

    def _was_taken(self, path: Path) -> bool:
        """Whether the job is there although sbatch could not say so."""
        for pause_s in LOOK_AGAIN_S:
            self.sleep(pause_s)
            adopted = batches.adopt(path, self.scheduler.queue(), write=False)
            if len(adopted.parts) == len(store.read_record(path, BatchRecord).parts):
                store.write_record(path, adopted)
                self._tell(adopted)
                return True
        return False

    def _tell(self, batch: BatchRecord) -> None:
        """Let the scheduler know the ids, for what waits for these runs."""
        if self._is_waited_for(batch):
            for index, folder in enumerate(batch.submissions):
                job_id = batch.job_id(index)
                sent = store.find_record(Path(folder) / "submission.json", SubmissionRecord)
                if job_id is not None and sent is not None:
                    self.scheduler.watch(sent.key, job_id)

    def _is_waited_for(self, batch: BatchRecord) -> bool:
        sent = store.find_record(Path(batch.submissions[0]) / "submission.json", SubmissionRecord)
        return sent is not None and sent.is_required
