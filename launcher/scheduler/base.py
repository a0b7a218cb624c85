"""What every scheduler offers: check, submit, poll. Jobs are known by the key of their run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from launcher.job import Attempt
from launcher.settings import StudyLauncherConf
from launcher.topology import Shape


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run with what a scheduler has to know to start it."""

    key: str
    name: str
    shape: Shape
    settings: StudyLauncherConf
    after: tuple[str, ...] = ()
    """Keys of runs that must complete first."""
    is_required: bool = False
    """Whether other runs wait for it; such jobs are not mixed into the arrays of a study."""
    frozen_attempt: Attempt | None = None
    """What is started; set between `check` and `submit`."""
    python_path: tuple[str, ...] = ()
    """Folders of the code snapshot that come first on the job's Python path."""

    @property
    def attempt(self) -> Attempt:
        """The frozen attempt; a job without one cannot be submitted."""
        if self.frozen_attempt is None:
            raise RuntimeError(f"job {self.name} was not frozen before its submission")
        return self.frozen_attempt


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """What a scheduler says of a job."""

    state: Literal["waiting", "pending", "running", "ended", "unknown"]
    reason: str = ""
    """In the scheduler's words, e.g. `Priority`, `OUT_OF_MEMORY`."""


class Scheduler(Protocol):
    """Starts jobs and says how they are."""

    def check(self, jobs: Sequence[Job]) -> None:
        """Refuse with SubmissionError what could never run. Nothing is submitted."""

    def submit(self, jobs: Sequence[Job], started: Callable[[Job, str], None]) -> None:
        """Send jobs, those that others wait for first; `started` is told each job id."""

    def watch(self, key: str, job_id: str) -> None:
        """Take a job that was submitted earlier into `poll` and as something to wait for."""

    def poll(self) -> dict[str, JobStatus]:
        """Status of all jobs, by key of their run; the scheduler is asked once."""

    def interrupted(self) -> str:
        """The person who waits pressed ctrl-C: what became of the jobs, in one line."""


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for the time of a block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
