"""From frozen runs to jobs: each run is sent once, whatever happens to who sends it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launcher import batches, store
from launcher.errors import SubmissionError
from launcher.records import BatchPart, BatchRecord, SubmissionRecord
from launcher.scheduler.base import Job, Scheduler
from launcher.scheduler.client import FullError, SubmitLimitError, UnsureError
from launcher.scheduler.local import LocalScheduler
from launcher.scheduler.slurm import SlurmScheduler

Frozen = Sequence[tuple[Path, SubmissionRecord]]
"""Frozen runs with their folders."""
LOOK_AGAIN_S = (1.0, 2.0, 4.0)
"""Pauses before a job is looked up again that sbatch may or may not have submitted."""


def hand_over(
    folder: Path,
    frozen: Frozen,
    scheduler: Scheduler,
    *,
    waiting: Frozen = (),
    completed: Collection[str] = (),
) -> bool:
    """Give frozen runs to a scheduler; False if the submit limit left some.

    Args:
        folder: The study's, absolute.
        frozen: Runs whose records are not written yet, those that others require first.
        scheduler: Who takes them.
        waiting: Runs that an earlier command wrote and did not send.
        completed: Keys of runs that need not be waited for any more.

    Raises:
        SubmissionError: SLURM refused a batch, or gave no answer.
    """
    for _, record in frozen:
        scheduler.forget(record.key)
    groups = _placed(folder, frozen, scheduler)
    if isinstance(scheduler, LocalScheduler):
        runs = [run for group in groups for run in group]
        for run_dir, record in runs:
            store.write_submission(run_dir, record)
        scheduler.enqueue([*waiting, *runs])
        return True
    assert isinstance(scheduler, SlurmScheduler)
    paths = [
        batches.create(folder, group, scheduler.batch_pickle(group[0][1].token)) for group in groups
    ]
    held = dict.fromkeys(record.batch for _, record in waiting if record.batch is not None)
    sender = Sender(scheduler=scheduler, completed=completed, known=scheduler.is_watching)
    return sender.send([*paths, *map(Path, held)])


def _placed(folder: Path, frozen: Frozen, scheduler: Scheduler) -> list[Frozen]:
    """The runs as they are sent together, each group with a token of its own."""
    runs = {record.key: (run_dir, record) for run_dir, record in frozen}
    batches_in = folder if isinstance(scheduler, SlurmScheduler) else None
    return [
        _as_group([runs[job.key] for job in jobs], batches_in)
        for jobs in scheduler.groups([Job.of(record) for _, record in frozen])
    ]


def _as_group(runs: Frozen, batches_in: Path | None) -> Frozen:
    """Runs with their token, their place, and the file of their batch in a study's folder."""
    token = uuid.uuid4().hex[:12]
    batch = str(store.batch_path(batches_in, token)) if batches_in is not None else None
    place = {"token": token, "batch": batch}
    return [
        (run_dir, record.model_copy(update={**place, "index": index}))
        for index, (run_dir, record) in enumerate(runs)
    ]


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
            if self._was_taken(path, job):
                return
            raise
        except SubmissionError:
            store.write_record(path, before)
            raise
        parts = [*before.parts, part.model_copy(update={"job_id": job_id})]
        after = before.model_copy(update={"parts": parts})
        store.write_record(path, after)
        self._tell(after, job)

    def _was_taken(self, path: Path, job: Job) -> bool:
        """Whether the job is there although sbatch could not say so."""
        for pause_s in LOOK_AGAIN_S:
            self.sleep(pause_s)
            adopted = batches.adopt(path, self.scheduler.queue(), write=False)
            if len(adopted.parts) == len(store.read_record(path, BatchRecord).parts):
                store.write_record(path, adopted)
                self._tell(adopted, job)
                return True
        return False

    def _tell(self, batch: BatchRecord, job: Job) -> None:
        """Let the scheduler know the ids, where other runs wait for these."""
        if not job.is_required:
            return
        for index, folder in enumerate(batch.submissions):
            job_id = batch.job_id(index)
            sent = store.find_record(Path(folder) / "submission.json", SubmissionRecord)
            if job_id is not None and sent is not None:
                self.scheduler.watch(sent.key, job_id)
