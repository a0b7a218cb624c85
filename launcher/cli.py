"""`launch`: come back to a study. Commands default to the study that changed last."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from launcher import messages, store, ui
from launcher.errors import LauncherError
from launcher.scheduler import Scheduler
from launcher.studies import Study
from launcher.submit import report

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)

StudyName = Annotated[str | None, typer.Argument(help="Study: its name, or its folder.")]
Root = Annotated[Path, typer.Option("--root", help="Folder that holds the studies.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
OUTPUTS = Path("outputs")


@app.command()
def status(study: StudyName = None, root: Root = OUTPUTS, as_json: AsJson = False) -> None:
    """Show how the runs of a study stand."""
    found = Study(store.find_study(study, root))
    statuses = found.status(_scheduler(found))
    if as_json:
        sys.stdout.write(json.dumps([asdict(s) for s in statuses], indent=2) + "\n")
    else:
        ui.show(ui.status_table(statuses), title=found.path.name)


@app.command()
def results(study: StudyName = None, root: Root = OUTPUTS, as_json: AsJson = False) -> None:
    """Show what the finished runs of a study returned; rewrite its tables and figures."""
    found = Study(store.find_study(study, root))
    rows = [result.row() for result in found.results()]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    if not rows:
        raise LauncherError(
            f"no run of study `{found.path.name}` is finished yet", hint="see `launch status`"
        )
    report(found)
    ui.say(f"{len(rows)} of {len(found.record.runs)} runs are finished")


@app.command(name="list")
def list_studies(root: Root = OUTPUTS, as_json: AsJson = False) -> None:
    """List the studies below the output folder, the latest first."""
    rows = []
    for folder in reversed(store.known_studies(root)):
        record = store.read_study(folder)
        rows.append(
            {
                "study": record.study_id,
                "runs": len(record.runs),
                "scheduler": record.scheduler,
                "created": record.created,
                "asks for": " ".join(record.overrides),
            }
        )
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        ui.show(ui.rows_table(rows))


def _scheduler(study: Study) -> Scheduler | None:
    """The scheduler that has the study's jobs, told of all of them."""
    record = study.record
    scheduler: Scheduler
    if record.scheduler == "slurm":
        from launcher.scheduler.slurm import SlurmScheduler

        scheduler = SlurmScheduler(folder=study.path, variables=record.environment)
    elif record.scheduler == "local":
        from launcher.scheduler.local import LocalScheduler

        scheduler = LocalScheduler(folder=study.path)
    else:
        return None
    for entry in study.entries():
        sent = store.submission(Path(entry.run_dir))
        if sent is not None and sent.job_id is not None and sent.scheduler == record.scheduler:
            scheduler.watch(entry.key, sent.job_id)
    return scheduler


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except LauncherError as error:
        sys.exit(messages.show(error))
