"""`launch status`, `launch results`, `launch list`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from launcher import catalog, store, ui, usage
from launcher.cached import remembered_status
from launcher.cli.common import (
    OUTPUTS,
    AsJson,
    Picked,
    Root,
    StudyName,
    Words,
    pick,
    picked_status,
    print_json,
    scheduler_of,
)
from launcher.errors import LauncherError
from launcher.returning import report
from launcher.states import FINAL, RunStatus
from launcher.tracking import links

Watch = Annotated[bool, typer.Option("--watch", "-w", help="Redraw until all runs have ended.")]
Interval = Annotated[float, typer.Option("--interval", help="Seconds between two looks.")]
Everything = Annotated[bool, typer.Option("--all", help="Show every run of a large study.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")]


def status(
    words: Words = None,
    study: StudyName = None,
    root: Root = OUTPUTS,
    as_json: AsJson = False,
    watch: Watch = False,
    interval: Interval = 5.0,
    everything: Everything = False,
) -> None:
    """Show how the runs of a study stand."""
    picked = pick(words, study, root)
    if watch and not as_json:
        _watch(picked, interval)
        return
    rows, caveat = _look(picked)
    if as_json:
        print_json([{"index": index, **asdict(row)} for index, row in rows])
        return
    ui.show_statuses(rows, title=picked.study.path.name, everything=everything)
    if caveat:
        ui.say(caveat)
    if link := links.line((row.run_dir for _, row in rows), picked.study.path.name):
        ui.say(link)


def _look(picked: Picked) -> tuple[list[tuple[int, RunStatus]], str]:
    statuses, caveat = remembered_status(picked.study, scheduler_of(picked.study))
    return picked_status(picked, statuses), caveat


def _watch(picked: Picked, interval_s: float) -> None:
    try:
        with ui.live(ui.is_interactive()) as live:
            while True:
                rows, caveat = _look(picked)
                if live is None:
                    ui.show_statuses(rows, title=picked.study.path.name)
                else:
                    live.update(ui.watched(rows, picked.study.path.name, caveat), refresh=True)
                if all(row.state in FINAL for _, row in rows):
                    return
                time.sleep(interval_s)
    except KeyboardInterrupt:
        ui.say("stopped watching; nothing was done to the runs")


def results(
    words: Words = None,
    study: StudyName = None,
    root: Root = OUTPUTS,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show what the finished runs of a study returned; rewrite its tables and figures."""
    picked = pick(words, study, root)
    meant = _meant(picked)
    rows = [result.row() for result in picked.study.results() if result.key in meant]
    if as_json:
        print_json(rows)
        return
    if not rows:
        name, which = picked.study.path.name, "selected run" if picked.words else "run"
        raise LauncherError(
            f"no {which} of study `{name}` is finished yet", hint="see `launch status`"
        )
    if as_csv:
        _print_csv(rows)
    elif picked.words:
        ui.show(ui.rows_table(rows))
    else:
        report(picked.study)
    ui.say(_finished(len(rows), len(meant), len(picked.study.record.runs)))


def _meant(picked: Picked) -> set[str]:
    """Keys of the runs of the study that the words pick; without words all."""
    declared = {entry.key for entry in picked.study.record.runs}
    if not picked.words:
        return declared
    # A status has the required runs too, which are no part of the results.
    return declared & {row.key for _, row in picked_status(picked, picked.study.status())}


def _finished(finished: int, selected: int, total: int) -> str:
    if selected == total:
        return f"{finished} of {total} runs are finished"
    return f"{selected} of {total} runs selected, {finished} of them finished"


def _print_csv(rows: Sequence[dict[str, object]]) -> None:
    import csv

    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def list_studies(root: Root = OUTPUTS, as_json: AsJson = False) -> None:
    """List the studies below the output folder, the latest first, with their use of disk."""
    rows = []
    for folder in reversed(catalog.known_studies(root)):
        record = store.read_study(folder)
        used = usage.of(folder)
        rows.append(
            {
                "study": record.study_id,
                "runs": len(record.runs),
                "scheduler": record.scheduler,
                "created": record.created,
                "disk_mb": round(used.bytes / 2**20, 1),
                "inodes": used.inodes,
                "asks for": " ".join(record.overrides),
            }
        )
    shared = Path(root) / "prerequisites"
    if as_json:
        print_json(rows)
        return
    ui.show(ui.rows_table(rows))
    if shared.is_dir():
        used = usage.of(shared)
        ui.say(f"required runs, shared: {used.bytes / 2**20:.1f} MB, {used.inodes} inodes")
