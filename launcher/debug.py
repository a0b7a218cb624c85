"""The debug launcher: runs in this process, one after the other, so that breakpoints work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, configure_log

from launcher import files, observing, store, telemetry, ui
from launcher.compose import WantedRun
from launcher.context import RunContext
from launcher.declaring import Declared, declare, entry_of, with_required
from launcher.errors import SubmissionError
from launcher.freeze import freeze_config
from launcher.job import Payload, run_attempt
from launcher.records import SubmissionRecord
from launcher.returning import conclude
from launcher.studies import Study
from launcher.submit import next_number


def run_in_process(
    study_dir: Path,
    wanted: list[WantedRun],
    task: Callable[..., Any],
    declared: Declared,
    overrides: list[str],
) -> Sequence[JobReturn]:
    """Run all runs here; the first exception ends the study, with its own traceback.

    Raises:
        SubmissionError: a run needs more than one process.
    """
    runs = [run for run in with_required(wanted) if not _has_completed_elsewhere(run)]
    for run in runs:
        refuse_ranks(run)
    files.prepare_study(study_dir)
    settings = wanted[0].settings
    declare(study_dir, declared, settings, scheduler="debug", overrides=overrides)
    returned = {run.key: run_one(run, task) for run in runs}
    conclude(Study(study_dir))
    return [returned[run.key] for run in wanted]


def _has_completed_elsewhere(run: WantedRun) -> bool:
    if not run.is_followed:
        return False
    state = observing.statuses([entry_of(run)], None)[run.key].state
    if state != "completed":
        raise SubmissionError(
            f"`{run.name}` of another study is {state}, and the debug launcher waits for nobody",
            hint="use hydra/launcher=slurm or hydra/launcher=local",
        )
    return True


def refuse_ranks(run: WantedRun) -> None:
    """Refuse a run of several processes.

    Raises:
        SubmissionError: it is one.
    """
    if run.shape.world_size > 1:
        raise SubmissionError(
            f"`{run.name}` has {run.shape.world_size} ranks, the debug launcher is one process",
            hint="use hydra/launcher=local, or resources.gpus=1",
        )


def run_one(run: WantedRun, task: Callable[..., Any]) -> JobReturn:
    """Freeze a run and run it here; raises whatever its task raised."""
    ui.say(f"debug: {run.name}")
    number = next_number(run)
    file, _ = freeze_config(run, number)
    sent = SubmissionRecord(
        key=run.key,
        name=run.name,
        number=number,
        scheduler="debug",
        token="debug",
        job_id="debug",
        submitted=files.now(),
        shape=run.shape,
        profile=str(run.profile_dir),
        code="working tree",
        config=str(file),
        payload="",
    )
    store.write_submission(run.run_dir, sent)
    context = RunContext(
        run_dir=run.run_dir,
        key=run.key,
        name=run.name,
        attempt=f"{number:03d}-000",
        cpus_per_rank=run.shape.cpus_per_rank,
        accelerator=run.accelerator,
        inputs={label: needed.run_dir for label, needed in run.requires.items()},
        profile_dir=run.profile_dir,
        probe=run.settings.probe if run.settings.action == "probe" else None,
    )
    config = run.config
    measuring = telemetry.measuring(context) if context.probe is not None else nullcontext()
    try:
        with measuring:
            return run_attempt(Payload(task_function=task), config, context, job_id="debug")
    finally:
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
