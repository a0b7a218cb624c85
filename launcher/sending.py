"""From frozen runs to SLURM jobs: batches, sent once whatever happens to who sends them.

A batch is written before sbatch is called and completed after it. In between, the token in the
job's comment and the records of started attempts tell whether the job was taken.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launcher import store
from launcher.errors import StoreError, SubmissionError
from launcher.job import Attempt
from launcher.records import BatchPart, BatchRecord, SubmissionRecord
from launcher.scheduler.base import Job
from launcher.scheduler.slurm import (
    FullError,
    QueuedJob,
    SlurmScheduler,
    SubmitLimitError,
    UnsureError,
)

LOOK_AGAIN_S = (1.0, 2.0, 4.0)
"""Pauses before a job is looked up again that sbatch may or may not have submitted."""


def create(folder: Path, records: Sequence[tuple[Path, SubmissionRecord]], pickles: Path) -> Path:
    """Write a batch of frozen runs that share a token; nothing is sent yet.

    Args:
        folder: The study's.
        records: Folder of each run with its submission, in the order of the array.
        pickles: Where the job finds its attempt.
    """
    token = records[0][1].token
    attempts = [Attempt.of(record, run_dir) for run_dir, record in records]
    store.write_bytes(pickles, pickle.dumps(attempts), durable=False)
    batch = BatchRecord(
        token=token,
        created=store.now(),
        submissions=[str(store.submission_dir(run_dir, r.number)) for run_dir, r in records],
    )
    path = store.batch_path(folder, token)
    store.write_record(path, batch)
    return path


def adopt(path: Path, queued: Sequence[QueuedJob], *, write: bool = True) -> BatchRecord:
    """Complete what a command that died could not record: job ids of its last sbatch.

    Raises:
        StoreError: the batch is missing or damaged.
    """
    batch = store.read_record(path, BatchRecord)
    if all(part.job_id is not None for part in batch.parts):
        return batch
    parts = []
    for part in batch.parts:
        job_id = part.job_id or _job_of(batch, part, queued)
        if job_id is not None:
            parts.append(part.model_copy(update={"job_id": job_id}))
    adopted = batch.model_copy(update={"parts": parts})
    if write:
        store.write_record(path, adopted)
    return adopted


def _job_of(batch: BatchRecord, part: BatchPart, queued: Sequence[QueuedJob]) -> str | None:
    """Job id of a part, from squeue, or from the attempts that it has started since."""
    for job in queued:
        array_id, _, element = job.job_id.partition("_")
        if job.token == batch.token and part.first <= int(element or 0) <= part.last:
            return array_id
    for index in range(part.first, part.last + 1):
        folder = Path(batch.submissions[index])
        for attempt in store.attempts(folder.parent.parent, int(folder.name)):
            return attempt.job_id.partition("_")[0]
    return None


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
        return all(self._send_range(path, job, *gap) for gap in _gaps(batch))

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
            adopted = adopt(path, self.scheduler.queue(), write=False)
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


def _gaps(batch: BatchRecord) -> list[tuple[int, int]]:
    """Ranges of array elements that no sbatch was called for."""
    sent = {i for part in batch.parts for i in range(part.first, part.last + 1)}
    gaps: list[tuple[int, int]] = []
    for index in range(len(batch.submissions)):
        if index in sent:
            continue
        if gaps and gaps[-1][1] == index - 1:
            gaps[-1] = (gaps[-1][0], index)
        else:
            gaps.append((index, index))
    return gaps


def job_ids(sent: Mapping[str, SubmissionRecord]) -> dict[str, str]:
    """Job id of each submission that has one, by key; every batch is read once."""
    batches: dict[str, BatchRecord | None] = {}
    found = {}
    for key, record in sent.items():
        job_id = record.job_id
        if record.batch is not None:
            if record.batch not in batches:
                batches[record.batch] = store.batch(record.batch)
            batch = batches[record.batch]
            job_id = batch.job_id(record.index) if batch is not None else None
        if job_id is not None:
            found[key] = job_id
    return found


def require_batch(path: str) -> Path:
    """The file of a batch; StoreError if somebody deleted it."""
    if not Path(path).exists():
        raise StoreError(f"`{path}` is gone", hint="issue the study's command again")
    return Path(path)
