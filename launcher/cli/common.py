"""What all commands share: arguments, the study that is meant, its scheduler, output as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from launcher import catalog
from launcher.asking import scheduler_of as scheduler_of
from launcher.errors import StoreError
from launcher.states import RunStatus
from launcher.studies import Study

OUTPUTS = catalog.OUTPUTS


def _complete(incomplete: str) -> list[str]:
    """Names of studies, and of the runs of the latest one, for the shell."""
    try:
        known = catalog.known_studies(OUTPUTS)
        runs = [entry.name for entry in Study(known[-1]).entries()]
    except StoreError:
        return []
    names = [folder.name for folder in known] + runs
    return [name for name in names if name.startswith(incomplete)]


Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[STUDY] [RUNS]...", help="A study, and runs of it.", autocompletion=_complete
    ),
]
StudyName = Annotated[
    str | None,
    typer.Option("--study", "-s", help="Study: its name, or its folder.", autocompletion=_complete),
]
OneStudy = Annotated[
    str | None, typer.Argument(metavar="[STUDY]", help="A study.", autocompletion=_complete)
]
Root = Annotated[Path, typer.Option("--root", help="Folder that holds the studies.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@dataclass(frozen=True)
class Picked:
    """The study that is meant, and the words that pick runs of it."""

    study: Study
    words: list[str]


def pick(words: Sequence[str] | None, study: str | None, root: Path) -> Picked:
    """The study is the option's, or the first word if that is one, or the one changed last.

    Raises:
        StoreError: there is no such study.
    """
    listed = list(words or [])
    if study is None and listed and _is_study(listed[0], root):
        study = listed.pop(0)
    return Picked(Study(catalog.find_study(study, root)), listed)


def _is_study(word: str, root: Path) -> bool:
    return any((folder / "study.json").exists() for folder in (Path(word), root / word))


def print_json(value: Any) -> None:
    """Data goes to stdout."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def picked_status(picked: Picked, statuses: Sequence[RunStatus]) -> list[tuple[int, RunStatus]]:
    """The picked runs with their index in the study."""
    from launcher.selection import select

    return [(index, statuses[index]) for index in select(statuses, picked.words)]
