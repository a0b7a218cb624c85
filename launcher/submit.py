"""Apply what a command asks for: plan, freeze what is missing, send it, record it, follow it."""

from __future__ import annotations

import shlex
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher import manage, sending, snapshot, store, studies, ui
from launcher.compose import WantedRun, load_function
from launcher.errors import RunsFailedError, SubmissionError, one_of
from launcher.follow import follow
from launcher.freeze import FrozenCode, config_sha, freeze_code, freeze_run
from launcher.plan import Plan, Rules, make_plan
from launcher.records import RunEntry, StudyRecord, SubmissionRecord
from launcher.scheduler.base import Job
from launcher.scheduler.local import LocalScheduler
from launcher.scheduler.slurm import SlurmScheduler, parameters_of
from launcher.settings import StudyLauncherConf
from launcher.states import IN_HANDS, RunStatus
from launcher.studies import Study

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

TOKEN_TO_COME = "0" * 12
"""Stands in a script that is only shown; each sending draws its own."""
INTERRUPTED = 130
"""Exit code after ctrl-C, as shells have it."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """Runs of a study, and those that they require."""

    runs: Sequence[RunEntry] = ()
    prerequisites: Sequence[RunEntry] = ()

    def keys(self) -> set[str]:
        """Keys of all of them."""
        return {entry.key for entry in (*self.runs, *self.prerequisites)}

    def plus(self, wanted: Iterable[WantedRun]) -> Declared:
        """With further runs and what they require, each once."""
        runs = {entry.key: entry for entry in self.runs}
        needed = {entry.key: entry for entry in self.prerequisites}
        listed = list(wanted)
        runs.update({run.key: entry_of(run) for run in listed})
        needed.update({run.key: entry_of(run) for run in with_required(listed)})
        return Declared(
            runs=list(runs.values()),
            prerequisites=[entry for key, entry in needed.items() if key not in runs],
        )


@dataclass(kw_only=True)
class Submission:
    """One command's runs on their way to a scheduler."""

    study_dir: Path
    wanted: list[WantedRun]
    scheduler_name: str
    scheduler: SlurmScheduler | LocalScheduler
    task_overrides: list[str]
    before: Declared = field(default_factory=lambda: Declared())
    """What earlier batches of the same command declared."""
    _is_complete: bool = True
    _ended: list[RunStatus] = field(default_factory=list)

    @property
    def settings(self) -> StudyLauncherConf:
        """Settings of the command; what differs between runs is not asked here."""
        return self.wanted[0].settings

    def plan(self) -> Plan:
        """What would be done now; nothing is written.

        Raises:
            SubmissionError: the scheduler gives no answer.
            StoreError: a record is damaged.
        """
        runs = with_required(self.wanted)
        sent = studies.submissions(entry_of(run) for run in runs)
        self._adopt(sent, write=False)
        return self._plan(runs)

    def apply(self, task_function: Callable[..., Any], descriptors: tuple[int, ...]) -> Plan:
        """Freeze and send what the plan says, while no other command does.

        Args:
            task_function: What a run calls.
            descriptors: Of the locks that the caller holds; sbatch inherits them.

        Raises:
            SubmissionError: the scheduler refused; what it had taken before stays sent.
            StoreError: the study folder cannot be written.
        """
        runs = with_required(self.wanted)
        if isinstance(self.scheduler, SlurmScheduler):
            self.scheduler.inherited = descriptors
        sent = studies.submissions(entry_of(run) for run in runs)
        self._adopt(sent, write=True)
        plan = self._plan(runs)
        todo = plan.to_submit()
        jobs = self._jobs(todo, plan)
        store.prepare_study(self.study_dir)
        self._declare(plan)
        if todo:
            code = freeze_code(snapshot.current(), task_function, self.study_dir)
            self._freeze_and_send(jobs, {run.key: run for run in todo}, code, plan)
        self._cancel_unwanted(plan)
        return plan

    def lock_folders(self) -> list[Path]:
        """Folders that no other command may submit from: the study's, and those of shared runs."""
        own = {run.key for run in self.wanted}
        shared = [run.run_dir for run in with_required(self.wanted) if run.key not in own]
        return [self.study_dir, *shared]

    def check(self, plan: Plan) -> None:
        """Refuse what the scheduler could never run.

        Raises:
            SubmissionError: the first such run.
        """
        self.scheduler.check(self._jobs(plan.to_submit(), plan))

    def scripts(self, plan: Plan) -> list[str]:
        """The sbatch script of each array, as it would be sent."""
        if not isinstance(self.scheduler, SlurmScheduler):
            return []
        code = snapshot.current()
        folder = self.study_dir / "code" / code.sha
        path = tuple(snapshot.search_path(code.root, folder))
        groups = self.scheduler.groups(self._jobs(plan.to_submit(), plan))
        return [
            self.scheduler.script(
                replace(group[0], python_path=path),
                TOKEN_TO_COME,
                (0, len(group) - 1) if group[1:] else None,
            )
            for group in groups
        ]

    def confirm(self, plan: Plan, ask: Callable[[str], bool] | None) -> None:
        """Ask before a large submission; `ask` is None where nobody can answer.

        Raises:
            SubmissionError: it is large, and nobody said yes.
        """
        runs, settings = len(plan.to_submit()), self.settings
        is_large = runs > settings.ask_above_runs or plan.gpu_hours > settings.ask_above_gpu_hours
        if settings.yes or self.scheduler_name != "slurm" or not is_large:
            return
        asked = f"{runs} runs and up to {plan.gpu_hours:,.0f} GPU-hours"
        if ask is not None and ask(f"send {asked}?"):
            return
        raise SubmissionError(
            f"this asks for {asked}; above {settings.ask_above_runs} runs or"
            f" {settings.ask_above_gpu_hours:,.0f} GPU-hours somebody has to say yes",
            hint="look with hydra.launcher.dry_run=true, then send with hydra.launcher.yes=true",
        )

    def job_returns(self, plan: Plan) -> Sequence[JobReturn]:
        """Wait for all runs; what they returned, in the order that Hydra asked for them."""
        from hydra.core.utils import JobReturn, JobStatus

        statuses = {status.key: status for status in self._follow(plan.blocked())}
        returns = []
        for run in self.wanted:
            status = statuses[run.key]
            kept = store.returned(run.run_dir) if status.state == "completed" else None
            returned = kept or JobReturn(
                overrides=list(run.overrides), working_dir=str(run.run_dir)
            )
            if status.state == "completed":
                returned.status = JobStatus.COMPLETED
                if kept is None:
                    returned.return_value = status.result
            else:
                returned.status = JobStatus.FAILED
                returned.return_value = RunsFailedError(self._failure_summary())
            returns.append(returned)
        return returns

    def _follow(self, blocked: set[str]) -> list[RunStatus]:
        """Wait until all runs have ended, then report."""
        study = Study(self.study_dir)
        try:
            self._ended = follow(
                study, self.scheduler, self.settings.poll_s, blocked=blocked, feed=self._feed
            )
        except KeyboardInterrupt:
            ui.say(self.scheduler.interrupted())
            raise SystemExit(INTERRUPTED) from None
        report(study)
        return self._ended

    def say_how_to_come_back(self) -> None:
        """Job ids, folder, and the commands to come back with."""
        entries = Study(self.study_dir).entries()
        ids = sending.job_ids(studies.submissions(entries))
        ui.say(ui.job_lines([(ids.get(entry.key, "not sent"), entry.name) for entry in entries]))
        ui.say(f"study {self.study_dir.name}\n  in {self.study_dir}")
        name = shlex.quote(store.study_word(self.study_dir))
        if not self._is_complete:
            ui.say(
                "your submit limit left some runs unsent; send them when others have ended:"
                f"\n  launch resume {name}"
            )
        ui.say(f"come back with\n  launch status {name}\n  launch results {name}")

    def _failure_summary(self) -> str:
        """Which runs failed, why, and where to look."""
        failed = [status for status in self._ended if status.state != "completed"]
        lines = [f"{len(failed)} of {len(self._ended)} runs failed"]
        lines += [f"  {s.name}: {s.reason or s.state}\n    in {s.run_dir}" for s in failed]
        return "\n".join(lines)

    def _adopt(self, sent: Mapping[str, SubmissionRecord], *, write: bool) -> None:
        if isinstance(self.scheduler, SlurmScheduler):
            manage.adopt(sent.values(), self.scheduler, write=write)

    def _plan(self, runs: list[WantedRun]) -> Plan:
        one_of("hydra.launcher.unwanted", self.settings.unwanted, ("keep", "cancel"))
        rules = Rules(failed=self.settings.failed, force=self.settings.force)
        entries = [entry_of(run) for run in runs]
        dropped = self._dropped({entry.key for entry in entries})
        found = studies.statuses([*entries, *dropped], self.scheduler)
        for status in found.values():
            if status.state == "unknown":
                raise SubmissionError(
                    f"`{status.name}`: {status.reason}",
                    hint="nothing was sent; a run may only be sent when its state is known",
                )
        return make_plan(
            runs,
            found,
            {run.key: config_sha(run) for run in runs if found[run.key].code},
            snapshot.current().sha,
            rules,
            [found[entry.key] for entry in dropped if found[entry.key].state in IN_HANDS],
        )

    def _dropped(self, wanted: set[str]) -> list[RunEntry]:
        """Runs that the study's record declares and this command does not."""
        if not (self.study_dir / "study.json").exists():
            return []
        record = Study(self.study_dir).record
        kept = wanted | self.before.keys()
        return [entry for entry in [*record.runs, *record.unwanted] if entry.key not in kept]

    def _jobs(self, todo: list[WantedRun], plan: Plan) -> list[Job]:
        done = {row.run.key for row in plan.rows if row.state == "done" and row.action == "keep"}
        own = {run.key for run in self.wanted}
        return [
            Job(
                key=run.key,
                name=run.name,
                shape=run.shape,
                parameters=parameters_of(run.settings, run.shape),
                after=tuple(n.key for n in run.requires.values() if n.key not in done),
                is_required=run.key not in own,
            )
            for run in todo
        ]

    def declared(self) -> Declared:
        """What the command has declared so far, this batch included."""
        return self.before.plus(self.wanted)

    def _declare(self, plan: Plan) -> None:
        dropped = self._dropped({row.run.key for row in plan.rows})
        declare(
            self.study_dir,
            self.declared(),
            self.settings,
            scheduler=self.scheduler_name,
            overrides=self.task_overrides,
            unwanted=dropped,
        )

    def _freeze_and_send(
        self, jobs: list[Job], runs: dict[str, WantedRun], code: FrozenCode, plan: Plan
    ) -> None:
        frozen: list[list[tuple[Path, SubmissionRecord]]] = []
        for group in self.scheduler.groups(jobs):
            token = uuid.uuid4().hex[:12]
            frozen.append([])
            for index, job in enumerate(group):
                run = runs[job.key]
                record = freeze_run(
                    run,
                    job,
                    code,
                    number=next_number(run),
                    token=token,
                    index=index,
                    batch=self._batch_file(token),
                    scheduler=self.scheduler_name,
                )
                store.write_submission(run.run_dir, record)
                frozen[-1].append((run.run_dir, record))
        for key in runs:
            self.scheduler.forget(key)
        self._send(frozen, {row.run.key for row in plan.rows if row.state == "done"})

    def _batch_file(self, token: str) -> str | None:
        return str(store.batch_path(self.study_dir, token)) if self._is_slurm else None

    @property
    def _is_slurm(self) -> bool:
        return isinstance(self.scheduler, SlurmScheduler)

    def _send(self, frozen: list[list[tuple[Path, SubmissionRecord]]], completed: set[str]) -> None:
        if isinstance(self.scheduler, LocalScheduler):
            self.scheduler.enqueue([sent for group in frozen for sent in group])
            return
        scheduler = self.scheduler
        batches = [
            sending.create(self.study_dir, group, scheduler.batch_pickle(group[0][1].token))
            for group in frozen
        ]
        sender = sending.Sender(
            scheduler=scheduler, completed=completed, known=scheduler.is_watching
        )
        self._is_complete = sender.send(batches)

    def _feed(self) -> None:
        """Send what the submit limit left, while following."""
        if isinstance(self.scheduler, SlurmScheduler):
            manage.feed(Study(self.study_dir), self.scheduler)

    def _cancel_unwanted(self, plan: Plan) -> None:
        if self.settings.unwanted == "cancel" and plan.unwanted:
            manage.cancel(plan.unwanted, self.scheduler)


