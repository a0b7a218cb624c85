"""Training curves of a study, over all lives of its runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from experiments.figures.training import Curve, training_curves
from experiments.reporting.drawings import Drawing
from experiments.reporting.scores import StudyScores
from launcher.studies import Study

if TYPE_CHECKING:
    import pandas as pd

_RATE = "lr/"
CURVES = {
    "train/loss": ("training loss", True),
    "val/ade_m": ("ADE of the validation logs [m]", False),
    _RATE: ("largest learning rate", False),
}
"""Logged metric -> label, and whether it is on a logarithmic axis."""


def curve_drawings(study: Study, scores: StudyScores) -> tuple[list[Drawing], list[str]]:
    """Curves of the runs at the largest label fraction, and remarks on those left out."""
    history = study.histories()
    arms = _arms_at_most(scores)
    remarks: list[str] = []
    drawings = []
    for metric, (label, is_log) in CURVES.items():
        is_rate = metric == _RATE
        rows = history[
            history["metric"].str.startswith(_RATE) if is_rate else history["metric"] == metric
        ]
        curves = list(_curves(rows, arms, remarks))
        if not any(len(curve.steps) > 1 for curve in curves):
            continue
        log = is_log and all((curve.values > 0).all() for curve in curves)
        drawings.append(
            Drawing(
                name=f"curve_{metric.strip('/').replace('/', '_')}",
                caption=f"{label[0].upper()}{label[1:]}, runs at the largest label fraction of"
                " their arm: each thin, their mean thick.",
                alternative=f"{label} over the optimizer steps",
                draw=lambda suffix, curves=curves, label=label, log=log: training_curves(  # type: ignore[misc]
                    curves, label, suffix, is_log=log
                ),
            )
        )
    return drawings, remarks


def _arms_at_most(scores: StudyScores) -> dict[str, str]:
    """Key of each run at the largest fraction of its arm -> that arm."""
    most = {arm: max(scores.scores.fractions(arm)) for arm in scores.arms}
    return {
        result.key: run.arm
        for run, result in scores.results.items()
        if run.fraction == most[run.arm]
    }


def _curves(history: pd.DataFrame, arms: dict[str, str], remarks: list[str]) -> Iterator[Curve]:
    for (key, name), rows in history.groupby(["key", "run"], sort=False):
        if key not in arms:
            continue
        # Groups of parameters have a rate each.
        rows = rows.groupby("step", sort=True, as_index=False).agg(
            {"value": "max", "metric": "first"}
        )
        values = rows["value"].to_numpy(np.float64)
        finite = np.isfinite(values)
        if not finite.all():
            steps = rows["step"].to_numpy()[~finite]
            remarks.append(f"{name} has no finite {rows['metric'].iloc[0]} at step {steps[0]}")
        if finite.any():
            steps = rows["step"].to_numpy(np.int64)[finite]
            yield Curve(arm=arms[key], steps=steps, values=values[finite])
