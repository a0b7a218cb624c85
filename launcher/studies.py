"""A study on disk: its runs, how they stand, what they returned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from launcher import store
from launcher.records import RunEntry, StudyRecord
from launcher.scheduler.base import JobStatus, Scheduler
from launcher.states import RunStatus, run_state


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What one completed run returned."""

    key: str
    name: str
    run_dir: Path
    varying: dict[str, str]
    """Its overrides among those in which the runs of the study differ."""
    metrics: dict[str, Any]

    @property
    def config(self) -> Any:
        """The frozen config of the latest submission."""
        frozen = sorted((self.run_dir / "frozen").glob("*/config.yaml"))
        return OmegaConf.load(frozen[-1])

    def row(self) -> dict[str, Any]:
        """One flat row: key, overrides that differ, metrics."""
        return {"key": self.key, **self.varying, **self.metrics}


@dataclass(frozen=True)
class Study:
    """A study folder, read afresh at each call."""

    path: Path

    @property
    def record(self) -> StudyRecord:
        """What was declared."""
        return store.read_study(self.path)

    def entries(self) -> list[RunEntry]:
        """Runs in the order of the command, those they require first."""
        record = self.record
        return [*record.prerequisites, *record.runs]

    def status(self, scheduler: Scheduler | None = None) -> list[RunStatus]:
        """How all runs stand; without a scheduler the records alone decide."""
        jobs = scheduler.poll() if scheduler is not None else {}
        return [status_of(entry, jobs.get(entry.key)) for entry in self.entries()]

    def results(self) -> list[RunResult]:
        """What the completed runs of the study returned, in its order."""
        entries = self.record.runs
        overrides = [dict(_columns(entry.overrides)) for entry in entries]
        found = []
        for entry, mine in zip(entries, overrides, strict=True):
            status = status_of(entry, None)
            if status.state == "completed":
                varying = {k: v for k, v in mine.items() if len({o.get(k) for o in overrides}) > 1}
                found.append(
                    RunResult(
                        key=entry.key,
                        name=entry.name,
                        run_dir=Path(entry.run_dir),
                        varying=varying,
                        metrics=flat_metrics(status.result),
                    )
                )
        return found


def study(name: str | None = None, root: str | Path = "outputs") -> Study:
    """The study of that name or folder; without a name the one that changed last below `root`.

    Raises:
        StoreError: there is none.
    """
    return Study(store.find_study(name, Path(root)))


def status_of(entry: RunEntry, job: JobStatus | None) -> RunStatus:
    """How one run stands."""
    run_dir = Path(entry.run_dir)
    sent = store.submission(run_dir)
    attempts = store.attempts(run_dir, sent.number) if sent else []
    last = attempts[-1] if attempts else None
    state, reason = run_state(sent, last, job)
    return RunStatus(
        key=entry.key,
        name=entry.name,
        state=state,
        reason=reason,
        job_id=(sent.job_id or "") if sent else "",
        started=last.started if last else None,
        ended=last.ended if last else None,
        progress=store.progress(run_dir) if last else {},
        result=last.result if last else None,
    )


def _columns(overrides: Iterable[str]) -> Iterable[tuple[str, str]]:
    for override in overrides:
        key, _, value = override.partition("=")
        yield key, value


def flat_metrics(result: Any) -> dict[str, Any]:
    """What a task returned as flat columns; a bare number is called `value`."""
    if isinstance(result, dict):
        return {str(name): value for name, value in result.items()}
    return {} if result is None else {"value": result}
