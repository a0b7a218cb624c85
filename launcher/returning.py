"""Wait for the runs of a command, and give Hydra what they returned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from launcher import store, ui
from launcher.compose import WantedRun, load_function
from launcher.errors import LauncherError, RunsFailedError
from launcher.follow import follow_or_leave
from launcher.scheduler.base import Scheduler
from launcher.states import RunStatus
from launcher.studies import Study


def job_returns(
    study: Study,
    wanted: Sequence[WantedRun],
    scheduler: Scheduler,
    blocked: Collection[str],
    feed: Callable[[], None],
) -> Sequence[JobReturn]:
    """Wait for all runs; what they returned, in the order that Hydra asked for them.

    Args:
        study: The study that they belong to; it is reported when all have ended.
        wanted: The runs of this batch of the command.
        scheduler: Who has their jobs.
        blocked: Keys of runs that will never start.
        feed: Sends what a submit limit left.
    """
    poll_s = wanted[0].settings.poll_s
    ended = follow_or_leave(study, scheduler, poll_s, blocked=blocked, feed=feed)
    conclude(study)
    statuses = {status.key: status for status in ended}
    return [_job_return(run, statuses[run.key], _summary(ended)) for run in wanted]


def _job_return(run: WantedRun, status: RunStatus, summary: str) -> JobReturn:
    returned = store.returned(run.run_dir, run.key) if status.state == "completed" else None
    if returned is None:
        returned = JobReturn(overrides=list(run.overrides), working_dir=str(run.run_dir))
        returned.return_value = status.result
    returned.status = JobStatus.COMPLETED
    if status.state != "completed":
        returned.status = JobStatus.FAILED
        returned.return_value = RunsFailedError(summary)
    assert isinstance(returned, JobReturn)
    return returned


def _summary(ended: Sequence[RunStatus]) -> str:
    """Which runs failed, why, and where to look."""
    failed = [status for status in ended if status.state != "completed"]
    lines = [f"{len(failed)} of {len(ended)} runs failed"]
    lines += [f"  {s.name}: {s.reason or s.state}\n    in {s.run_dir}" for s in failed]
    return "\n".join(lines)


def report(study: Study) -> None:
    """Call the study's report function, or show the plain results where it has none."""
    record = study.record
    if record.report is not None:
        load_function(record.report)(study)
    elif results := study.results():
        rows = [{"run": result.name, **result.metrics} for result in results]
        ui.show(ui.rows_table(rows), title=f"results of {record.study_id}")


def conclude(study: Study) -> None:
    """Report a study that was followed to its end, and write its page where it has one.

    A page that cannot be written is said, and no failure of the runs.
    """
    report(study)
    if study.record.page is None or not study.results():
        return
    try:
        if (path := page(study)) is not None:
            ui.say(f"wrote {path}")
    except LauncherError as error:
        ui.say(f"no report page: {error}\n`launch report {study.path.name}` tries it again")


def page(study: Study, **options: Any) -> Path | None:
    """Write the page of a study by the function that its record names.

    Args:
        study: The study.
        options: Passed on to that function.

    Returns:
        Its file; None where no run has anything to report, such as a pretraining.

    Raises:
        LauncherError: the study names no such function, or it refuses.
    """
    record = study.record
    if record.page is None:
        raise LauncherError(
            f"study `{record.study_id}` names nothing that writes a report page",
            hint="its program sets hydra.launcher.page; the study's command, issued again,"
            " records that",
        )
    path: Path | None = load_function(record.page)(study, **options)
    return path
