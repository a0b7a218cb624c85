"""Have a program compose its runs and do something with them: `launch plan|doctor|probe`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from launcher import uncaught
from launcher.errors import LauncherError

Program = Annotated[Path, typer.Option("--program", help="The Hydra program whose runs are meant.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[OVERRIDES]...", help="As behind `python PROGRAM -m`."),
]
PROGRAM = Path("train.py")


def run_program(program: Path, overrides: Sequence[str], action: str, *extra: str) -> None:
    """Run `program` with an action of ours in place of sending, and leave with its exit code.

    Args:
        program: A Python file.
        overrides: What the user says, sweeps included.
        action: One of `launcher.actions.ACTIONS`.
        extra: Further overrides; those of the user come last and win.

    Raises:
        LauncherError: there is no such program.
        Exit: with the program's exit code, where that is not 0.
    """
    if not program.is_file():
        raise LauncherError(
            f"there is no program `{program}` in this folder",
            hint="go to the folder of your project, or name it: --program path/to/app.py",
        )
    command = [sys.executable, str(program), "-m", f"hydra.launcher.action={action}"]
    environment = {**os.environ, **uncaught.variables(action)}
    done = subprocess.run([*command, *extra, *overrides], check=False, env=environment)
    if done.returncode:
        raise typer.Exit(done.returncode)
