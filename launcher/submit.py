"""Apply what a command asks for: plan, freeze what is missing, send it, record it, follow it."""

from __future__ import annotations

import pickle
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from launcher import (
    batches,
    catalog,
    files,
    manage,
    observing,
    preflight,
    sending,
    snapshot,
    store,
    ui,
)
from launcher.compose import WantedRun
from launcher.declaring import Declared, declare, entry_of, with_required
from launcher.errors import StoreError, SubmissionError, one_of
from launcher.freeze import FrozenCode, config_sha, freeze_code, freeze_run
from launcher.plan import Plan, Rules, make_plan
from launcher.records import BatchRecord, RunEntry, SubmissionRecord
from launcher.scheduler.base import Job
from launcher.scheduler.local import LocalScheduler
from launcher.scheduler.slurm import SlurmScheduler, parameters_of
from launcher.settings import StudyLauncherConf
from launcher.states import IN_HANDS, RunStatus
from launcher.studies import Study

TOKEN_TO_COME = "0" * 12
"""Stands in a script that is only shown; each sending draws its own."""


@dataclass(kw_only=True)
class Submission:
    """One command's runs on their way to a scheduler."""

    study_dir: Path
    wanted: list[WantedRun]
    scheduler_name: str
    scheduler: SlurmScheduler | LocalScheduler
    task_overrides: list[str]
    before: Declared = field(default_factory=Declared)
    """What earlier batches of the same command declared."""
    _is_complete: bool = True

    @property
    def settings(self) -> StudyLauncherConf:
        """Settings of the command; what differs between runs is not asked here."""
        return self.wanted[0].settings

    def plan(self) -> Plan:
        """What would be done now; nothing is written.

        Raises:
            SubmissionError: the scheduler gives no answer.
            StoreError: a record of the study, or of a run that is wanted, is damaged.
        """
        return self._plan(self._dropped(), write=False)

    def apply(self, task_function: Callable[..., Any], descriptors: tuple[int, ...]) -> Plan:
        """Freeze and send what the plan says, while no other command does.

        Args:
            task_function: What a run calls.
            descriptors: Of the locks that the caller holds; sbatch inherits them.

        Raises:
            SubmissionError: the scheduler refused; what it had taken before stays sent.
            StoreError: the study folder cannot be written.
        """
        if isinstance(self.scheduler, SlurmScheduler):
            self.scheduler.client.inherited = descriptors
        dropped = self._dropped()
        plan = self._plan(dropped, write=True)
        todo = plan.to_submit()
        jobs = self._jobs(todo, plan)
        files.prepare_study(self.study_dir)
        self._declare(dropped)
        if todo:
            code = freeze_code(snapshot.current(), task_function, self.study_dir)
            self._freeze_and_send(jobs, {run.key: run for run in todo}, code, plan)
        self._cancel_unwanted(plan)
        return plan

    def lock_folders(self) -> list[Path]:
        """Folders that no other command may submit from: the study's, and those of shared runs."""
        own = {run.key for run in self.wanted}
        # Nothing of a study that is followed is sent, and its local command holds its lock.
        shared = [
            entry_of(run)
            for run in with_required(self.wanted)
            if run.key not in own and not run.is_followed
        ]
        return manage.lock_folders(self.study_dir, shared)

    def check(self, runs: Sequence[WantedRun], task_function: Callable[..., Any]) -> None:
        """Refuse runs that could never work, and say what may go wrong.

        Raises:
            SubmissionError: what is wrong with which run.
        """
        loaded = task_function if self._is_code_new() else None
        findings = list(preflight.inspect(preflight.subject_of(self, runs, loaded)))
        preflight.refuse(findings)
        for text in preflight.warnings(findings):
            ui.say(text)

    def _is_code_new(self) -> bool:
        """Whether nobody has seen the task load on its own: of no earlier sending, nor here."""
        is_slurm = isinstance(self.scheduler, SlurmScheduler)
        return is_slurm and not (self.study_dir / "code" / snapshot.current().sha).exists()

    def test_only(self, runs: Sequence[WantedRun]) -> None:
        """Ask the scheduler whether it would take these runs; nothing is sent.

        Raises:
            SubmissionError: it would not.
        """
        self.scheduler.check(self._jobs(list(runs), Plan(rows=())))

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

    def say_how_to_come_back(self) -> None:
        """Job ids, folder, and the commands to come back with."""
        entries = Study(self.study_dir).entries()
        shown = entries[: ui.PLAN_ROWS]
        ids = batches.job_ids(observing.submissions(shown))
        rows = [(ids.get(entry.key, "not sent"), entry.name) for entry in shown]
        ui.say(ui.job_lines(rows, len(entries)))
        ui.say(f"study {self.study_dir.name}\n  in {self.study_dir}")
        name = shlex.quote(catalog.study_word(self.study_dir))
        if not self._is_complete:
            ui.say(
                "your submit limit left some runs unsent; send them when others have ended:"
                f"\n  launch resume {name}"
            )
        ui.say(f"come back with\n  launch status {name}\n  launch results {name}")

    def _adopt(
        self, needed: Iterable[RunEntry], dropped: Iterable[RunEntry], *, write: bool
    ) -> dict[str, BatchRecord]:
        if not isinstance(self.scheduler, SlurmScheduler):
            return {}
        sent = [*observing.submissions(needed).values(), *_with_readable_batch(dropped)]
        return manage.adopt(sent, self.scheduler, write=write)

    def _plan(self, dropped: Sequence[RunEntry], *, write: bool) -> Plan:
        if not write and isinstance(self.scheduler, SlurmScheduler):
            manage.avoid_failing_nodes(self.study_dir, self.scheduler)
        runs = with_required(self.wanted)
        one_of("hydra.launcher.unwanted", self.settings.unwanted, ("keep", "cancel"))
        rules = Rules(failed=self.settings.failed, force=self.settings.force)
        entries = [entry_of(run) for run in runs]
        occupants = _occupants(entries)
        needed = {entry.key: entry for entry in [*entries, *occupants.values()]}
        others = [entry for entry in dropped if entry.key not in needed]
        damaged = _damaged(others)
        intact = [entry for entry in others if entry.key not in damaged]
        adopted = self._adopt(needed.values(), intact, write=write)
        found = observing.statuses([*needed.values(), *intact], self.scheduler, adopted)
        if write and not rules.force and isinstance(self.scheduler, SlurmScheduler):
            asked = [*needed.values(), *intact]
            _, found = manage.conclude_lost(asked, found, self.scheduler)
        _refuse_occupied_folders(entries, occupants, found)
        _refuse_unknown(found.values())
        return make_plan(
            runs,
            found,
            {run.key: config_sha(run) for run in runs if found[run.key].code},
            snapshot.current().sha,
            rules,
            [found[entry.key] for entry in intact if found[entry.key].state in IN_HANDS],
            list(damaged.values()),
        )

    def _dropped(self) -> list[RunEntry]:
        """Runs that the study's record declares and this command does not."""
        if not (self.study_dir / "study.json").exists():
            return []
        record = Study(self.study_dir).record
        kept = self.before.keys() | {run.key for run in with_required(self.wanted)}
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

    def _declare(self, dropped: Sequence[RunEntry]) -> None:
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
        frozen = []
        for job in jobs:
            run = runs[job.key]
            number = next_number(run)
            if self.settings.force:
                files.set_aside(run.run_dir / "checkpoints" / "resume")
            # The token is drawn when it is known what is sent together.
            record = freeze_run(
                run, job, code, number=number, token="", scheduler=self.scheduler_name
            )
            frozen.append((run.run_dir, self._with_learnt(run, record)))
        self._is_complete = sending.hand_over(
            self.study_dir,
            frozen,
            self.scheduler,
            completed={row.run.key for row in plan.rows if row.state == "done"},
        )

    def _with_learnt(self, run: WantedRun, record: SubmissionRecord) -> SubmissionRecord:
        """What earlier lives of the run had to change, it has from the start; force forgets it."""
        before = store.submission(run.run_dir, run.key)
        if before is None or self.settings.force:
            return record
        learnt = store.adjustments(run.run_dir, before)
        # A key that the user has since set to something else is the user's again.
        kept = {k: v for k, v in learnt.config.items() if _is_unchanged(k, run, before)}
        return manage.with_learnt(record, learnt.model_copy(update={"config": kept}))

    def feed(self) -> None:
        """Send what the submit limit left, while following."""
        if isinstance(self.scheduler, SlurmScheduler):
            manage.feed(Study(self.study_dir), self.scheduler)

    def _cancel_unwanted(self, plan: Plan) -> None:
        if self.settings.unwanted == "cancel" and plan.unwanted:
            manage.cancel(plan.unwanted, self.scheduler)


