"""Where a run stands, from what is on disk and what the scheduler says. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from launcher.records import AttemptRecord, RunState, SubmissionRecord
from launcher.scheduler.base import JobStatus

FINAL: frozenset[RunState] = frozenset({"completed", "failed"})
"""States in which nothing more happens by itself."""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """State of a run with the evidence that is shown beside it."""

    key: str
    name: str
    state: RunState
    reason: str = ""
    job_id: str = ""
    started: str | None = None
    ended: str | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    result: Any = None


def run_state(
    sent: SubmissionRecord | None, last: AttemptRecord | None, job: JobStatus | None
) -> tuple[RunState, str]:
    """State and reason of a run.

    The record of the attempt outranks the scheduler, whose answer may be missing or late.
    `job` is None where no scheduler was asked.
    """
    if sent is None:
        return "new", ""
    if last is not None and last.outcome is not None:
        return ("completed", "") if last.outcome == "completed" else ("failed", last.error or "")
    if job is None:
        return ("running", "") if last is not None else ("pending", "")
    if job.state == "ended":
        return "failed", job.reason or "the process ended and left no outcome"
    if job.state == "running" and last is None:
        return "running", "starting"
    return job.state, job.reason
