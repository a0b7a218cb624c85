"""What a study leaves on disk, one model per file. Every file carries `schema_version`.

Each file has one writer: the submitting side writes `study.json` and `submission.json`,
rank 0 of an attempt writes `attempts/<id>.json`. No two processes ever write one file.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1

Outcome = Literal["completed", "task_error", "cancelled"]
"""Why an attempt ended; an attempt without one is running, or its process is gone."""

RunState = Literal["new", "waiting", "pending", "running", "completed", "failed", "unknown"]
"""Where a run stands. `waiting`: for a run that it requires."""


class Record(BaseModel):
    """Base of all records: unknown fields of a newer version are kept, not refused."""

    model_config = ConfigDict(extra="allow", frozen=True)
    schema_version: int = SCHEMA_VERSION


class RunEntry(Record):
    """A run as its study declares it."""

    key: str
    name: str
    overrides: list[str]
    run_dir: str
    """Absolute folder; runs required by others live outside of the study."""
    requires: dict[str, str] = {}
    """Name -> key of the runs it waits for."""


class StudyRecord(Record):
    """`study.json`: the declared runs in order, and what to do when they are finished."""

    study_id: str
    created: str
    command: list[str]
    overrides: list[str]
    runs: list[RunEntry]
    prerequisites: list[RunEntry] = []
    report: str | None = None
    cluster: str = "local"
    scheduler: str = "local"
    environment: dict[str, str] = {}
    """Variables for the scheduler's own commands."""


class SubmissionRecord(Record):
    """`submission.json`: the latest sending of a run to a scheduler."""

    key: str
    number: int
    scheduler: str
    token: str
    """Written before the scheduler is called, so a crash in between can be found out."""
    job_id: str | None = None
    submitted: str
    shape: str
    code: str
    """Content hash of the code snapshot."""
    commit: str = ""
    """Commit of the work tree, `+changes` where files differed from it."""


class AttemptRecord(Record):
    """`attempts/<id>.json`: one life of a run, from job start to job end."""

    attempt: str
    key: str
    job_id: str
    host: str
    pid: int
    world_size: int
    started: str
    ended: str | None = None
    outcome: Outcome | None = None
    error: str | None = None
    """Last line of the exception."""
    traceback: str | None = None
    result: Any = None
    """What the task returned, where JSON can hold it."""