def _is_unchanged(key: str, run: WantedRun, before: SubmissionRecord) -> bool:
    with open(before.config, "rb") as file:
        earlier: DictConfig = pickle.load(file)
    return bool(OmegaConf.select(earlier, key) == OmegaConf.select(run.config, key))


def next_number(run: WantedRun) -> int:
    """Number of the next sending; one that was frozen and never sent is used again."""
    numbers = store.submission_numbers(run.run_dir)
    if not numbers:
        return 1
    latest = store.submission(run.run_dir)
    if latest is None or latest.number < numbers[-1]:
        return numbers[-1]  # the record was never written
    was_sent = batches.job_ids({run.key: latest}) or store.attempts(run.run_dir, latest.number)
    return latest.number + 1 if was_sent or latest.key != run.key else latest.number


def _damaged(entries: Iterable[RunEntry]) -> dict[str, RunStatus]:
    """Runs whose records cannot be read, by key."""
    # Without a scheduler nothing but damage leaves a state unknown.
    alone = observing.statuses(entries, None)
    return {key: status for key, status in alone.items() if status.state == "unknown"}


def _with_readable_batch(entries: Iterable[RunEntry]) -> list[SubmissionRecord]:
    """Submissions of runs, but for those whose batch is damaged."""
    sent = observing.submissions(entries).values()
    known = batches.batches_of(sent)
    return [
        record
        for record in sent
        if record.batch is None or not isinstance(known.get(record.batch), StoreError)
    ]


