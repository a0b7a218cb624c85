"""`launch`: come back to a study. Commands default to the study that changed last."""

from __future__ import annotations

import sys

import typer

from launcher import messages
from launcher.cli import (
    acting,
    cluster,
    evaluating,
    looking,
    measuring,
    planning,
    reading,
    reporting,
    tracking,
)
from launcher.cli.foreign import Commands
from launcher.errors import LauncherError

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Come back to a study. RUNS are indexes (3), ranges (0-7), names, keys, key=value"
    " filters and state=STATE; the name of a study may stand before them.",
)
for command in (
    looking.status,
    looking.results,
    reporting.report,
    looking.list_studies,
    reading.logs,
    reading.show,
    reading.doctor,
    acting.cancel,
    acting.retry,
    acting.resume,
    evaluating.evaluate,
    planning.plan,
    measuring.probe,
    measuring.scaling,
    tracking.sync,
    tracking.dashboard,
):
    name = command.__name__.removesuffix("_studies").replace("_", "-")
    app.command(name=name)(command)
app.add_typer(cluster.app, name="cluster")


def main() -> None:
    """Entry point of the console script."""
    messages.print_anything()
    try:
        app()
    except LauncherError as error:
        sys.exit(messages.show(error))
