"""Runs that are sent as one array: written before sbatch, completed after it, found after a crash.

In between, the token in the job's comment and the records of started attempts tell whether a job
was taken.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from launcher import files, store
from launcher.errors import StoreError
from launcher.job import Attempt
from launcher.records import BatchPart, BatchRecord, SubmissionRecord
from launcher.scheduler.client import QueuedJob


def create(folder: Path, records: Sequence[tuple[Path, SubmissionRecord]], pickles: Path) -> Path:
    """Write a batch of frozen runs that share a token, then their submissions; nothing is sent.

    In this order, so that a submission whose batch is missing has lost it, and was not just
    frozen by a command that was killed.

    Args:
        folder: The study's.
        records: Folder of each run with its submission, in the order of the array.
        pickles: Where the job finds its attempt.
    """
    token = records[0][1].token
    attempts = [Attempt.of(record, run_dir) for run_dir, record in records]
    files.write_bytes(pickles, pickle.dumps(attempts), durable=False)
    batch = BatchRecord(
        token=token,
        created=files.now(),
        submissions=[str(store.submission_dir(run_dir, r.number)) for run_dir, r in records],
    )
    path = store.batch_path(folder, token)
    store.write_record(path, batch)
    for run_dir, record in records:
        store.write_submission(run_dir, record)
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


def gaps(batch: BatchRecord) -> list[tuple[int, int]]:
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


def batches_of(sent: Iterable[SubmissionRecord]) -> dict[str, BatchRecord | StoreError]:
    """The batches of submissions, each read once, by file; for a damaged one what is wrong."""
    found: dict[str, BatchRecord | StoreError] = {}
    for path in dict.fromkeys(record.batch for record in sent if record.batch is not None):
        try:
            batch = store.batch(path)
        except StoreError as error:
            found[path] = error
        else:
            if batch is not None:
                found[path] = batch
    return found


def job_id_of(
    sent: SubmissionRecord, batches: Mapping[str, BatchRecord | StoreError]
) -> str | None:
    """Job id of a submission, None while it has none.

    Raises:
        StoreError: its batch is damaged, or was deleted.
    """
    if sent.batch is None:
        return sent.job_id
    batch = batches.get(sent.batch)
    if isinstance(batch, StoreError):
        raise batch
    if batch is None:
        raise StoreError(
            f"`{sent.batch}` is gone, and with it the job id of `{sent.name}`",
            hint="if squeue shows no such job, delete the run's `submissions` folder",
        )
    return batch.job_id(sent.index)


def job_ids(sent: Mapping[str, SubmissionRecord]) -> dict[str, str]:
    """Job id of each submission that has one, by key.

    Raises:
        StoreError: a batch is damaged, or was deleted.
    """
    batches = batches_of(sent.values())
    ids = {key: job_id_of(record, batches) for key, record in sent.items()}
    return {key: job_id for key, job_id in ids.items() if job_id is not None}
