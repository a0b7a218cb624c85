"""python -m experiments.scoring.navsim_bridge export|import: to the official devkit and back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from experiments.data import datasets
from experiments.data.errors import DataError
from experiments.scoring.navsim_agent import experiment_of
from experiments.scoring.navsim_bridge import Team, read_official_scores, write_submission
from experiments.statistics.storage import save
from experiments.statistics.table import Run
from launcher.errors import LauncherError
from launcher.messages import show

OFFICIAL = "navsim.parquet"
"""In the folder of scores: those of the devkit, whose scorer is called `navsim <version>`."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        said = _export(asked) if asked.command == "export" else _import(asked)
    except LauncherError as error:
        return show(error)
    sys.stdout.write(f"{said}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.scoring.navsim_bridge",
        description="Predictions of a run for the official NAVSIM devkit, and its table back.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="write the submission pickle of a scored run")
    export.add_argument("run", type=Path, help="folder of a run that has scores/planner.npz")
    export.add_argument("pickle", type=Path, help="file to write")
    for name in ("team_name", "authors", "email", "institution", "country"):
        export.add_argument(f"--{name.replace('_', '-')}", default="", help="of who hands in")
    imported = commands.add_parser("import", help="read the table of run_pdm_score*.py")
    imported.add_argument("run", type=Path, help="folder of the run that was scored")
    imported.add_argument("csv", type=Path, help="the devkit's table, a row per token")
    imported.add_argument("--version", required=True, help="of the devkit, e.g. v1.1 or a commit")
    return parser


def _export(asked: argparse.Namespace) -> str:
    path = asked.run / "scores" / "planner.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            tokens, poses = file["token"], file["poses"]
    except FileNotFoundError as error:
        raise DataError(
            f"there are no predictions at `{path}`", hint="was the run scored to its end?"
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"`{path}` holds no predictions: {error}") from error
    names = ("team_name", "authors", "email", "institution", "country")
    team = Team(**{name: getattr(asked, name) for name in names})
    plans = {token.decode(): plan for token, plan in zip(tokens, poses, strict=True)}
    write_submission(asked.pickle, plans, team)
    return f"{len(plans)} predictions in {asked.pickle}; not scored yet, the devkit does that"


def _import(asked: argparse.Namespace) -> str:
    experiment = experiment_of(asked.run)
    splits = datasets(experiment.data)
    scores = read_official_scores(
        asked.csv,
        run=Run(
            f"{experiment.backbone.name} {experiment.head.name} {experiment.finetune.policy}",
            experiment.data.fraction,
            experiment.trainer.seed,
        ),
        index=splits.source.index,
        rows=splits.test,
        version=asked.version,
    )
    path = asked.run / "scores" / OFFICIAL
    path.parent.mkdir(exist_ok=True)
    save(path, scores)
    mean = float(np.mean(scores.metrics["pdms"]))
    return (
        f"PDMS {100 * mean:.2f} over {len(scores.tokens)} tokens by scorer `{scores.scorer}`"
        f" ({scores.metric_version}); per token in {path}"
    )
