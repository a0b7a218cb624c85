"""`launch probe`: try the runs of a command for a few minutes, and say what they take.

Probes are runs of a study of their own, below the folder of the profiles: the folders, keys and
results of the real runs are not touched. They are frozen and sent as runs are.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launcher import files, manage, measures, observing, resolvers, sending, snapshot, store, ui
from launcher.compose import WantedRun
from launcher.debug import refuse_ranks, run_one
from launcher.declaring import Declared, declare, entry_of
from launcher.errors import ConfigError, RunsFailedError, SubmissionError
from launcher.follow import follow_or_leave
from launcher.freeze import freeze_code, freeze_run
from launcher.lock import locked
from launcher.measures import Measure
from launcher.probes import ANSWERS, Probe, Result, check, probes_of
from launcher.scheduler.base import Job, Poller
from launcher.scheduler.slurm import SlurmScheduler, parameters_of
from launcher.states import IN_HANDS, RunStatus
from launcher.studies import Study
from launcher.submit import Submission, next_number
from launcher.ui import probes as ui_probes

_PATIENCE_S = 5.0
"""For the last figures of ranks that leave after the first, over a network file system."""
LEFT_OPEN = ("host_memory", "gpu_memory", "signal_lead", "wandb")
"""Checks that a probe is spared: it measures the first three, and logs nowhere."""


def run(submission: Submission, task_function: Callable[..., Any]) -> None:
    """Probe the runs of a command; waits for the end unless `hydra.launcher.wait=false`.

    Raises:
        ConfigError: a number is too small, or a run requires one that is not completed.
        SubmissionError: the scheduler refused.
        RunsFailedError: a probe ended in a way that says nothing about what the run takes.
    """
    first = submission.wanted[0]
    folder, probes = _prepared(submission.wanted, submission.task_overrides)
    scheduler = replace(submission.scheduler, folder=folder / ".submitit")
    jobs = [_job(probe) for probe in probes]
    _check(replace(submission, study_dir=folder, scheduler=scheduler), probes, task_function)
    ui_probes.show_plan(probes, folder, submission.scheduler_name)
    if first.settings.dry_run:
        ui.say("dry run: nothing was sent, no file was left")
        return
    probing = _Probing(
        folder=folder, probes=probes, jobs=jobs, scheduler=scheduler, submission=submission
    )
    probing.go(task_function)


def _check(
    submission: Submission, probes: Sequence[Probe], task_function: Callable[..., Any]
) -> None:
    """Refuse probes that could never work, as runs are, but not for what they are to find out.

    Raises:
        SubmissionError: what is wrong with which probe.
    """
    runs = []
    for run in (probe.run for probe in probes):
        skipped = [*run.settings.skip_checks, *LEFT_OPEN]
        runs.append(replace(run, settings=replace(run.settings, skip_checks=skipped)))
    submission.check(runs, task_function)


def run_here(
    wanted: Sequence[WantedRun], task_function: Callable[..., Any], overrides: list[str]
) -> None:
    """Probe in this process, so that breakpoints work; what composed the runs counts with it.

    Raises:
        ConfigError: a number is too small, or a run requires one that is not completed.
        SubmissionError: a run needs more than one process.
    """
    folder, probes = _prepared(wanted, overrides)
    for probe in probes:
        refuse_ranks(probe.run)
    ui_probes.show_plan(probes, folder, "debug")
    _declare(folder, probes, "debug", overrides)
    for probe in probes:
        run_one(probe.run, task_function)
    _show(folder, probes, Study(folder).status())


def _prepared(
    wanted: Sequence[WantedRun], overrides: Sequence[str]
) -> tuple[Path, Sequence[Probe]]:
    check(wanted[0].settings.probe)
    folder = folder_of(wanted[0], overrides)
    probes = probes_of(wanted, folder)
    for probe in probes:
        _refuse_unfinished(probe)
    return folder, probes


def folder_of(first: WantedRun, overrides: Sequence[str]) -> Path:
    """Folder of the study that the probes of a command make up.

    The same for commands that differ only in resources, so that their figures come together.
    """
    name = first.settings.study
    if name is None:
        name = resolvers.study_id_of(first.config, overrides)
    return first.profile_dir.parent / "probes" / name


def _refuse_unfinished(probe: Probe) -> None:
    """What a run requires is an input of its steps; without it nothing can be measured."""
    for label, needed in probe.run.requires.items():
        entry = entry_of(needed)
        status = observing.statuses([entry], None)[entry.key]
        if status.state != "completed":
            raise ConfigError(
                f"`{probe.run.name}` requires `{needed.name}`, which is {status.state}: it can be"
                " probed once that one is completed",
                hint=f"let that one run first; launch probe {shlex.join(needed.overrides)} probes"
                f" it, and requires.{label}=null goes without",
            )


def _job(probe: Probe) -> Job:
    one = probe.run
    parameters = parameters_of(one.settings, one.shape)
    return Job(key=one.key, name=one.name, shape=one.shape, parameters=parameters)


@dataclass(frozen=True, kw_only=True)
class _Probing:
    """The probes of one command on their way."""

    folder: Path
    probes: Sequence[Probe]
    jobs: Sequence[Job]
    scheduler: Any
    """A SlurmScheduler or LocalScheduler that keeps its files in the probes' folder."""
    submission: Submission

    def go(self, task_function: Callable[..., Any]) -> None:
        is_local = self.submission.scheduler_name == "local"
        waits = self.submission.settings.wait is not False
        with locked([self.folder], manage.say_waiting) as descriptors:
            if isinstance(self.scheduler, SlurmScheduler):
                self.scheduler.client.inherited = descriptors
            self._send(task_function)
            if is_local:  # local runs belong to the command until they have ended
                self._finish()
                return
        if waits:
            self._finish()
        else:
            ui_probes.say_how_to_come_back(self.folder)

    def _send(self, task_function: Callable[..., Any]) -> None:
        self._refuse_busy()
        name = self.submission.scheduler_name
        _declare(self.folder, self.probes, name, self.submission.task_overrides)
        code = freeze_code(snapshot.current(), task_function, self.folder)
        frozen = []
        for probe, job in zip(self.probes, self.jobs, strict=True):
            run = probe.run
            # It begins anew: what an earlier probe saved is worth nothing.
            shutil.rmtree(_checkpoints(run), ignore_errors=True)
            sent = freeze_run(run, job, code, number=next_number(run), token="", scheduler=name)
            frozen.append((run.run_dir, sent))
        if not sending.hand_over(self.folder, frozen, self.scheduler):
            raise SubmissionError(
                "your submit limit left some probes unsent",
                hint="issue the command again when other jobs have ended",
            )

    def _refuse_busy(self) -> None:
        entries = [entry_of(probe.run) for probe in self.probes]
        for status in observing.statuses(entries, self.scheduler).values():
            if status.state in IN_HANDS or status.state == "unknown":
                raise SubmissionError(
                    f"the probe of `{status.name}` is {status.state}: {status.reason or 'wait'}",
                    hint=f"launch status {self.folder} shows it",
                )

    def _finish(self) -> None:
        keys = {probe.run.key for probe in self.probes}
        poll_s = self.submission.settings.poll_s
        ended = follow_or_leave(_SomeOf(self.folder, keys), self.scheduler, poll_s)
        _show(self.folder, self.probes, ended)


