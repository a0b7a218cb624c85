"""Trajectory sheets of a study: scenes where two arms differ most, planned by several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from experiments.data.errors import DataError
from experiments.data.frames import Floats
from experiments.figures.bev import BevPlan, BevScene
from experiments.figures.scenes import bev_scene
from experiments.figures.sheets import SheetRow, trajectory_sheet
from experiments.reporting.analysis import Analysis
from experiments.reporting.drawings import Drawing
from experiments.reporting.scores import PLANNER, StudyScores
from experiments.settings import DataConfig, ScoringConfig
from experiments.statistics import Cell, Run, TokenDifference, extremes, measure
from launcher.errors import ConfigError

if TYPE_CHECKING:
    from experiments.data.openscene import OpenSceneSource
    from experiments.scoring.pdm.scene import SceneMetrics

SCENES = 4
"""Scenes of a sheet."""
_MOST_ARMS = 4
_FEW_RUNS = 2
"""So many columns fit beside another sheet."""
_TOKEN_LETTERS = 10


def scene_drawings(study: StudyScores, analysis: Analysis) -> list[Drawing]:
    """Sheets of the scenes in which an arm gains most over another, and loses most.

    Of the arms other than the reference the best is taken, at the largest fraction of both. Plans
    are those of the first seed; scenes are sorted by the mean over the seeds of both.

    Raises:
        ConfigError: the data of the runs is not there any more, or has no maps.
        DataError: the data is torn, or is of other scenes.
    """
    pair = _pair(study, analysis)
    best, worst = extremes(study.scores, *pair, analysis.metric, SCENES)
    chosen = [*best, *worst]
    if not chosen:
        raise DataError(f"{pair[0].arm} and {pair[1].arm} have the same score in every scene")
    shown = _shown(study, pair)
    config = study.results[shown[0]].config
    data, scoring = _part(config, "data", DataConfig), _part(config, "scoring", ScoringConfig)
    scenes = _scenes(data, scoring, [one.token for one in chosen])
    plans = {run: plans_of(study.results[run].run_dir, [one.token for one in chosen])
             for run in shown}  # fmt: skip
    sheet = _Sheet(study, analysis.metric, pair, shown, scenes, plans)
    return [sheet.drawing(name, rows) for name, rows in (("best", best), ("worst", worst)) if rows]


@dataclass(frozen=True, slots=True)
class _Sheet:
    """What all sheets of a study share."""

    study: StudyScores
    metric: str
    pair: tuple[Cell, Cell]
    runs: tuple[Run, ...]
    scenes: dict[str, BevScene]
    plans: dict[Run, dict[str, Floats]]

    def drawing(self, name: str, differences: Sequence[TokenDifference]) -> Drawing:
        a, b = self.pair
        label = measure(self.metric).label
        word = "gains most over" if name == "best" else "loses most against"
        seeds = sorted({run.seed for run in self.runs})
        rows = [self._row(one) for one in differences]
        return Drawing(
            name=f"scenes_{name}",
            caption=f"Scenes in which {a.arm} {word} {b.arm} by {label}, mean over seeds (beside"
            f" the rows), at {100 * a.fraction:g} % of the labels. Plans and scores are those of"
            f" seed {', '.join(map(str, seeds))}. Heading up; grey: drivable area.",
            alternative=f"Scenes in which {a.arm} {word} {b.arm}",
            draw=lambda suffix: trajectory_sheet(rows, suffix, score_label=label),
            on_page="png",
            files=("pdf", "png"),
            is_wide=len(self.runs) > _FEW_RUNS,
        )

    def _row(self, one: TokenDifference) -> SheetRow:
        shown = measure(self.metric)
        # As a difference of the metric, not as a gain: an error that falls has a minus sign.
        difference = shown.text(one.gain * shown.direction, signed=True)
        unit = "" if shown.unit == "points" else f" {shown.unit}"
        scene = replace(self.scenes[one.token], token=_short(one.token))
        return SheetRow(
            scene=scene,
            plans=[self._plan(run, one.token) for run in self.runs],
            label=f"{shown.label} {difference}{unit}",
        )

    def _plan(self, run: Run, token: str) -> BevPlan:
        scores, shown = self.study.scores, measure(self.metric)
        at = int(np.flatnonzero(scores.tokens == token)[0])
        value = float(scores.values[self.metric][scores.runs.index(run), at])
        return BevPlan(
            run=run.arm,
            poses=self.plans[run][token],
            score=f"{shown.label} {shown.text(value)}",
        )


def _pair(study: StudyScores, analysis: Analysis) -> tuple[Cell, Cell]:
    """The best of the other arms, and the reference, at the largest fraction of both."""
    pairs = [(one.a, one.b) for one in analysis.against]
    if not pairs:
        raise DataError("there is no second arm to compare with")
    most = max(a.fraction for a, _ in pairs)
    direction = measure(analysis.metric).direction
    return max(
        (pair for pair in pairs if pair[0].fraction == most),
        key=lambda pair: direction * study.scores.of(pair[0], analysis.metric).mean(),
    )


def _shown(study: StudyScores, pair: tuple[Cell, Cell]) -> tuple[Run, ...]:
    """First seeds of the two, then of other arms at that fraction."""
    fraction = pair[0].fraction
    others = [Cell(arm, fraction) for arm in study.arms]
    cells = [cell for cell in dict.fromkeys([*pair, *others]) if cell in study.scores.cells]
    runs = [Run(*cell, study.scores.seeds(cell)[0]) for cell in cells]
    return tuple(run for run in runs if run in study.results)[:_MOST_ARMS]


def _scenes(data: DataConfig, scoring: ScoringConfig, tokens: Sequence[str]) -> dict[str, BevScene]:
    """Maps, boxes and what the human drove, from the data that the runs were scored on."""
    found = _scored_scenes(data, scoring, tokens)
    return {token: bev_scene(scene, human) for token, (scene, human) in found.items()}


def scored_scenes(config: Any, tokens: Sequence[str]) -> dict[str, tuple[SceneMetrics, Floats]]:
    """Scenes as the scorer saw them, from the frozen config of a run, and what the human drove.

    The latter is (8, 3) in the frame of the ego.

    Raises:
        ConfigError: the data is not there any more.
        DataError: it lacks one of the scenes.
    """
    data, scoring = _part(config, "data", DataConfig), _part(config, "scoring", ScoringConfig)
    return _scored_scenes(data, scoring, tokens)


def _scored_scenes(
    data: DataConfig, scoring: ScoringConfig, tokens: Sequence[str]
) -> dict[str, tuple[SceneMetrics, Floats]]:
    from experiments.scoring.pdm.from_source import SourceScenes
    from experiments.scoring.pdm.metric_cache_index import open_metric_caches

    source, row_of = _source_of(data, tokens)
    if scoring.metric_cache is not None:
        read = open_metric_caches(Path(scoring.metric_cache)).read
        found = {token: read(token) for token in tokens}
    else:
        of_maps = SourceScenes(source, data)
        # The reference plan stops before a red light, as it did when the runs were scored.
        found = {
            token: of_maps.read(row_of[token], source.red_lights(row_of[token])) for token in tokens
        }
    return {
        token: (scene, np.asarray(source.future[row_of[token]], np.float64))
        for token, scene in found.items()
    }


def source_of(config: Any, tokens: Sequence[str]) -> tuple[OpenSceneSource, dict[str, int]]:
    """The data that a run was scored on, from its frozen config, and the window of each scene.

    Raises:
        ConfigError: the data is not there any more.
        DataError: it lacks one of the scenes.
    """
    return _source_of(_part(config, "data", DataConfig), tokens)


def _source_of(data: DataConfig, tokens: Sequence[str]) -> tuple[OpenSceneSource, dict[str, int]]:
    from experiments.data.assembly import open_source

    _require_generated(data)
    source = open_source(data)
    row_of = {token.decode(): row for row, token in enumerate(source.index.token)}
    missing = [token for token in tokens if token not in row_of]
    if missing:
        raise DataError(f"the data in `{data.root}` has no scene `{missing[0]}` any more")
    return source, row_of


_Part = TypeVar("_Part")


def _part(config: Any, name: str, kind: type[_Part]) -> _Part:
    """A group of a frozen config; other groups may be of an older version of the code."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        values = OmegaConf.to_container(config[name], resolve=True)
        found = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), values))
    except OmegaConfBaseException as error:
        said = str(error).splitlines()[0]
        raise ConfigError(f"`{name}` of a frozen config is of other code: {said}") from error
    assert isinstance(found, kind)
    return found


