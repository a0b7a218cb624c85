"""`launch probe`, `launch scaling`."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from launcher import catalog, ui
from launcher.cli.common import OUTPUTS, AsJson, Root, StudyName, Words, pick, print_json
from launcher.cli.looking import AsCsv
from launcher.cli.running import PROGRAM, Overrides, Program, run_program
from launcher.errors import LauncherError
from launcher.files import write_bytes
from launcher.scaling import source as scaling_source

Steps = Annotated[int | None, typer.Option("--steps", help="Optimizer steps that are tried.")]
Batches = Annotated[
    int | None, typer.Option("--val-batches", help="Batches of the validation that follows.")
]
Minutes = Annotated[
    int | None, typer.Option("--timeout-min", help="Time limit of each probe in minutes.")
]
Figure = Annotated[
    Path | None,
    typer.Option("--figure", help="Draw it into this file: .png, .svg or .pdf.", dir_okay=False),
]
AllAttempts = Annotated[
    bool, typer.Option("--all", help="Every attempt, not only the last of a run in one shape.")
]
Remembered = Annotated[
    bool,
    typer.Option("--remembered", help="Also attempts of other studies that train the same."),
]


def probe(
    overrides: Overrides = None,
    program: Program = PROGRAM,
    steps: Steps = None,
    val_batches: Batches = None,
    timeout_min: Minutes = None,
) -> None:
    """Try runs for a few minutes: how fast they are, how much memory they take, if they fit.

    Some steps, a validation and a checkpoint of each, in folders of their own.
    """
    asked = {"steps": steps, "val_batches": val_batches, "timeout_min": timeout_min}
    extra = [
        f"hydra.launcher.probe.{name}={value}" for name, value in asked.items() if value is not None
    ]
    run_program(program, overrides or [], "probe", *extra)


def scaling(
    words: Words = None,
    study: StudyName = None,
    root: Root = OUTPUTS,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    figure: Figure = None,
    all_attempts: AllAttempts = False,
    remembered: Remembered = False,
) -> None:
    """Compare runs on more and fewer GPUs: speed-up, efficiency, and what limits them."""
    from launcher.ui import scaling as ui_scaling

    if study is None and not (words and _is_study(words[0], root)):
        study = str(scaling_source.latest_study(root))
    picked = pick(words, study, root)
    report = scaling_source.compare(
        picked.study, picked.words, everything=all_attempts, remembered=remembered
    )
    if as_json:
        print_json(ui_scaling.plain_rows(report))
    elif as_csv:
        _print_csv(ui_scaling.plain_rows(report))
    else:
        ui_scaling.show(report)
    if figure is not None:
        _draw(report, figure)
        ui.say(f"saved {catalog.study_word(figure.absolute())}")


def _is_study(word: str, root: Path) -> bool:
    return any((folder / "study.json").exists() for folder in (Path(word), root / word))


def _draw(report: Any, path: Path) -> None:
    from launcher.scaling import figure as scaling_figure

    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in scaling_figure.SUFFIXES:
        raise LauncherError(
            f"`{path}` is none of the kinds of figure that can be drawn",
            hint=f"end its name with {', '.join(f'.{s}' for s in scaling_figure.SUFFIXES)}",
        )
    write_bytes(path, scaling_figure.draw(report, suffix))


def _print_csv(rows: list[dict[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
