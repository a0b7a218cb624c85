"""`launch evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from launcher import catalog, identity
from launcher.cli.common import OUTPUTS, Root
from launcher.cli.running import PROGRAM, Overrides, Program, run_program
from launcher.errors import LauncherError
from launcher.studies import Study

StudyWord = Annotated[str, typer.Argument(metavar="STUDY", help="The study: its name, or folder.")]
Name = Annotated[
    str | None, typer.Option("--name", help="Name of the evaluation; else after what is asked for.")
]
_TASK = "task=evaluate"


def evaluate(
    study: StudyWord,
    overrides: Overrides = None,
    program: Program = PROGRAM,
    root: Root = OUTPUTS,
    name: Name = None,
) -> None:
    """Evaluate the trained runs of a study, with other settings of the evaluation.

    Each run is evaluated by a run of a study of its own; nothing is trained again. Runs that are
    still on their way are waited for, those that failed are named and left out.
    """
    if "=" in study:
        raise LauncherError(
            f"`{study}` is no study", hint="name it first: launch evaluate STUDY [OVERRIDES]..."
        )
    found = Study(catalog.find_study(study, root)).path.absolute()
    switches, given = _told_apart(overrides or [])
    called = name or _name_of(found.name, given)
    extra = [
        f"hydra.launcher.follow.study={_quoted(str(found))}",
        f"hydra.launcher.study={_quoted(called)}",
        f"hydra.sweep.dir={_quoted(str(found.parent / called))}",
    ]
    if Study(found).record.scheduler == "slurm" and not _names_launcher(given):
        extra.append("hydra/launcher=slurm")
    run_program(program, [_TASK, *given, *switches], "submit", *extra)


def _told_apart(overrides: list[str]) -> tuple[list[str], list[str]]:
    """The switches of the command, as the launcher's own keys, and what is asked of the runs.

    Under a program's short keys for them, switches would be overrides of each run.
    """
    from launcher.compose import override_key  # imports Hydra, as no other command needs to
    from launcher.settings import SWITCHES

    switches, asked = [], []
    for override in overrides:
        name = override_key(override).removeprefix("hydra.launcher.")
        if name in SWITCHES:
            switches.append(f"hydra.launcher.{name}={override.partition('=')[2]}")
        else:
            asked.append(override)
    return switches, asked


def _name_of(study: str, given: list[str]) -> str:
    """Name of an evaluation: the same command finds the same one again."""
    return f"{study}-evaluate" + (f"-{identity.digest(sorted(given))[:8]}" if given else "")


def _names_launcher(given: list[str]) -> bool:
    return any(override.startswith("hydra/launcher=") for override in given)


def _quoted(value: str) -> str:
    """The value as a string of Hydra's grammar."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
