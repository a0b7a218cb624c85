"""Act on a study as it lies on disk, without Hydra: adopt, resume, retry, cancel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from launcher import batches, files, nodes, observing, sending, store, ui
from launcher.errors import StoreError
from launcher.follow import follow_or_leave
from launcher.guard import told
from launcher.lock import locked
from launcher.records import Adjustments, BatchRecord, CancelRecord, RunEntry, SubmissionRecord
from launcher.scheduler.base import Scheduler
from launcher.scheduler.local import LocalScheduler
from launcher.scheduler.slurm import SlurmScheduler
from launcher.second_line import catch_up
from launcher.states import RunStatus
from launcher.studies import Study


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of runs that were to be sent."""

    runs: list[str] = field(default_factory=list)
    """Names of those that were sent."""
    went_on: list[str] = field(default_factory=list)
    """Names of those whose jobs were put back into the queue."""
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


def avoid_failing_nodes(study_dir: Path, scheduler: SlurmScheduler) -> None:
    """Have what is sent from now on keep off nodes that failed in this study again and again."""
    scheduler.avoid = nodes.failing(study_dir)
    if scheduler.avoid:
        ui.say(f"avoiding {', '.join(scheduler.avoid)}, which failed again and again in this study")


def say_waiting(holder: str) -> None:
    """Another command has the study."""
    ui.say(f"{holder} has this study, or one that shares runs with it; waiting for it")


def lock_folders(study_dir: Path, shared: Iterable[RunEntry]) -> list[Path]:
    """Folders that no other command may submit from: the study's, and those of shared runs."""
    return [study_dir.absolute(), *(Path(entry.run_dir) for entry in shared)]


def _again(study: Study, scheduler: Scheduler, keys: set[str] | None) -> Sent:
    """Send held runs, and failed ones: those of `keys`, or with None those without outcome."""
    record = study.record
    theirs = set(record.followed)
    folders = lock_folders(study.path, [e for e in record.prerequisites if e.key not in theirs])
    with locked(folders, say_waiting) as descriptors:
        entries = study.entries()
        sent = observing.submissions(entries)
        if isinstance(scheduler, SlurmScheduler):
            scheduler.client.inherited = descriptors
            avoid_failing_nodes(study.path, scheduler)
            adopt(sent.values(), scheduler)
        found = observing.statuses(entries, scheduler)
        went_on: list[str] = []
        if keys is None and isinstance(scheduler, SlurmScheduler):
            went_on, found = conclude_lost(entries, found, scheduler)
        if keys is None:
            keys = {key for key, status in found.items() if status.is_lost}
        keys = keys - theirs
        stuck = _stuck(entries, found, keys)
        renewed = [
            _renewed(entry, sent[entry.key]) for entry in entries if entry.key in keys - stuck
        ]
        held = [
            (Path(entry.run_dir), sent[entry.key])
            for entry in entries
            if found[entry.key].state == "held" and entry.key not in stuck | theirs
        ]
        _refuse_without_task([*held, *renewed])
        sending.hand_over(
            study.path.absolute(),
            renewed,
            scheduler,
            waiting=held,
            completed={key for key, status in found.items() if status.state == "completed"},
        )
        due = [record.key for _, record in (*held, *renewed)]
        if isinstance(scheduler, LocalScheduler):
            return _run_here(study, scheduler, due)
        return replace(_sent(study, found, due), went_on=went_on)


def conclude_lost(
    entries: Sequence[RunEntry],
    found: Mapping[str, RunStatus],
    scheduler: SlurmScheduler,
) -> tuple[list[str], dict[str, RunStatus]]:
    """Conclude what nobody concluded; names of the runs that go on by that, and how all stand."""
    verdicts = catch_up(entries, found)
    for verdict in verdicts:
        ui.say(f"{found[verdict.key].name}: {told(verdict)}")
    on = {v.key for v in verdicts if v.acted and v.action in ("requeue", "requeue_changed")}
    names = [found[key].name for key in found if key in on]
    return names, observing.statuses(entries, scheduler) if verdicts else dict(found)


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


def _refuse_without_task(frozen: Iterable[tuple[Path, SubmissionRecord]]) -> None:
    """Send nothing that could only fail.

    Raises:
        StoreError: what was frozen for a run is gone.
    """
    # Runs share a task: each file is looked for once.
    names = {path: sent.name for _, sent in frozen for path in (sent.payload, sent.config)}
    for path, name in names.items():
        if not Path(path).is_file():
            raise StoreError(
                f"`{name}` cannot be sent as it was: `{path}` is gone",
                hint="issue the study's command again; or put back the study that sent the run",
            )


def _renewed(entry: RunEntry, sent: SubmissionRecord) -> tuple[Path, SubmissionRecord]:
    """The next sending of a run: the same code and config under the next number.

    What earlier lives had to change, it has from the start.
    """
    again = with_learnt(sent, store.adjustments(entry.run_dir, sent))
    changes = {
        "number": sent.number + 1,
        "job_id": None,
        "submitted": files.now(),
        # What it required may have failed since, and be sent again with it.
        "after": list(entry.requires.values()),
    }
    return Path(entry.run_dir), again.model_copy(update=changes)


def with_learnt(sent: SubmissionRecord, learnt: Adjustments) -> SubmissionRecord:
    """A sending with what earlier lives had to change; it never asks for less memory by that."""
    parameters = dict(sent.parameters)
    shape = sent.shape
    if learnt.mem_gb is not None and learnt.mem_gb > (shape.mem_gb or 0.0):
        shape = replace(shape, mem_gb=learnt.mem_gb)
        parameters["mem"] = f"{round(learnt.mem_gb * 1024)}M"
    if learnt.exclude:
        words = [parameters.get("exclude"), *learnt.exclude]
        parameters["exclude"] = ",".join(dict.fromkeys(filter(None, words)))
    changes = {"adjustments": learnt, "shape": shape, "parameters": parameters}
    return sent.model_copy(update=changes)


def _sent(study: Study, found: Mapping[str, RunStatus], due: Sequence[str]) -> Sent:
    """Which of the runs that were due have a job now."""
    ids = batches.job_ids(observing.submissions(study.entries()))
    return Sent(
        runs=[found[key].name for key in due if key in ids],
        left=sum(1 for key in due if key not in ids),
    )


def _run_here(study: Study, scheduler: LocalScheduler, due: Sequence[str]) -> Sent:
    """Local runs need a command that waits: this one."""
    if not due:
        return Sent()
    keys = set(due)
    ended = follow_or_leave(study, scheduler, poll_s=0.5, only=keys)
    return Sent(
        runs=[status.name for status in ended if status.key in keys],
        failed=[s.name for s in ended if s.key in keys and s.state != "completed"],
    )