def _require_generated(data: DataConfig) -> None:
    """Refuse to generate scenes anew: what is there no more was scored somewhere else."""
    from experiments.data.cache import content_hash

    if data.source != "synthetic":
        return
    folder = Path(data.root) / f"synthetic-{content_hash(data.synthetic)[:12]}"
    if not folder.is_dir():
        raise ConfigError(
            f"the generated scenes of the study are not at `{folder}`: they were removed, or the"
            " generator has changed since"
        )


def plans_of(run_dir: Path, tokens: Sequence[str]) -> dict[str, Floats]:
    """Plans of a run for these scenes; DataError where there are none."""
    path = run_dir / "scores" / f"{PLANNER}.npz"
    if not path.is_file():
        raise DataError(f"there are no plans at `{path}`")
    with np.load(path) as stored:
        row_of = {token.decode(): row for row, token in enumerate(stored["token"].tolist())}
        poses = np.asarray(stored["poses"], np.float64)
    missing = [token for token in tokens if token not in row_of]
    if missing:
        raise DataError(f"`{path}` has no plan of scene `{missing[0]}`")
    return {token: poses[row_of[token]] for token in tokens}


def _short(token: str) -> str:
    return token if len(token) <= _TOKEN_LETTERS else f"{token[:_TOKEN_LETTERS]}…"
