"""`launch cancel`, `launch retry`, `launch resume`."""

from __future__ import annotations

from typing import Annotated

import typer

from launcher import manage, ui
from launcher.cli.common import (
    OUTPUTS,
    OneStudy,
    Picked,
    Root,
    StudyName,
    Words,
    pick,
    picked_status,
    scheduler_of,
)
from launcher.errors import LauncherError, RunsFailedError
from launcher.scheduler.base import Scheduler
from launcher.states import FINAL, RunStatus

All = Annotated[bool, typer.Option("--all", help="All runs of the study.")]
Failed = Annotated[bool, typer.Option("--failed", help="All runs that failed.")]


def cancel(
    words: Words = None, study: StudyName = None, root: Root = OUTPUTS, all_runs: All = False
) -> None:
    """Cancel runs; they stay cancelled until somebody retries them."""
    rows, scheduler = _named(pick(words, study, root), is_all=all_runs, option="--all")
    living = [row for row in rows if row.state not in FINAL and row.state != "new"]
    if not living:
        raise LauncherError(
            "none of these runs is on its way: " + _states(rows),
            hint="`launch status` shows the states",
        )
    if scheduler is None:
        raise LauncherError("a run of the debug launcher ends with its own process")
    manage.cancel(living, scheduler)
    ui.say(f"cancelled {len(living)}: {_names(living)}")


def retry(
    words: Words = None, study: StudyName = None, root: Root = OUTPUTS, failed: Failed = False
) -> None:
    """Send runs once more as they were frozen: the failed ones, or those that are named."""
    picked = pick(words, study, root)
    rows, scheduler = _named(picked, is_all=failed, option="--failed")
    again = [row for row in rows if row.state in ("failed", "cancelled")]
    if picked.words and len(again) < len(rows):
        others = [row for row in rows if row not in again]
        raise LauncherError(
            f"only failed and cancelled runs are sent again: {_states(others)}",
            hint="the study's command with force=true runs a finished one once more",
        )
    if not again:
        raise LauncherError("no run has failed", hint="`launch status` shows the states")
    if scheduler is None:
        raise LauncherError("issue the study's command again: the debug launcher runs in it")
    _finish(manage.retry(picked.study, again, scheduler), picked.study.path.name)


def resume(study: OneStudy = None, root: Root = OUTPUTS) -> None:
    """Send what the study declares and no scheduler has: left by a limit, a crash, a node."""
    picked = pick(None, study, root)
    scheduler = scheduler_of(picked.study)
    if scheduler is None:
        raise LauncherError("issue the study's command again: the debug launcher runs in it")
    _finish(manage.resume(picked.study, scheduler), picked.study.path.name)


def _finish(sent: manage.Sent, name: str) -> None:
    if sent.failed:
        raise RunsFailedError(f"{len(sent.failed)} runs failed: {', '.join(sent.failed)}")
    if sent.went_on:
        ui.say(f"{len(sent.went_on)} go on under the same job id")
    if sent.runs:
        ui.say(f"sent {len(sent.runs)}: {', '.join(sent.runs[:8])}{' ...' * bool(sent.runs[8:])}")
    elif not sent.went_on:
        ui.say("nothing to send: every run is finished, on its way, or failed by itself")
    if sent.left:
        ui.say(f"{sent.left} more wait for your submit limit; launch resume {name}")


def _named(
    picked: Picked, *, is_all: bool, option: str
) -> tuple[list[RunStatus], Scheduler | None]:
    """The runs that a command names, by words or by its option for all, and who has them."""
    hint = "RUNS are indexes, ranges, names and key=value filters"
    if picked.words and is_all:
        raise LauncherError(f"give runs or `{option}`, not both", hint=hint)
    if not picked.words and not is_all:
        raise LauncherError(f"say which runs, or `{option}`", hint=hint)
    scheduler = scheduler_of(picked.study)
    rows = picked_status(picked, picked.study.status(scheduler))
    # Runs of a study that is followed are its own; who names one means it.
    theirs = picked.study.record.followed if is_all else []
    return [row for _, row in rows if row.key not in theirs], scheduler


def _states(rows: list[RunStatus]) -> str:
    return ", ".join(f"{row.name} is {row.state}" for row in rows[:8])


def _names(rows: list[RunStatus]) -> str:
    return ", ".join(row.name for row in rows[:8]) + " ..." * bool(rows[8:])
