"""A study on disk: its runs, how they stand, what they returned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher import identity, store
from launcher.errors import StoreError
from launcher.records import AttemptRecord, RunEntry, StudyRecord, SubmissionRecord
from launcher.scheduler.base import JobStatus, Poller
from launcher.states import RunStatus, run_state

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig


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
    def config(self) -> DictConfig:
        """The frozen config of the latest submission."""
        return frozen_config(self.run_dir)

    def row(self) -> dict[str, Any]:
        """One flat row: key, overrides that differ, metrics."""
        return {"key": self.key, **self.varying, **self.metrics}


@dataclass(frozen=True)
class Study:
    """A study folder, read afresh at each call."""

    path: Path

    @property
    def record(self) -> StudyRecord:
        """What was declared, with run folders as absolute paths."""
        record = store.read_study(self.path)
        return record.model_copy(
            update={
                name: [self._placed(entry) for entry in getattr(record, name)]
                for name in ("runs", "prerequisites", "unwanted")
            }
        )

    def _placed(self, entry: RunEntry) -> RunEntry:
        folder = self.path.absolute() / entry.run_dir
        return entry.model_copy(update={"run_dir": str(folder)})

    def entries(self) -> list[RunEntry]:
        """Runs in the order of the command, those they require first."""
        record = self.record
        return [*record.prerequisites, *record.runs]

    def status(self, scheduler: Poller | None = None) -> list[RunStatus]:
        """How all runs stand; without a scheduler the records alone decide."""
        record = self.record
        entries = [*record.prerequisites, *record.runs]
        found = statuses(entries, scheduler)
        nothing: list[dict[str, str]] = [{} for _ in record.prerequisites]
        varying = nothing + identity.differences([entry.overrides for entry in record.runs])
        overrides = [identity.as_mapping(entry.overrides) for entry in entries]
        return [
            replace(found[entry.key], varying=differs, overrides=given)
            for entry, differs, given in zip(entries, varying, overrides, strict=True)
        ]

    def results(self) -> list[RunResult]:
        """What the completed runs of the study returned, in its order."""
        return [
            RunResult(
                key=status.key,
                name=status.name,
                run_dir=Path(status.run_dir),
                varying=status.varying,
                metrics=flat_metrics(status.result),
            )
            for status in self._own_status()
            if status.state == "completed"
        ]

    def _own_status(self) -> list[RunStatus]:
        prerequisites = len(self.record.prerequisites)
        return self.status()[prerequisites:]

    def frame(self) -> pd.DataFrame:
        """One row per run of the study: state, what differs, and metrics of finished ones."""
        import pandas as pd

        rows = [
            {
                "run": status.name,
                "key": status.key,
                "state": status.state,
                **{name: _value(text) for name, text in status.varying.items()},
                **(flat_metrics(status.result) if status.state == "completed" else {}),
            }
            for status in self._own_status()
        ]
        return pd.DataFrame(rows)

    def histories(self) -> pd.DataFrame:
        """Curves of all runs in long form: run, key, attempt, step, metric, value.

        From every `metrics.csv` below the run folders, which is how Lightning's CSVLogger
        names its file.
        """
        import pandas as pd

        parts = [
            _history(entry, path)
            for entry in self.record.runs
            for path in sorted(Path(entry.run_dir).rglob("metrics.csv"))
        ]
        columns = ["run", "key", "attempt", "step", "metric", "value"]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def study(name: str | None = None, root: str | Path = "outputs") -> Study:
    """The study of that name or folder; without a name the one that changed last below `root`.

    Raises:
        StoreError: there is none.
    """
    return Study(store.find_study(name, Path(root)))


def submissions(entries: Iterable[RunEntry]) -> dict[str, SubmissionRecord]:
    """Latest sending of each run that was ever frozen, by key."""
    found = {}
    for entry in entries:
        sent = store.submission(entry.run_dir, entry.key)
        if sent is not None:
            found[entry.key] = sent
    return found


def statuses(entries: Iterable[RunEntry], scheduler: Poller | None) -> dict[str, RunStatus]:
    """How runs stand, by key; the scheduler is asked once.

    A run whose records are damaged is `unknown`, with the file and the damage as its reason.
    """
    listed = list(entries)
    sent: dict[str, SubmissionRecord] = {}
    damaged: dict[str, StoreError] = {}
    for entry in listed:
        try:
            sent.update(submissions([entry]))
        except StoreError as error:
            damaged[entry.key] = error
    ids = _job_ids(listed, sent)
    jobs = _poll(scheduler, sent, ids)
    found: dict[str, RunStatus] = {}
    for entry in listed:
        try:
            if entry.key in damaged:
                raise damaged[entry.key]
            record, job = sent.get(entry.key), jobs.get(entry.key)
            status = status_of(entry, record, job, ids.get(entry.key, ""))
        except StoreError as error:
            status = RunStatus(
                key=entry.key,
                name=entry.name,
                state="unknown",
                reason=error.message,
                run_dir=entry.run_dir,
            )
        found[entry.key] = _with_reason_of_required(entry, status, found)
    return found


def _job_ids(entries: Iterable[RunEntry], sent: Mapping[str, SubmissionRecord]) -> dict[str, str]:
    """Job ids by key; of a local run that nobody could record, from its own attempt."""
    from launcher.sending import job_ids

    ids = job_ids(sent)
    for entry in entries:
        record = sent.get(entry.key)
        if record is None or entry.key in ids or record.scheduler != "local":
            continue
        for life in _lives(entry, record.number):
            ids[entry.key] = f"{life.host}/?/{life.job_id}"
    return ids


def _lives(entry: RunEntry, number: int) -> list[AttemptRecord]:
    try:
        return store.attempts(entry.run_dir, number)
    except StoreError:
        return []  # said where its status is made


def _poll(
    scheduler: Poller | None, sent: Mapping[str, SubmissionRecord], ids: Mapping[str, str]
) -> dict[str, JobStatus]:
    """What is known of each job, by key; of a scheduler that is not asked, that it is not."""
    jobs: dict[str, JobStatus] = {}
    for key, record in sent.items():
        if key not in ids:
            what = "started" if record.scheduler == "local" else "sent"
            jobs[key] = JobStatus(state="held", reason=f"not {what} yet")
        elif record.scheduler == "debug":
            jobs[key] = JobStatus(state="ended")  # with the process that ran it
        elif scheduler is not None and scheduler.owns(record):
            scheduler.watch(key, ids[key])
        elif scheduler is not None:
            reason = f"it was sent to another scheduler ({record.scheduler}), ask or cancel there"
            jobs[key] = JobStatus(state="unknown", reason=reason)
    return jobs | (scheduler.poll() if scheduler is not None else {})


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
    lives = store.attempts(entry.run_dir) if sent else []
    current = [life for life in lives if sent and life.attempt.startswith(f"{sent.number:03d}-")]
    last = current[-1] if current else None
    cancelled = store.cancelled(entry.run_dir) if sent else None
    state, reason = run_state(sent, last, job, cancelled)
    progress = store.progress(entry.run_dir) if last else {}
    status = RunStatus(
        key=entry.key,
        name=entry.name,
        state=state,
        reason=reason,
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
    if last is not None:
        status = replace(
            status,
            outcome=last.outcome,
            started=last.started,
            ended=last.ended,
            node=(job.node if job is not None else "") or last.host,
            mem_peak_gb=last.mem_peak_gb or progress.get("mem_peak_gb"),
            result=last.result,
        )
    return status


def frozen_config(run_dir: Path) -> DictConfig:
    """The config of the latest submission of a run, as a person reads it.

    Raises:
        StoreError: the run was never frozen.
    """
    from omegaconf import DictConfig, OmegaConf

    numbers = store.submission_numbers(run_dir)
    path = store.submission_dir(run_dir, numbers[-1] if numbers else 0) / "config.yaml"
    if not path.exists():
        raise StoreError(f"`{run_dir}` has no frozen config", hint="was the run ever sent?")
    loaded = OmegaConf.load(path)
    assert isinstance(loaded, DictConfig)
    return loaded


def flat_metrics(result: Any) -> dict[str, Any]:
    """What a task returned as flat columns; a bare number is called `value`."""
    if isinstance(result, dict):
        return {str(name): value for name, value in result.items()}
    return {} if result is None else {"value": result}


def _history(entry: RunEntry, path: Path) -> pd.DataFrame:
    import pandas as pd

    wide = pd.read_csv(path)
    if "step" not in wide:
        wide["step"] = range(len(wide))
    long = wide.melt(id_vars="step", var_name="metric").dropna(subset="value")
    long.insert(0, "attempt", path.parent.name)
    long.insert(0, "key", entry.key)
    long.insert(0, "run", entry.name)
    return long


def _value(text: str) -> Any:
    """An override's value as a number where it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
