"""Where a run stands, from what is on disk and what the scheduler says. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from launcher.records import (
    AttemptRecord,
    CancelRecord,
    Outcome,
    RunState,
    SubmissionRecord,
    VerdictRecord,
)
from launcher.scheduler.base import JobStatus

NO_OUTCOME = "the process ended and left no outcome; `launch logs` has its last words"
FINAL: frozenset[RunState] = frozenset({"completed", "failed", "cancelled"})
"""States in which nothing more happens by itself."""
IN_HANDS: frozenset[RunState] = frozenset({"waiting", "pending", "running"})
"""States in which a scheduler has the run."""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """State of a run with the evidence that is shown beside it."""

    key: str
    name: str
    state: RunState
    reason: str = ""
    outcome: Outcome | None = None
    """Of its latest attempt."""
    is_lost: bool = False
    """Whether it is meant to go on, and no scheduler has it: `launch resume` sends it again."""
    is_queued: bool = False
    """Whether its job waits in the scheduler's queue."""
    job_id: str = ""
    node: str = ""
    attempts: int = 0
    """Lives of the run, over all its sendings."""
    started: str | None = None
    """Start of the latest attempt."""
    ended: str | None = None
    timeout_min: int | None = None
    """Time limit of an attempt [min]."""
    mem_gb: float | None = None
    """Memory asked of each node [GB]."""
    mem_peak_gb: float | None = None
    code: str = ""
    """Hash of the code it was sent with."""
    commit: str = ""
    config_sha: str = ""
    run_dir: str = ""
    overrides: dict[str, str] = field(default_factory=dict)
    varying: dict[str, str] = field(default_factory=dict)
    """Its overrides among those in which the runs of the study differ."""
    progress: dict[str, Any] = field(default_factory=dict)
    result: Any = None


@dataclass(frozen=True)
class Standing:
    """State of a run, and why."""

    state: RunState
    reason: str = ""
    is_lost: bool = False
    """Whether it is meant to go on, and no scheduler has it."""


def run_state(
    sent: SubmissionRecord | None,
    last: AttemptRecord | None,
    job: JobStatus | None,
    cancelled: CancelRecord | None = None,
    verdict: VerdictRecord | None = None,
) -> Standing:
    """How a run stands.

    The records of the attempt outrank the scheduler, whose answer may be missing or late.

    Args:
        sent: Its latest sending.
        last: The latest attempt of that sending.
        job: What the scheduler says; None where none was asked.
        cancelled: Marker of `launch cancel`.
        verdict: The latest verdict on an attempt of that sending.
    """
    if sent is None:
        return Standing("new")
    is_concluded = verdict is not None and (last is None or verdict.attempt >= last.attempt)
    if last is not None and last.outcome == "completed" and not is_concluded:
        return Standing("completed")
    if cancelled is not None and cancelled.number == sent.number:
        if job is None or job.state in ("ended", "held"):
            return Standing("cancelled", "by `launch cancel`")
        return Standing(_without_outcome(last, job).state, "being cancelled")
    if verdict is not None and is_concluded:
        return _concluded(verdict, last, job)
    if last is not None and last.outcome is not None:
        return _failed(last, job)
    standing = _without_outcome(last, job)
    if verdict is not None and standing.state == "running" and not standing.reason:
        return Standing("running", went_on(verdict))
    return standing


def _failed(last: AttemptRecord, job: JobStatus | None) -> Standing:
    """A rank has failed and nobody has concluded the attempt, or ever will: it may be old."""
    if last.outcome in ("task_error", "cancelled") or job is None:
        return Standing("failed", last.error or "")
    if job.state == "running":
        return Standing("running", f"ending: {last.error or last.outcome}")
    if job.state in ("pending", "waiting"):
        # SLURM requeued it by itself, as when the node of the guard was lost.
        return Standing(job.state, f"goes on after: {last.error or last.outcome}")
    if job.state == "unknown":
        return Standing("unknown", job.reason)
    return Standing("failed", last.error or "", is_lost=job.state == "ended")


def _concluded(
    verdict: VerdictRecord, last: AttemptRecord | None, job: JobStatus | None
) -> Standing:
    """Its latest life has ended, and the next one has not begun."""
    is_over = job is None or job.state in ("ended", "held")
    if verdict.outcome == "cancelled":
        if is_over and verdict.by == "controller":
            # Without the marker of `launch cancel` it went with the command that waited for it.
            return Standing("cancelled", "by ctrl-C; the same command goes on", is_lost=True)
        if is_over:
            return Standing("cancelled", verdict.evidence[0])
        return Standing(_without_outcome(last, job).state, "being cancelled")
    if verdict.action == "stop":
        error = last.error if last is not None and last.error else verdict.evidence[0]
        if verdict.outcome == "task_error":
            return Standing("failed", error)
        return Standing("failed", f"{verdict.outcome}, {verdict.note}: {error}")
    if job is None:
        return Standing("pending", goes_on(verdict))
    if is_over:
        why = verdict.failure or "its job is gone"
        return Standing("failed", f"{verdict.outcome}; {why}", is_lost=True)
    if job.state == "unknown":
        return Standing("unknown", job.reason)
    more = f"; {job.reason}" if job.reason else ""
    if verdict.acted is None and job.state == "pending":
        more += "; `launch resume` sees to it"
    # While the last life is being cleared away, SLURM says that the job runs.
    return Standing("pending", goes_on(verdict) + more)


def goes_on(verdict: VerdictRecord) -> str:
    """E.g. `goes on at step 120 after walltime (attempt 2)`."""
    return _on(verdict, "goes on")


def went_on(verdict: VerdictRecord) -> str:
    """The same of a life that has begun."""
    return _on(verdict, "went on")


def _on(verdict: VerdictRecord, verb: str) -> str:
    place = "" if verdict.saved_step is None else f" at step {verdict.saved_step}"
    number = int(verdict.attempt.rpartition("-")[2]) + 2
    change = (
        f", {verdict.note.removeprefix('next: ')}" if verdict.action == "requeue_changed" else ""
    )
    return f"{verb}{place} after {verdict.outcome} (attempt {number}){change}"


def _without_outcome(last: AttemptRecord | None, job: JobStatus | None) -> Standing:
    if job is None:
        return Standing("running" if last is not None else "pending")
    if job.state == "ended":
        return Standing("failed", job.reason or NO_OUTCOME, is_lost=True)
    if job.state == "running" and last is None:
        return Standing("running", "starting")
    return Standing(job.state, job.reason)