def _declare(folder: Path, probes: Sequence[Probe], scheduler: str, overrides: list[str]) -> None:
    """Add probes to their study; those of earlier commands stay in it."""
    measures.keep_out_of_git(folder)
    files.prepare_study(folder)
    has_earlier = (folder / "study.json").exists()
    earlier = Declared(runs=Study(folder).record.runs) if has_earlier else Declared()
    declare(
        folder,
        earlier.plus([replace(probe.run, requires={}) for probe in probes]),
        probes[0].run.settings,
        scheduler=scheduler,
        overrides=overrides,
    )


def _show(folder: Path, probes: Sequence[Probe], ended: Sequence[RunStatus]) -> None:
    """Print what ended probes took.

    Raises:
        RunsFailedError: some ended in a way that says nothing.
    """
    by_key = {status.key: status for status in ended}
    results = [
        Result(probe=one, status=by_key[one.run.key], measure=_measure(one, by_key[one.run.key]))
        for one in probes
    ]
    for probe in probes:
        shutil.rmtree(_checkpoints(probe.run), ignore_errors=True)
    ui_probes.show_results(results, folder)
    failed = [result for result in results if result.outcome not in ANSWERS]
    if failed:
        lines = [
            f"  {result.probe.run.name}: {result.status.reason or result.outcome or '?'}\n"
            f"    in {result.probe.run.run_dir}"
            for result in failed
        ]
        raise RunsFailedError(
            "\n".join([f"{len(failed)} of {len(results)} probes measured nothing", *lines])
        )


def _checkpoints(run: WantedRun) -> Path:
    """What a probe saves to know how long it takes; as large as the model, and of no use."""
    return run.run_dir / "checkpoints" / "resume"


@dataclass(frozen=True)
class _SomeOf(Study):
    """A study of which only some runs are looked at."""

    keys: Collection[str]

    def status(self, scheduler: Poller | None = None) -> list[RunStatus]:
        return [status for status in super().status(scheduler) if status.key in self.keys]


def _measure(probe: Probe, status: RunStatus) -> Measure | None:
    """What a probe took; where it completed, all of its ranks are about to say it."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        found = _latest_measure(probe.run.run_dir)
        told = [use.outcome for use in found.ranks] if found is not None else []
        is_whole = len(told) == probe.run.shape.world_size and None not in told
        if is_whole or status.outcome != "completed" or time.monotonic() > until:
            return found
        time.sleep(0.1)


def _latest_measure(run_dir: Path) -> Measure | None:
    """What the latest sending of a run took."""
    numbers = store.submission_numbers(run_dir)
    found = [m for m in measures.of_run(run_dir) if m.attempt.startswith(f"{numbers[-1]:03d}-")]
    return found[-1] if found else None
