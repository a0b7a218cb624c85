"""Where a run stands, from what is on disk and what the scheduler says. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from launcher.records import AttemptRecord, CancelRecord, Outcome, RunState, SubmissionRecord
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


def run_state(
    sent: SubmissionRecord | None,
    last: AttemptRecord | None,
    job: JobStatus | None,
    cancelled: CancelRecord | None = None,
) -> tuple[RunState, str]:
    """State and reason of a run.

    The record of the attempt outranks the scheduler, whose answer may be missing or late.
    `job` is None where no scheduler was asked.
    """
    if sent is None:
        return "new", ""
    if last is not None and last.outcome == "completed":
        return "completed", ""
    if cancelled is not None and cancelled.number == sent.number:
        if job is None or job.state in ("ended", "held"):
            return "cancelled", "by `launch cancel`"
        return _without_outcome(last, job)[0], "being cancelled"
    if last is not None and last.outcome is not None:
        return "failed", last.error or ""
    return _without_outcome(last, job)


def _without_outcome(last: AttemptRecord | None, job: JobStatus | None) -> tuple[RunState, str]:
    if job is None:
        return ("running", "") if last is not None else ("pending", "")
    if job.state == "ended":
        return "failed", job.reason or NO_OUTCOME
    if job.state == "running" and last is None:
        return "running", "starting"
    return job.state, job.reason
