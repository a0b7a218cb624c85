"""Apply what a command asks for: check, freeze what is missing, send it, record it, follow it."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from launcher import store, ui
from launcher.compose import WantedRun, load_function
from launcher.follow import follow
from launcher.freeze import FrozenCode, freeze_code, freeze_run
from launcher.records import RunEntry, StudyRecord, SubmissionRecord
from launcher.scheduler import Job, JobStatus, Scheduler
from launcher.states import FINAL, RunStatus
from launcher.studies import Study, status_of

INTERRUPTED = 130
"""Exit code after ctrl-C, as shells have it."""


@dataclass(kw_only=True)
class Submission:
    """One command's runs on their way to a scheduler."""

    study_dir: Path
    wanted: list[WantedRun]
    scheduler_name: str
    scheduler: Scheduler
    task_overrides: list[str]
    _ended: list[RunStatus] = field(default_factory=list)

    def send(self, task_function: Callable[..., Any]) -> None:
        """Check, freeze and send the runs that are not finished or on their way already.

        Raises:
            SubmissionError: a check failed; nothing was sent.
            StoreError: the study folder cannot be written.
        """
        states = self._known_states()
        for run in with_required(self.wanted):
            if states[run.key] is not None:
                ui.say(f"kept: {run.name} is {states[run.key]}")
        todo = [run for run in with_required(self.wanted) if states[run.key] is None]
        wanted = {run.key for run in self.wanted}
        jobs = [_job(run, states, is_required=run.key not in wanted) for run in todo]
        self.scheduler.check(jobs)
        store.prepare_study(self.study_dir)
        declare(self.study_dir, self.wanted, self.scheduler_name, self.task_overrides)
        if todo:
            code = freeze_code(task_function, self.study_dir)
            self._submit(
                [_frozen(job, run, code) for job, run in zip(jobs, todo, strict=True)], code
            )

    def follow(self) -> list[RunStatus]:
        """Wait until all runs have ended, then report."""
        study = Study(self.study_dir)
        try:
            self._ended = follow(study, self.scheduler, self.wanted[0].settings.poll_s)
        except KeyboardInterrupt:
            ui.say(self.scheduler.interrupted())
            raise SystemExit(INTERRUPTED) from None
        report(study)
        return self._ended

    def say_how_to_come_back(self) -> None:
        """Job ids, folder, and the commands to come back with."""
        for run in with_required(self.wanted):
            sent = store.submission(run.run_dir)
            ui.say(f"  {(sent.job_id if sent else None) or '?':>10}  {run.name}")
        name = self.study_dir.name
        ui.say(f"study {name}\n  in {self.study_dir}")
        ui.say(f"come back with\n  launch status {name}\n  launch results {name}")

    def failure_summary(self) -> str:
        """Which runs failed, why, and where to look."""
        failed = [status for status in self._ended if status.state != "completed"]
        folders = {entry.key: entry.run_dir for entry in Study(self.study_dir).entries()}
        lines = [f"{len(failed)} of {len(self._ended)} runs failed"]
        lines += [f"  {s.name}: {s.reason}\n    in {folders[s.key]}" for s in failed]
        return "\n".join(lines)

    def _known_states(self) -> dict[str, str | None]:
        """State of each run that is finished or in the scheduler's hands; None: to be sent."""
        runs = with_required(self.wanted)
        sent = {run.key: store.submission(run.run_dir) for run in runs}
        in_hands = {
            key: record.job_id
            for key, record in sent.items()
            if record is not None and record.job_id and record.scheduler == self.scheduler_name
        }
        for key, job_id in in_hands.items():
            self.scheduler.watch(key, job_id)
        jobs = self.scheduler.poll() if in_hands else {}
        return {run.key: self._known_state(run, jobs.get(run.key)) for run in runs}

    def _known_state(self, run: WantedRun, job: JobStatus | None) -> str | None:
        state = status_of(entry_of(run), job).state
        if state == "completed":
            return state
        # Without a job it was never handed over, or to a scheduler that is not asked now.
        return None if job is None or state in FINAL else state

    def _submit(self, jobs: list[Job], code: FrozenCode) -> None:
        tokens = {job.key: uuid.uuid4().hex[:12] for job in jobs}

        def record(job: Job, job_id: str | None) -> None:
            sent = SubmissionRecord(
                key=job.key,
                number=job.attempt.number,
                scheduler=self.scheduler_name,
                token=tokens[job.key],
                job_id=job_id,
                submitted=store.now(),
                shape=str(job.shape),
                code=code.sha,
                commit=code.commit,
            )
            store.write_record(Path(job.attempt.run_dir) / "submission.json", sent)

        for job in jobs:
            record(job, None)
        self.scheduler.submit(jobs, record)


def _job(run: WantedRun, states: dict[str, str | None], *, is_required: bool) -> Job:
    waits_for = [r.key for r in run.requires.values() if states[r.key] != "completed"]
    return Job(
        key=run.key,
        name=run.name,
        shape=run.shape,
        settings=run.settings,
        after=tuple(waits_for),
        is_required=is_required,
    )


def _frozen(job: Job, run: WantedRun, code: FrozenCode) -> Job:
    sent = store.submission(run.run_dir)
    attempt = freeze_run(run, code, sent.number + 1 if sent else 1)
    return replace(job, frozen_attempt=attempt, python_path=code.python_path)


def with_required(wanted: Iterable[WantedRun]) -> list[WantedRun]:
    """The runs and all that they require, each once, and after what it requires."""
    listed: dict[str, WantedRun] = {}
    for run in wanted:
        for needed in with_required(run.requires.values()):
            listed.setdefault(needed.key, needed)
        listed.setdefault(run.key, run)
    return list(listed.values())


def entry_of(run: WantedRun) -> RunEntry:
    """What a study's record says of a run."""
    return RunEntry(
        key=run.key,
        name=run.name,
        overrides=list(run.overrides),
        run_dir=str(run.run_dir),
        requires={label: needed.key for label, needed in run.requires.items()},
    )


def declare(
    study_dir: Path, wanted: list[WantedRun], scheduler_name: str, overrides: list[str]
) -> None:
    """Write the study's record."""
    settings = wanted[0].settings
    keys = {run.key for run in wanted}
    required = [run for run in with_required(wanted) if run.key not in keys]
    record = StudyRecord(
        study_id=study_dir.name,
        created=store.now(),
        command=sys.argv,
        overrides=overrides,
        runs=[entry_of(run) for run in wanted],
        prerequisites=[entry_of(run) for run in required],
        report=settings.report,
        cluster=settings.cluster.name,
        scheduler=scheduler_name,
        environment=settings.cluster.environment,
    )
    store.write_record(study_dir / "study.json", record)


def report(study: Study) -> None:
    """Call the study's report function, or show the plain results where it has none."""
    record = study.record
    if record.report is not None:
        load_function(record.report)(study)
    elif results := study.results():
        rows = [{"run": result.name, **result.metrics} for result in results]
        ui.show(ui.rows_table(rows), title=f"results of {record.study_id}")
