"""task=teacher: score each trajectory of a vocabulary on the windows that a head learns from."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from experiments.data import DataError, Splits, datasets
from experiments.data.finding import point_to
from experiments.data.keeping import homes_of, writable
from experiments.data.selection import few
from experiments.data.sharded import Rows
from experiments.devices import device_of
from experiments.scoring.pdm import preflight
from experiments.scoring.pdm.scene import SceneMetrics
from experiments.scoring.pdm.scenes import Scenes, open_scenes
from experiments.scoring.pdm.score import METRIC_VERSION, score
from experiments.scoring.threads import one_thread
from experiments.settings import ExperimentConfig
from experiments.settings.teacher import TAUGHT, teachers_scenes
from experiments.teacher.identity import facts_of
from experiments.teacher.store import HALVES, PROGRESS, TeacherFolder, encoded
from experiments.vocabulary import FILE_NAME, Vocabulary, load
from experiments.workers import give_way
from launcher.context import RunContext
from launcher.errors import ConfigError, StoreError

log = logging.getLogger(__name__)

_TOLD_EVERY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What one rank of one job scores."""

    store: TeacherFolder
    windows: Rows
    """Of each row of the store."""
    tokens: tuple[str, ...]
    vocabulary: Vocabulary
    scenes: Scenes
    device: torch.device
    context: RunContext
    num_workers: int
    """Processes that read scenes; 0 reads each before it is scored."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why windows could not be scored, by token."""


def score_vocabulary(config: ExperimentConfig, context: RunContext) -> dict[str, Any]:
    """Fill this run's share of the scores; what is there whole is kept.

    Returns:
        Which store, how much of it was made, how fast, and by whom it is scored.

    Raises:
        RuntimeError: the scorer is wrong on this machine.
        ConfigError: the data cannot be scored, or no vocabulary is required.
        DataError: some windows cannot be scored; names them. Shards without any are written.
        StoreError: the disk refuses.
    """
    device = device_of(context)
    preflight(device)
    splits = datasets(config.data)
    work = _planned(config, context, splits, device)
    part, parts = config.teacher.numbered_part()
    worker = part * context.world_size + context.rank
    mine = range(worker, work.store.layout.num_shards, parts * context.world_size)
    missing = work.store.missing(mine, verify=True)
    log.info("%d of %d shards of this share are to be made", len(missing), len(mine))
    began = time.monotonic()
    with one_thread():
        made = _fill(work, missing)
    took_s = time.monotonic() - began
    _require_complete(work)
    point_to(work.store, context.run_dir)
    plans = made * len(work.vocabulary)
    return {
        "store": work.store.folder.name,
        "store_gb": work.store.layout.row_bytes * len(work.windows) / 1e9,
        "windows": len(work.windows),
        "windows_of_rank_0": made,
        "ms_per_plan": 1e3 * took_s / plans if plans else None,
        "vocabulary_sha256": work.vocabulary.sha256,
        "metric_version": METRIC_VERSION,
        "scorer": work.scenes.scorer,
    }


def _planned(
    config: ExperimentConfig, context: RunContext, splits: Splits, device: torch.device
) -> _Work:
    if "vocabulary" not in context.inputs:
        raise ConfigError(
            f"`task=teacher` has no vocabulary to score with `head={config.head.name}`",
            hint="use head=hydra_mdp, which requires one",
        )
    vocabulary = load(context.inputs["vocabulary"] / FILE_NAME)
    source, windows = splits.source, splits.train
    scoring = teachers_scenes(config.teacher, config.scoring)
    stop = context.raise_if_stopping
    scenes = open_scenes(scoring, config.data, source, windows, stop, keep=False)
    assert scenes is not None  # asked for outright: it is refused where it cannot be
    tokens = np.asarray(source.index.token[windows])
    facts = facts_of(config, vocabulary, source.fingerprint, tokens)
    return _Work(
        store=TeacherFolder.begin(
            writable(homes_of(config.data), "teacher scores can be"), facts, tokens
        ),
        windows=windows,
        tokens=tuple(token.decode() for token in tokens),
        vocabulary=vocabulary,
        scenes=scenes,
        device=device,
        context=context,
        num_workers=config.data.num_workers or int(device.type == "cuda"),
    )


def _fill(work: _Work, shards: Sequence[int]) -> int:
    """Make what is missing; returns the number of windows."""
    made, total = 0, sum(len(work.store.layout.rows_of(shard)) for shard in shards)
    began = told = time.monotonic()
    rows = [row for shard in shards for row in work.store.layout.rows_of(shard)]
    scenes = _ahead(work, rows)
    for shard in shards:
        count = len(work.store.layout.rows_of(shard))
        halves = np.zeros((count, len(HALVES), len(work.vocabulary)), np.uint8)
        progress = np.zeros((count, len(work.vocabulary)), np.float16)
        is_whole = True
        for place in range(count):
            scene = next(scenes)
            is_whole = is_whole and scene is not None
            if scene is None or not is_whole:
                continue
            halves[place], progress[place] = _scored(work, scene)
            made += 1
            if time.monotonic() - told > _TOLD_EVERY_S:
                told = time.monotonic()
                log.info("scored %d of %d windows in %.0f s", made, total, told - began)
        if is_whole:
            _write(work.store, shard, {"halves": halves, PROGRESS: progress})
    return made


class _Read(Dataset["SceneMetrics | str"]):
    """The scenes of windows, or why one cannot be read."""

    def __init__(self, scenes: Scenes, windows: Rows) -> None:
        self.scenes, self.windows = scenes, windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, n: int) -> SceneMetrics | str:
        try:
            return self.scenes.read(int(self.windows[n]))
        except DataError as error:
            return error.message


def _ahead(work: _Work, rows: Sequence[int]) -> Iterator[SceneMetrics | None]:
    """Yield the scenes of rows in order; None where one cannot be read.

    Processes read them meanwhile: reading takes as long as a GPU takes for 8,192 plans.
    """
    read = _Read(work.scenes, work.windows[np.asarray(rows, np.int64)])
    loader = DataLoader(
        read,
        batch_size=None,
        num_workers=work.num_workers,
        collate_fn=_as_it_is,
        worker_init_fn=give_way,
    )
    for row, scene in zip(rows, loader, strict=True):
        work.context.raise_if_stopping()
        if isinstance(scene, str):
            work.failed[work.tokens[row]] = scene
            log.error("window `%s` cannot be scored: %s", work.tokens[row], scene)
        yield None if isinstance(scene, str) else scene


def _as_it_is(scene: Any) -> Any:
    return scene


def _scored(work: _Work, scene: SceneMetrics) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    scores = score(scene, work.vocabulary.anchors, device=work.device)
    return encoded({name: getattr(scores, name) for name in TAUGHT})


def _write(store: TeacherFolder, shard: int, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    try:
        store.put(shard, arrays)
    except OSError as error:
        raise StoreError(
            f"cannot write teacher scores into `{store.folder}`: {error.strerror or error}",
            hint="free space there, or set data.cache_dir to another folder",
        ) from error


def _require_complete(work: _Work) -> None:
    if work.failed:
        reason = next(iter(work.failed.values()))
        raise DataError(
            f"{len(work.failed)} of {len(work.tokens)} windows cannot be scored:"
            f" {few(list(work.failed))}; the first: {reason}",
            hint="mend them, or leave them out of the training data; a head is never taught by"
            " made-up scores. The shards without them are kept",
        )
