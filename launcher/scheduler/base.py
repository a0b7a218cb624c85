"""What every scheduler offers: check, poll, cancel. Jobs are known by the key of their run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from launcher.records import SubmissionRecord
from launcher.topology import Shape

_PREFIXES = ("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "SUBMITIT_", "TORCHELASTIC_")
_OF_A_JOB = {
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "LAUNCHER_END_TIME",
    "LAUNCHER_JOB_ID",
    "LAUNCHER_PORT",
    "LAUNCHER_RANK",
    "LAUNCHER_RESTARTS",
    "LAUNCHER_WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "NODE_RANK",
    "RANK",
    "ROLE_RANK",
    "ROLE_WORLD_SIZE",
    "WORLD_SIZE",
}


def outside_of_jobs(variables: Mapping[str, str], keep: Collection[str] = ()) -> dict[str, str]:
    """An environment without what a job around the command left in it.

    SBATCH_* go too, wherever they come from: they would win over the directives of a script, one
    half of a pair at a time.

    Args:
        variables: E.g. `os.environ`.
        keep: Names that are to stay.
    """
    return {
        name: value
        for name, value in variables.items()
        if name in keep or not (name.startswith(_PREFIXES) or name in _OF_A_JOB)
    }


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run as a scheduler sees it before it is frozen."""

    key: str
    name: str
    shape: Shape
    parameters: dict[str, Any] = field(default_factory=dict)
    """What the scheduler is told besides the shape."""
    after: tuple[str, ...] = ()
    """Keys of runs that must complete first."""
    is_required: bool = False
    """Whether other runs wait for it; such jobs are not mixed into the arrays of a study."""
    python_path: tuple[str, ...] = ()
    """Folders of the code snapshot that come first on the job's Python path."""

    @classmethod
    def of(cls, sent: SubmissionRecord) -> Job:
        """The job of a frozen submission."""
        return cls(
            key=sent.key,
            name=sent.name,
            shape=sent.shape,
            parameters=sent.parameters,
            after=tuple(sent.after),
            is_required=sent.is_required,
            python_path=tuple(sent.python_path),
        )


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """What a scheduler says of a job."""

    state: Literal["held", "waiting", "pending", "running", "ended", "unknown"]
    reason: str = ""
    """In the scheduler's words, e.g. `Priority`, `OUT_OF_MEMORY`."""
    node: str = ""
    """Nodes it runs on."""


class Poller(Protocol):
    """Says how jobs are."""

    def owns(self, sent: SubmissionRecord) -> bool:
        """Whether a submission was sent to this scheduler, so that it can be asked about it."""

    def watch(self, key: str, job_id: str) -> None:
        """Take a job that was sent earlier into `poll` and as something to wait for."""

    def poll(self) -> dict[str, JobStatus]:
        """Status of all watched jobs, by key of their run; the scheduler is asked once."""


class Scheduler(Poller, Protocol):
    """Starts jobs and says how they are."""

    def check(self, jobs: Sequence[Job]) -> None:
        """Refuse with SubmissionError what could never run. Nothing is sent."""

    def groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """Jobs that are sent together; what others wait for comes first."""

    def forget(self, key: str) -> None:
        """A run will be sent again: what is known of its earlier job does not count."""

    def cancel(self, job_ids: Sequence[str]) -> None:
        """End jobs; those that have ended already are no error."""

    def interrupted(self, say: Callable[[str], None]) -> None:
        """The person who waits pressed ctrl-C: say in a line what becomes of the jobs."""
