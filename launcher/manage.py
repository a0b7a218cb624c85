"""Act on a study as it lies on disk, without Hydra: adopt, resume, retry, cancel."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launcher import batches, files, observing, sending, store, ui
from launcher.follow import follow
from launcher.lock import locked
from launcher.records import BatchRecord, CancelRecord, RunEntry, SubmissionRecord
from launcher.scheduler.base import Job, Scheduler
from launcher.scheduler.local import LocalScheduler
from launcher.scheduler.slurm import SlurmScheduler
from launcher.states import RunStatus
from launcher.studies import Study

Frozen = list[tuple[Path, SubmissionRecord]]
"""Frozen runs with their folders."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of runs that were to be sent."""

    runs: list[str] = field(default_factory=list)
    """Names of those that were sent."""
    left: int = 0
    """How many the submit limit left."""
    failed: list[str] = field(default_factory=list)
    """Names of those that failed, where they ran here and were waited for."""


def adopt(
    sent: Iterable[SubmissionRecord], scheduler: SlurmScheduler, *, write: bool = True
) -> dict[str, BatchRecord]:
    """Complete the batches whose last sbatch nobody recorded; returns them by file.

    Without the lock of the study nothing may be written: that sbatch may still be under way.

    Raises:
        SubmissionError: squeue gave no answer.
    """
    unsure = []
    for path in sorted({record.batch for record in sent if record.batch is not None}):
        batch = store.batch(path)
        if batch is not None and any(part.job_id is None for part in batch.parts):
            unsure.append(path)
    if not unsure:
        return {}
    queued = scheduler.queue()
    return {path: batches.adopt(Path(path), queued, write=write) for path in unsure}


def resume(study: Study, scheduler: Scheduler) -> Sent:
    """Send what is frozen and no scheduler has: not sent yet, or ended without an outcome.

    Raises:
        SubmissionError: SLURM refused a batch, or gave no answer.
    """
    return _again(study, scheduler, None)


def retry(study: Study, runs: Sequence[RunStatus], scheduler: Scheduler) -> Sent:
    """Send failed or cancelled runs once more, as they were frozen.

    Raises:
        SubmissionError: SLURM refused a batch, or gave no answer.
    """
    return _again(study, scheduler, {status.key for status in runs})


def feed(study: Study, scheduler: SlurmScheduler) -> None:
    """Send what the submit limit left."""
    _again(study, scheduler, set())


def cancel(runs: Sequence[RunStatus], scheduler: Scheduler) -> None:
    """Cancel runs: the marker is written first, so that nothing brings them back."""
    for status in runs:
        sent = store.submission(status.run_dir, status.key)
        if sent is not None:
            record = CancelRecord(number=sent.number, time=files.now())
            store.write_record(Path(status.run_dir) / "cancelled.json", record)
    scheduler.cancel([status.job_id for status in runs if status.job_id])


def say_waiting(holder: str) -> None:
    """Another command has the study."""
    ui.say(f"{holder} has this study, or one that shares runs with it; waiting for it")


def lock_folders(study: Study) -> list[Path]:
    """Folders that no other command may submit from: the study's, and those of shared runs."""
    shared = [Path(entry.run_dir) for entry in study.record.prerequisites]
    return [study.path.absolute(), *shared]


