"""`launch report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launcher import ui
from launcher.cli.common import OUTPUTS, OneStudy, Root, pick
from launcher.errors import LauncherError
from launcher.returning import page

Against = Annotated[
    str | None, typer.Option("--against", help="What the others are compared with; an arm.")
]
Metric = Annotated[
    str | None, typer.Option("--metric", help="What is compared; the main metric if left out.")
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder of the page; `report` in the study's.")
]


def report(
    study: OneStudy = None,
    root: Root = OUTPUTS,
    against: Against = None,
    metric: Metric = None,
    out: Out = None,
) -> None:
    """Write the report of a study: one page that needs no network, and its figures and tables."""
    picked = pick(None, study, root)
    written = page(picked.study, against=against, metric=metric, out=out)
    if written is None:
        name = picked.study.path.name
        raise LauncherError(
            f"no run of study `{name}` has anything to report yet", hint="see `launch status`"
        )
    ui.say(f"wrote {written}")
