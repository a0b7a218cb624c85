"""How runs stand: what their folders say, and what a scheduler says when it is asked once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from launcher import batches, store
from launcher.errors import StoreError
from launcher.records import BatchRecord, RunEntry, SubmissionRecord
from launcher.scheduler.base import JobStatus, Poller
from launcher.states import RunStatus, run_state


def submissions(entries: Iterable[RunEntry]) -> dict[str, SubmissionRecord]:
    """Latest sending of each run that was ever frozen, by key."""
    found = {}
    for entry in entries:
        sent = store.submission(entry.run_dir, entry.key)
        if sent is not None:
            found[entry.key] = sent
    return found


def statuses(
    entries: Iterable[RunEntry],
    scheduler: Poller | None,
    adopted: Mapping[str, BatchRecord] | None = None,
) -> dict[str, RunStatus]:
    """How runs stand, by key; the scheduler is asked once.

    A run whose records are damaged is `unknown`, with the file and the damage as its reason.

    Args:
        entries: The runs, those that others require first.
        scheduler: Who has their jobs; None lets the records alone decide.
        adopted: Batches that are known better than their files say, by file.
    """
    evidence = _Evidence.of(list(entries), adopted or {})
    jobs = _poll(scheduler, evidence)
    found: dict[str, RunStatus] = {}
    for entry in evidence.entries:
        status = _status(entry, evidence, jobs.get(entry.key))
        found[entry.key] = _with_reason_of_required(entry, status, found)
    return found


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """What the folders of some runs say, before anybody is asked."""

    entries: Sequence[RunEntry]
    sent: dict[str, SubmissionRecord] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    """Job ids."""
    damaged: dict[str, StoreError] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Sequence[RunEntry], adopted: Mapping[str, BatchRecord]) -> _Evidence:
        evidence = cls(entries=entries)
        for entry in entries:
            try:
                evidence.sent.update(submissions([entry]))
            except StoreError as error:
                evidence.damaged[entry.key] = error
        known = {**batches.batches_of(evidence.sent.values()), **adopted}
        for entry in entries:
            record = evidence.sent.get(entry.key)
            try:
                job_id = _job_id(entry, record, known) if record is not None else None
            except StoreError as error:
                evidence.damaged[entry.key] = error
            else:
                evidence.ids.update({entry.key: job_id} if job_id is not None else {})
        return evidence


def _job_id(
    entry: RunEntry, sent: SubmissionRecord, known: Mapping[str, BatchRecord | StoreError]
) -> str | None:
    """Job id of a run; where no record has it, its own attempt says that it was sent."""
    lost: StoreError | None = None
    try:
        job_id = batches.job_id_of(sent, known)
    except StoreError as error:
        job_id, lost = None, error
    if job_id is None:
        for life in store.attempts(entry.run_dir, sent.number, entry.key):
            is_local = sent.scheduler == "local"
            job_id = f"{life.host}/?/{life.job_id}" if is_local else life.job_id
    if job_id is None and lost is not None:
        raise lost
    return job_id


def _poll(scheduler: Poller | None, evidence: _Evidence) -> dict[str, JobStatus]:
    """What is known of each job, by key; of a scheduler that is not asked, that it is not."""
    jobs: dict[str, JobStatus] = {}
    for key, record in evidence.sent.items():
        if key not in evidence.ids:
            what = "started" if record.scheduler == "local" else "sent"
            jobs[key] = JobStatus(state="held", reason=f"not {what} yet")
        elif record.scheduler == "debug":
            jobs[key] = JobStatus(state="ended")  # with the process that ran it
        elif scheduler is not None and scheduler.owns(record):
            scheduler.watch(key, evidence.ids[key])
        elif scheduler is not None:
            reason = f"it was sent to another scheduler ({record.scheduler}), ask or cancel there"
            jobs[key] = JobStatus(state="unknown", reason=reason)
    return jobs | (scheduler.poll() if scheduler is not None else {})


def _status(entry: RunEntry, evidence: _Evidence, job: JobStatus | None) -> RunStatus:
    try:
        if entry.key in evidence.damaged:
            raise evidence.damaged[entry.key]
        sent = evidence.sent.get(entry.key)
        return status_of(entry, sent, job, evidence.ids.get(entry.key, ""))
    except StoreError as error:
        return RunStatus(
            key=entry.key,
            name=entry.name,
            state="unknown",
            reason=error.message,
            run_dir=entry.run_dir,
        )


def _with_reason_of_required(
    entry: RunEntry, status: RunStatus, found: Mapping[str, RunStatus]
) -> RunStatus:
    """A run that never started because one that it requires failed, has failed with it."""
    never_started = status.state == "held" or (
        status.state == "failed" and status.outcome is None and status.started is None
    )
    if not never_started:
        return status
    for key in entry.requires.values():
        needed = found.get(key)
        if needed is not None and needed.state in ("failed", "cancelled"):
            reason = f"requires {needed.name}, which {needed.state}"
            return replace(status, state="failed", reason=reason)
    return status


def status_of(
    entry: RunEntry, sent: SubmissionRecord | None, job: JobStatus | None, job_id: str = ""
) -> RunStatus:
    """How one run stands.

    Raises:
        StoreError: a record is damaged.
    """
    lives = store.attempts(entry.run_dir, key=entry.key) if sent else []
    current = [life for life in lives if sent and life.attempt.startswith(f"{sent.number:03d}-")]
    last = current[-1] if current else None
    cancelled = store.cancelled(entry.run_dir) if sent else None
    concluded = store.verdicts(entry.run_dir, sent.number) if sent else []
    verdict = concluded[-1] if concluded else None
    standing = run_state(sent, last, job, cancelled, verdict)
    progress = store.progress(entry.run_dir) if last else {}
    status = RunStatus(
        key=entry.key,
        name=entry.name,
        state=standing.state,
        reason=standing.reason,
        is_lost=standing.is_lost,
        is_queued=job is not None and job.state in ("pending", "waiting"),
        job_id=job_id,
        attempts=len(lives),
        run_dir=entry.run_dir,
        progress=progress,
    )
    if sent is not None:
        status = replace(
            status,
            timeout_min=sent.shape.timeout_min,
            mem_gb=sent.shape.mem_gb,
            code=sent.code,
            commit=sent.commit,
            config_sha=sent.config_sha,
        )
    if verdict is not None and (last is None or verdict.attempt >= last.attempt):
        status = replace(status, outcome=verdict.outcome)
    elif last is not None:
        status = replace(status, outcome=last.outcome)
    if last is not None:
        status = replace(
            status,
            started=last.started,
            ended=last.ended,
            node=(job.node if job is not None else "") or last.host,
            mem_peak_gb=last.mem_peak_gb or progress.get("mem_peak_gb"),
            result=last.result,
        )
    return status