def _again(study: Study, scheduler: Scheduler, keys: set[str] | None) -> Sent:
    """Send held runs, and failed ones: those of `keys`, or with None those without outcome."""
    with locked(lock_folders(study), say_waiting) as descriptors:
        entries = study.entries()
        sent = observing.submissions(entries)
        if isinstance(scheduler, SlurmScheduler):
            scheduler.client.inherited = descriptors
            adopt(sent.values(), scheduler)
        found = observing.statuses(entries, scheduler)
        if keys is None:
            keys = {k for k, s in found.items() if s.state == "failed" and s.outcome is None}
        stuck = _stuck(entries, found, keys)
        renewed = [
            _renewed(entry, sent[entry.key]) for entry in entries if entry.key in keys - stuck
        ]
        for _, record in renewed:
            scheduler.forget(record.key)
        held = {
            key: sent[key]
            for key, status in found.items()
            if status.state == "held" and key not in stuck
        }
        folders = {entry.key: Path(entry.run_dir) for entry in entries}
        if isinstance(scheduler, LocalScheduler):
            waiting = [(folders[key], record) for key, record in held.items()]
            return _run_here(study, scheduler, [*waiting, *_written(renewed)])
        assert isinstance(scheduler, SlurmScheduler)
        return _send(study, scheduler, found, held, renewed)


def _stuck(
    entries: Iterable[RunEntry], found: Mapping[str, RunStatus], again: set[str]
) -> set[str]:
    """Runs that cannot start, because one that they require failed and is not sent again."""
    stuck: set[str] = set()
    for entry in entries:  # those that others require come first
        for needed in entry.requires.values():
            is_dead = found[needed].state in ("failed", "cancelled") and needed not in again
            if needed in stuck or is_dead:
                stuck.add(entry.key)
    return stuck


def _renewed(entry: RunEntry, sent: SubmissionRecord) -> tuple[Path, SubmissionRecord]:
    """The next sending of a run: the same code and config under the next number."""
    changes = {
        "number": sent.number + 1,
        "token": "",
        "index": 0,
        "batch": None,
        "job_id": None,
        "submitted": files.now(),
        # What it required may have failed since, and be sent again with it.
        "after": list(entry.requires.values()),
    }
    return Path(entry.run_dir), sent.model_copy(update=changes)


def _send(
    study: Study,
    scheduler: SlurmScheduler,
    found: Mapping[str, RunStatus],
    held: Mapping[str, SubmissionRecord],
    renewed: Frozen,
) -> Sent:
    paths = [
        *_batches(study, scheduler, renewed),
        *map(Path, dict.fromkeys(r.batch for r in held.values() if r.batch)),
    ]
    sender = sending.Sender(
        scheduler=scheduler,
        completed={key for key, status in found.items() if status.state == "completed"},
        known=scheduler.is_watching,
    )
    sender.send(paths)
    now = observing.submissions(study.entries())
    ids = batches.job_ids(now)
    names = {key: status.name for key, status in found.items()}
    due = [*held, *(record.key for _, record in renewed)]
    return Sent(
        runs=[names[key] for key in due if key in ids],
        left=sum(1 for key in due if key not in ids),
    )


def _batches(study: Study, scheduler: SlurmScheduler, renewed: Frozen) -> list[Path]:
    """New batches for runs that are sent again, one per shape."""
    jobs = {record.key: (run_dir, record) for run_dir, record in renewed}
    paths = []
    for group in scheduler.groups([Job.of(record) for _, record in renewed]):
        token = uuid.uuid4().hex[:12]
        path = store.batch_path(study.path.absolute(), token)
        frozen = []
        for index, job in enumerate(group):
            run_dir, record = jobs[job.key]
            place = {"token": token, "index": index, "batch": str(path)}
            frozen.append((run_dir, record.model_copy(update=place)))
        paths.append(batches.create(study.path.absolute(), frozen, scheduler.batch_pickle(token)))
    return paths


def _written(frozen: Frozen) -> Frozen:
    for run_dir, record in frozen:
        store.write_submission(run_dir, record)
    return frozen


def _run_here(study: Study, scheduler: LocalScheduler, frozen: Frozen) -> Sent:
    """Local runs need a command that waits: this one."""
    if not frozen:
        return Sent()
    scheduler.enqueue(frozen)
    keys = {record.key for _, record in frozen}
    ended = follow(study, scheduler, poll_s=0.5, only=keys)
    return Sent(
        runs=[status.name for status in ended if status.key in keys],
        failed=[s.name for s in ended if s.key in keys and s.state != "completed"],
    )
