"""Results table and figure of a study. Runs where the study is followed; imports no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from experiments.figures import Point, score_against_fraction
from launcher import ui
from launcher.errors import LauncherError
from launcher.files import write_bytes
from launcher.studies import RunResult, Study

SCORE = "ade_m"
"""What the figure shows: average displacement error over 4 s [m]; lower is better."""
BASELINE = "constant_velocity"
HIDDEN = ("key", "train_tokens_sha256", "data_source")


def write(study: Study) -> None:
    """Print the results table and save it as CSV, with the figure of score against fraction."""
    results = [result for result in study.results() if SCORE in result.metrics]
    if not results:
        rows = [{"run": result.name, **result.metrics} for result in study.results()]
        ui.show(ui.rows_table(rows), title=study.record.study_id)
        return
    table = tabulate(results)
    source = str(results[0].metrics["data_source"])
    title = f"{study.record.study_id}: test split of {source} data, errors over 4 s"
    ui.show(ui.rows_table([_shown(row) for row in table]), title=title)
    write_bytes(study.path / "results.csv", _csv(table).encode())
    for suffix in ("png", "svg"):
        figure = score_against_fraction(_points(results), _baseline(results)[SCORE], source, suffix)
        write_bytes(study.path / f"score_vs_fraction.{suffix}", figure)
    ui.say(f"saved results.csv, score_vs_fraction.png and .svg in {study.path}")


def tabulate(results: Sequence[RunResult]) -> list[dict[str, Any]]:
    """One row per run, and one for the baseline that was scored on the same tokens."""
    rows = [{"run": result.name, "key": result.key, **result.metrics} for result in results]
    own = [{k: v for k, v in row.items() if not k.startswith(f"{BASELINE}/")} for row in rows]
    return [*own, {"run": BASELINE.replace("_", " "), **_baseline(results)}]


def _baseline(results: Sequence[RunResult]) -> dict[str, float]:
    """Metrics of the constant-velocity plan.

    Raises:
        LauncherError: runs were scored on different tokens, so they cannot share a table.
    """
    prefix = f"{BASELINE}/"
    found = {
        tuple((k.removeprefix(prefix), v) for k, v in r.metrics.items() if k.startswith(prefix))
        for r in results
    }
    if len(found) > 1:
        raise LauncherError(
            f"the runs were scored on different test tokens: the baseline has {len(found)} values",
            hint="compare runs with the same data.* settings; data.fraction may differ",
        )
    return dict(found.pop())


def _points(results: Sequence[RunResult]) -> list[Point]:
    return [
        Point(
            arm=_arm(result),
            fraction=float(result.config.data.fraction),
            score=result.metrics[SCORE],
        )
        for result in results
    ]


def _arm(result: RunResult) -> str:
    """What a run is apart from its label fraction and seed."""
    named = [v for k, v in result.varying.items() if k not in ("data.fraction", "trainer.seed")]
    return " ".join(named) or str(result.config.backbone.name)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in HIDDEN}


def _csv(table: Sequence[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in table for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()
