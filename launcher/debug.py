"""The debug launcher: runs in this process, one after the other, so that breakpoints work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, configure_log

from launcher import files, store, ui
from launcher.compose import WantedRun
from launcher.context import RunContext
from launcher.declaring import Declared, declare, with_required
from launcher.errors import SubmissionError
from launcher.freeze import freeze_config
from launcher.job import Payload, run_attempt
from launcher.records import SubmissionRecord
from launcher.returning import report
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
    runs = with_required(wanted)
    for run in runs:
        if run.shape.world_size > 1:
            raise SubmissionError(
                f"`{run.name}` has {run.shape.world_size} ranks, the debug launcher is one process",
                hint="use hydra/launcher=local, or resources.gpus=1",
            )
    files.prepare_study(study_dir)
    settings = wanted[0].settings
    declare(study_dir, declared, settings, scheduler="debug", overrides=overrides)
    returned = {run.key: _run(run, task) for run in runs}
    report(Study(study_dir))
    return [returned[run.key] for run in wanted]


def _run(run: WantedRun, task: Callable[..., Any]) -> JobReturn:
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
        accelerator=run.settings.cluster.accelerator if run.shape.gpus_per_node else "cpu",
        inputs={label: needed.run_dir for label, needed in run.requires.items()},
    )
    config = run.config
    try:
        return run_attempt(Payload(task_function=task), config, context, job_id="debug")
    finally:
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