def next_number(run: WantedRun) -> int:
    """Number of the next sending; one that was frozen and never sent is used again."""
    numbers = store.submission_numbers(run.run_dir)
    if not numbers:
        return 1
    latest = store.submission(run.run_dir)
    if latest is None or latest.number < numbers[-1]:
        return numbers[-1]  # the record was never written
    if latest.key == run.key and latest.job_id is None and not _was_sent(latest):
        return latest.number
    return latest.number + 1


def _was_sent(record: SubmissionRecord) -> bool:
    return bool(sending.job_ids({record.key: record}))


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
    study_dir: Path,
    declared: Declared,
    settings: StudyLauncherConf,
    *,
    scheduler: str,
    overrides: list[str],
    unwanted: Sequence[RunEntry] = (),
) -> None:
    """Write the study's record."""
    record = StudyRecord(
        study_id=study_dir.name,
        created=store.now(),
        command=sys.argv,
        overrides=overrides,
        runs=[_declared(entry, study_dir) for entry in declared.runs],
        prerequisites=[_declared(entry, study_dir) for entry in declared.prerequisites],
        unwanted=[_declared(entry, study_dir) for entry in unwanted],
        report=settings.report,
        cluster=settings.cluster.name,
        scheduler=scheduler,
        environment=settings.cluster.environment,
    )
    store.write_record(study_dir / "study.json", record)


def _declared(entry: RunEntry, study_dir: Path) -> RunEntry:
    """With the folder relative to the study's, so that the study can be moved."""
    folder = Path(entry.run_dir)
    if folder.is_relative_to(study_dir):
        folder = folder.relative_to(study_dir)
    return entry.model_copy(update={"run_dir": str(folder)})


def report(study: Study) -> None:
    """Call the study's report function, or show the plain results where it has none."""
    record = study.record
    if record.report is not None:
        load_function(record.report)(study)
    elif results := study.results():
        rows = [{"run": result.name, **result.metrics} for result in results]
        ui.show(ui.rows_table(rows), title=f"results of {record.study_id}")
