"""The scenes that an evaluation scores, out of logs with maps or out of NAVSIM's metric caches."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.data.source import SceneSource
from experiments.scoring.pdm.from_source import SourceScenes
from experiments.scoring.pdm.kept import Between, KeptScenes
from experiments.scoring.pdm.metric_cache_index import open_metric_caches
from experiments.scoring.pdm.reference import REFERENCE
from experiments.scoring.pdm.scene import SceneMetrics
from experiments.scoring.pdm.score import METRIC_VERSION, scorer_sha
from experiments.settings import DataConfig, ScoringConfig
from experiments.settings.scoring import LEAST_FUTURE_FRAMES

_log = logging.getLogger(__name__)
_DIGITS = 12
_OF_MAPS = ("from_source.py", "reference.py", "reference_idm.py", "reference_path.py")
_OF_CACHES = (
    "metric_cache.py",
    "metric_cache_fields.py",
    "metric_cache_pickle.py",
    "metric_cache_tracks.py",
)
"""What makes scenes, besides what scores them."""


@dataclass(frozen=True, slots=True)
class Scenes:
    """Windows of a source as the PDM score sees them."""

    read: Callable[[int], SceneMetrics]
    """Return a window; DataError if it cannot be scored."""
    scorer: str
    """Who scores, in a record: the code, and the reference plan where it is our own."""


def open_scenes(
    config: ScoringConfig,
    data: DataConfig,
    source: SceneSource,
    rows: NDArray[np.int64],
    between: Between,
    *,
    keep: bool = True,
) -> Scenes | None:
    """Return the scenes of the windows `rows`; None where there is to be no PDM score of them.

    Args:
        config: what is asked for.
        data: what `source` was opened with.
        source: where the windows come from.
        rows: windows that will be read.
        between: called before each reference plan that has to be made; may raise to stop.
        keep: Make the reference plans of all these windows now, and keep them for others; without,
            each is made when its window is read, for who reads every window once.

    Raises:
        ConfigError: the score is asked for and cannot be, or the metric cache is not there.
        DataError: the metric cache lacks some of the windows; says how many, names the first.
    """
    ours = f"ours {scorer_sha()[:_DIGITS]}"
    if config.metric_cache is not None:
        return Scenes(_of_caches(Path(config.metric_cache), source, rows), ours)
    why_not = _why_not(config, data, source)
    if why_not is not None:
        _log.info("there is no PDM score: %s", why_not)
        return None
    scorer = f"{ours}, reference {REFERENCE}"
    if not keep:
        made = SourceScenes(source, data)
        return Scenes(lambda i: made.read(i, source.red_lights(i)), scorer)
    kept = KeptScenes(source, data, rows, between)
    return Scenes(kept.read, scorer)


def scene_facts(config: ScoringConfig) -> dict[str, str]:
    """Return what says by whom scenes are scored, and who makes them; no file is read for it."""
    of_maps = config.metric_cache is None
    digest = hashlib.sha256()
    for name in _OF_MAPS if of_maps else _OF_CACHES:
        digest.update(name.encode() + b"\0" + (Path(__file__).parent / name).read_bytes())
    return {
        "metric_version": METRIC_VERSION,
        "scorer_sha256": scorer_sha(),
        "scenes": "maps" if of_maps else "metric_cache",
        "scenes_sha256": digest.hexdigest(),
        "reference": REFERENCE if of_maps else "PDM-Closed of NAVSIM",
    }


def _of_caches(
    folder: Path, source: SceneSource, rows: NDArray[np.int64]
) -> Callable[[int], SceneMetrics]:
    caches = open_metric_caches(folder)
    token = source.index.token
    caches.require(token[i].decode() for i in rows.tolist())
    return lambda i: caches.read(token[i].decode())


def _why_not(config: ScoringConfig, data: DataConfig, source: SceneSource) -> str | None:
    """Return why scenes of logs are not scored; asked for outright, they are, or are refused."""
    if config.pdm is not True:
        if config.pdm is False:
            return "`scoring.pdm=false`"
        if not source.has_maps:
            return "the data has no maps, and `scoring.metric_cache` is not set"
        if data.num_future_frames < LEAST_FUTURE_FRAMES:
            return f"`data.num_future_frames={data.num_future_frames}` ends windows before 5 s"
    return None
