"""Camera images of the scenes of a study, with what its runs plan in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.data.calibration import camera_view
from experiments.figures.bev import BevPlan
from experiments.figures.camera import CameraRow
from experiments.reporting import scenes
from experiments.reporting.scores import StudyScores
from experiments.statistics import Run, measure


def camera_rows(
    study: StudyScores, runs: Sequence[Run], tokens: Sequence[str], *, camera: str = "CAM_F0"
) -> list[CameraRow]:
    """One row for each scene, with the plan of each run and what the human drove.

    Args:
        study: The scores, which say where the runs lie.
        runs: Columns.
        tokens: Rows.
        camera: Of those that are read, the one whose image is shown.

    Raises:
        ConfigError: the data of the runs is not there any more.
        DataError: a scene, a plan, an image or its calibration is missing.
    """
    source, row_of = scenes.source_of(study.results[runs[0]].config, tokens)
    plans = {run: scenes.plans_of(study.results[run].run_dir, tokens) for run in runs}
    shown = measure(study.main_metric)
    values = study.scores.values[study.main_metric]
    at = {str(token): place for place, token in enumerate(study.scores.tokens)}
    return [
        CameraRow(
            view=camera_view(source, row_of[token], camera),
            plans=[
                BevPlan(
                    run=run.arm,
                    poses=plans[run][token],
                    score=f"{shown.label} "
                    + shown.text(float(values[study.scores.runs.index(run), at[token]])),
                )
                for run in runs
            ],
            human=np.asarray(source.future[row_of[token]], np.float64),
        )
        for token in tokens
    ]
