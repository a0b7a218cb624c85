"""`launch`: come back to a study. Commands default to the study that changed last."""

from __future__ import annotations

import sys

import typer

from launcher import messages
from launcher.cli import acting, looking, reading
from launcher.errors import LauncherError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Come back to a study. RUNS are indexes (3), ranges (0-7), names, keys, key=value"
    " filters and state=STATE; the name of a study may stand before them.",
)
for command in (
    looking.status,
    looking.results,
    looking.list_studies,
    reading.logs,
    reading.show,
    reading.doctor,
    acting.cancel,
    acting.retry,
    acting.resume,
):
    name = command.__name__.removesuffix("_studies").replace("_", "-")
    app.command(name=name)(command)


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except LauncherError as error:
        sys.exit(messages.show(error))
