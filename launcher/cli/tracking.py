"""`launch sync`, `launch dashboard`."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from launcher import ui
from launcher.cli.common import (
    OUTPUTS,
    AsJson,
    OneStudy,
    Picked,
    Root,
    StudyName,
    Words,
    pick,
    picked_status,
    print_json,
    scheduler_of,
)
from launcher.errors import LauncherError, RunsFailedError
from launcher.states import FINAL

if TYPE_CHECKING:
    from launcher.tracking.syncing import Tracked

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what is synced, send nothing.")]
Watch = Annotated[
    bool, typer.Option("--watch", "-w", help="Go on until all runs have ended and are synced.")
]
AsJob = Annotated[
    bool,
    typer.Option("--job", help="Send a job of SLURM that syncs when the study's jobs have ended."),
]
Partition = Annotated[
    str | None,
    typer.Option("--partition", help="With --job: one whose nodes have a way out."),
]
Interval = Annotated[float, typer.Option("--interval", help="Seconds between two rounds.")]


def sync(
    words: Words = None,
    study: StudyName = None,
    root: Root = OUTPUTS,
    watch: Watch = False,
    interval: Interval = 60.0,
    dry_run: DryRun = False,
    job: AsJob = False,
    partition: Partition = None,
    as_json: AsJson = False,
) -> None:
    """Bring to W&B what runs left on disk, in order; can be stopped and issued again."""
    from launcher.tracking import syncing

    picked = pick(words, study, root)
    if job and (dry_run or watch):
        raise LauncherError(
            "`--job` sends a job that watches; `--dry-run` and `--watch` are for this shell",
            hint="drop one of them",
        )
    if partition is not None and not job:
        raise LauncherError("`--partition` says where a job runs", hint="add --job")
    if job:
        _send_job(picked, partition)
        return
    if not dry_run:
        syncing.require_server()
    try:
        with contextlib.nullcontext() if dry_run else syncing.alone(picked.study.path):
            while True:
                failed, found, goes_on = _round(picked, dry_run=dry_run)
                if not (watch and goes_on) or dry_run:
                    break
                time.sleep(interval)
    except KeyboardInterrupt:
        ui.say("stopped; the same command goes on where this one was")
        return
    if as_json:
        print_json([run.row() for run in found])
    else:
        ui.show(ui.rows_table([run.row() for run in found]))
        _say_where(found)
    if failed:
        raise RunsFailedError(f"{len(failed)} runs are not synced: {'; '.join(failed)}")


def _send_job(picked: Picked, partition: str | None) -> None:
    from launcher.tracking import sync_job

    statuses = picked.study.status(scheduler_of(picked.study))
    sent, waited_for = sync_job.submit(picked.study, statuses, partition)
    waits = f"waits for {', '.join(waited_for)}" if waited_for else "nothing to wait for"
    ui.say(f"job {sent} syncs {picked.study.path.name}, {waits}")


def _round(picked: Picked, *, dry_run: bool) -> tuple[list[str], list[Tracked], bool]:
    """Sync each run once; returns what failed, how all stand, and whether more will come."""
    from launcher.tracking import syncing

    statuses = picked.study.status(scheduler_of(picked.study))
    chosen = [status for _, status in picked_status(picked, statuses)]
    found = syncing.tracked(chosen, 0.0 if dry_run else syncing.PUBLISHED_WITHIN_S)
    if not found:
        raise LauncherError(
            f"no run of study `{picked.study.path.name}` is tracked by W&B",
            hint="tracking=wandb or tracking=[csv,wandb_offline] with the study's command",
        )
    failed = []
    for run in found if not dry_run else []:
        if not run.is_synced and (trouble := syncing.sync(run)):
            failed.append(f"{run.name}: {trouble}")
    goes_on = any(status.state not in FINAL for status in chosen) or bool(failed)
    return failed, syncing.tracked(chosen, 0.0), goes_on


def _say_where(found: list[Tracked]) -> None:
    """Where W&B shows the runs, or how to look at what is on disk without it."""
    offline = [run for run in found if not run.is_synced and run.fragments]
    if offline:
        folder = offline[0].fragments[-1].path.parent
        ui.say(f"to look at one without W&B: wandb leet {_relative(folder)}")


def _relative(folder: Path) -> Path:
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


OneMetric = Annotated[
    str | None, typer.Option("--metric", help="Result by which runs are compared.")
]
Entity = Annotated[str | None, typer.Option("--entity", help="User or team at W&B.")]
Question = Annotated[str, typer.Option("--question", help="What the study asks; heads the report.")]
Offline = Annotated[bool, typer.Option("--offline", help="Only write the specifications.")]


def dashboard(
    name: OneStudy = None,
    root: Root = OUTPUTS,
    metric: OneMetric = None,
    entity: Entity = None,
    question: Question = "",
    offline: Offline = False,
) -> None:
    """Create or update the workspace and the report of a study at W&B.

    Without a network it writes both specifications; the same command applies them where there is
    one.
    """
    from launcher.tracking import dashboard as boards
    from launcher.tracking import page, preview, showing
    from launcher.tracking.wandb_run import has_key, why_unreachable

    study = pick(None, name, root).study
    shown = showing.look(study, metric, entity)
    folder = study.path / "dashboard"
    picture = folder / "preview.png"
    paths = boards.write(shown, folder, question)
    preview.draw(study, shown, picture)
    for path in [*paths, picture]:
        ui.say(f"wrote {_relative(path.absolute())}")
    reason = "asked to stay offline" if offline else "" if has_key() else "there is no key for W&B"
    reason = reason or why_unreachable()
    if not reason and not shown.entity:
        reason = "nothing says whose project it is: --entity, or tracking.wandb.entity"
    if reason:
        ui.say(f"not applied: {reason}")
        ui.say(f"`launch dashboard {study.path.name}` applies them on a machine that can reach W&B")
        return
    for address in boards.apply(shown, folder, question):
        ui.say(address)
    if trouble := page.publish(study.path, shown):
        raise LauncherError(f"the page of `launch report` is no artifact: {trouble}")