def _occupants(entries: Sequence[RunEntry]) -> dict[str, RunEntry]:
    """Other runs that were sent from the folders of these, by folder.

    Hydra's own folders are numbered, and used again by the next sweep in the same place.
    """
    found = {}
    for entry in entries:
        latest = store.submission(entry.run_dir)
        if latest is not None and latest.key != entry.key:
            found[entry.run_dir] = RunEntry(
                key=latest.key, name=latest.name, overrides=[], run_dir=entry.run_dir
            )
    return found


def _refuse_unknown(found: Iterable[RunStatus]) -> None:
    for status in found:
        if status.state == "unknown":
            raise SubmissionError(
                f"`{status.name}`: {status.reason}",
                hint="nothing was sent; a run may only be sent when its state is known",
            )


def _refuse_occupied_folders(
    entries: Sequence[RunEntry],
    occupants: Mapping[str, RunEntry],
    found: Mapping[str, RunStatus],
) -> None:
    """Two runs in one folder would write one log and load each other's checkpoints."""
    for entry in entries:
        other = occupants.get(entry.run_dir)
        if other is not None and found[other.key].state in IN_HANDS:
            raise SubmissionError(
                f"the folder of `{entry.name}` is that of another run, `{other.name}`, which is"
                f" {found[other.key].state}: {entry.run_dir}",
                hint="choose another hydra.sweep.dir, or let hydra.sweep.subdir='${run_key:}' name"
                " folders; does the config contain ${now:...}, so that each command is another?",
            )
