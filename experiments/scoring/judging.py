"""Scores several planners on the same windows, window by window, and can be interrupted."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.data.assembly import Indices
from experiments.data.errors import DataError
from experiments.data.frames import Floats
from experiments.data.source import SceneSource
from experiments.scoring.checks import collides, leaves_drivable_area
from experiments.scoring.displacement import (
    as_poses,
    average_displacement,
    final_displacement,
    heading_error,
)
from experiments.scoring.pdm.kept import Between
from experiments.scoring.pdm.scene import SceneMetrics
from experiments.scoring.pdm.scenes import Scenes
from experiments.scoring.pdm.score import METRIC_VERSION, score_scenes
from experiments.scoring.tables import Judged, Plans
from experiments.scoring.threads import one_thread
from experiments.scoring.unfinished import Unfinished

_log = logging.getLogger(__name__)

PDM_VALUES = ("pdms", "nc", "dac", "ep", "ttc", "comfort", "ddc")
CHECKS = ("collides", "leaves_drivable_area")
DISPLACEMENTS = {
    "ade_m": average_displacement,
    "fde_m": final_displacement,
    "heading_error_rad": heading_error,
}
PLAIN_VERSION = "displacement_v1"
"""Metric version of tables without a PDM score."""
PLAIN_SCORER = "ours"
AT_ONCE = 30
"""Scenes whose plans are driven together; a fixed division, so that the last bit of a value does
not depend on where an interrupted evaluation went on."""
_TOLD_EVERY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """Windows, what is planned for them, and what is known of it so far."""

    source: SceneSource
    rows: Indices
    plans: Floats
    """(N, planners, 8, 3)"""
    scenes: Scenes | None
    between: Between
    values: Floats
    """(N, planners, PDM_VALUES + CHECKS)"""
    is_done: NDArray[np.bool_]
    """(N,)"""
    failed: dict[str, str]


def judge(
    source: SceneSource,
    rows: Indices,
    plans: Plans,
    scenes: Scenes | None,
    between: Between,
    unfinished: Path | None = None,
) -> Judged:
    """Score planners on the same windows.

    Args:
        source: where the windows come from.
        rows: (N,) windows.
        plans: what each planner wants, one array for each.
        scenes: the windows as the PDM score sees them; None leaves it out.
        between: called before each window; may raise to stop.
        unfinished: file for what is scored when it stops, from where another call goes on.

    Raises:
        ValueError: no windows, poses of another shape, or poses that are not finite.
    """
    if not len(rows):
        raise ValueError("there are no scenes to score")
    checked = {name: as_poses(poses, len(rows)) for name, poses in plans.items()}
    every = np.stack(list(checked.values()), axis=1)
    scorer, version = (scenes.scorer, METRIC_VERSION) if scenes else (PLAIN_SCORER, PLAIN_VERSION)
    work = _Work(
        source=source,
        rows=rows,
        plans=every,
        scenes=scenes,
        between=between,
        values=np.full((*every.shape[:2], len(PDM_VALUES) + len(CHECKS)), np.nan),
        is_done=np.zeros(len(rows), np.bool_),
        failed={},
    )
    facts, tokens = [scorer, version, source.fingerprint], source.index.token[rows]
    file = Unfinished.of(unfinished, facts, tokens, every) if unfinished else None
    with one_thread(), _kept(work, file):
        _fill(work)
    values = {
        name: _columns(work, place, poses) for place, (name, poses) in enumerate(checked.items())
    }
    return Judged(source, rows, scorer, version, values, work.failed)


@contextmanager
def _kept(work: _Work, file: Unfinished | None) -> Iterator[None]:
    """Go on from the file, and leave one where the work ends before its end."""
    if file is not None:
        file.load(work.values, work.is_done)
    try:
        yield
    except BaseException:  # also a stop, which is none
        if file is not None and work.is_done.any():
            file.save(work.values, work.is_done)
        raise
    if file is not None:
        file.forget()


def _columns(work: _Work, place: int, poses: Floats) -> dict[str, Floats]:
    """Return all columns of one planner, not a number where a window failed."""
    driven = work.source.future[work.rows]
    found = dict(zip((*PDM_VALUES, *CHECKS), work.values[:, place].T, strict=True))
    distances = {name: measure(poses, driven) for name, measure in DISPLACEMENTS.items()}
    absent = set() if work.scenes else set(PDM_VALUES)
    if not work.source.has_maps:
        absent.add("leaves_drivable_area")
    everything = {**found, **distances}
    return {
        name: np.where(work.is_done, column, np.nan)
        for name, column in everything.items()
        if name not in absent
    }


def _fill(work: _Work) -> None:
    count, began = len(work.rows), time.monotonic()
    told = began
    for first in range(0, count, AT_ONCE):
        part = range(first, min(first + AT_ONCE, count))
        if work.is_done[part.start : part.stop].all():
            continue
        readable, scenes = _read(work, part)
        # Places and scenes are as many, or there are no scenes at all.
        scored = score_scenes(scenes, [work.plans[place] for place in readable] if scenes else [])
        for place, scores in zip(readable, scored, strict=bool(scenes)):
            rows = [getattr(scores, name) for name in PDM_VALUES]
            work.values[place, :, : len(rows)] = np.stack(rows, axis=-1)
        work.is_done[readable] = True
        if time.monotonic() - told > _TOLD_EVERY_S:
            told = time.monotonic()
            _log.info("scored %d of %d scenes in %.0f s", part.stop, count, told - began)


def _read(work: _Work, part: range) -> tuple[list[int], list[SceneMetrics]]:
    """Return which places of a part can be read, and their scenes; check plans plainly meanwhile.

    There are no scenes where there is no PDM score.
    """
    readable, scenes = [], []
    for place in part:
        work.between()
        row = int(work.rows[place])
        try:
            read = [work.scenes.read(row)] if work.scenes else []
            work.values[place, :, len(PDM_VALUES) :] = _checks(work, row, work.plans[place])
        except DataError as error:
            token = work.source.index.token[row].decode()
            work.failed[token] = error.message
            _log.error("scene `%s` cannot be scored: %s", token, error.message)
        else:
            readable.append(place)
            scenes += read
    return readable, scenes


def _checks(work: _Work, row: int, plans: Floats) -> Floats:
    """Return (planners, CHECKS) of a window; not a number without a map."""
    source, found = work.source, np.full((len(plans), len(CHECKS)), np.nan)
    traffic = source.boxes(row)
    found[:, 0] = [collides(poses, traffic) for poses in plans]
    if source.has_maps:
        origin, area = source.pose[row], source.map_of(row)
        found[:, 1] = [leaves_drivable_area(poses, origin, area) for poses in plans]
    return found
