"""`launch plan`."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from launcher.cli.common import AsJson
from launcher.cli.running import PROGRAM, Overrides, Program, run_program
from launcher.errors import LauncherError

Gpus = Annotated[
    str | None, typer.Option("--gpus", help="Numbers of GPUs to compare, e.g. 1,4,8,16.")
]


def plan(
    overrides: Overrides = None,
    program: Program = PROGRAM,
    gpus: Gpus = None,
    as_json: AsJson = False,
) -> None:
    """Compare where runs could go: start, time, finish, GPU-hours, memory. Nothing is sent."""
    given = overrides or []
    extra = [] if any(o.startswith("hydra/launcher=") for o in given) else ["hydra/launcher=slurm"]
    if gpus is not None:
        extra.append(f"hydra.launcher.plan_gpus=[{_numbers(gpus)}]")
    if as_json:
        extra.append("hydra.launcher.as_json=true")
    run_program(program, given, "plan", *extra)


def _numbers(said: str) -> str:
    """Counts as Hydra wants them."""
    if not re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", said):
        raise LauncherError(f"`--gpus {said}` is no list of numbers", hint="e.g. --gpus 1,4,8,16")
    return said.replace(" ", "")
