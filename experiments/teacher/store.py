"""Teacher scores on disk: of each window a byte per trajectory and sub-score, and its progress.

All sub-scores but ego progress are 0, 0.5 or 1: a byte holds twice their value, exactly. Progress
is float16, at most 2.5e-4 off. A window of 8192 trajectories takes 56 KiB.

Rows are read when they are wanted, and never mapped: they pass through the page cache, which gives
way when memory is short, and no process holds more than those of its batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from experiments.data.columns import Kinds, TornError
from experiments.data.errors import DataError
from experiments.data.facts import Facts
from experiments.data.sharded import Layout, Numbers, Rows, ShardFolder, TokenRows, Tokens

HALVES = ("nc", "dac", "ddc", "ttc", "comfort")
"""Sub-scores whose doubles are whole, in the order in which they are stored."""
PROGRESS = "ep"
_FEW_VALUES, _PROGRESS = "halves", "ep"
_SHARD_BYTES = 1 << 24
_SHARD_ROWS = 256
"""A shard holds at most so many windows: what a run that is killed has to score again."""
_AGAIN = "run task=teacher again: what is there is kept"


@dataclass(frozen=True, slots=True)
class TeacherLayout(Layout):
    """How windows are cut into shards."""

    num_trajectories: int

    @property
    def kinds(self) -> Kinds:
        """Type and shape of one row of each column."""
        count = self.num_trajectories
        return {
            _FEW_VALUES: (np.dtype(np.uint8), (len(HALVES), count)),
            _PROGRESS: (np.dtype(np.float16), (count,)),
        }

    @property
    def rows_per_shard(self) -> int:
        """Rows of every shard but the last."""
        return max(1, min(_SHARD_BYTES // self.row_bytes, _SHARD_ROWS))


@dataclass(frozen=True, slots=True)
class TeacherFolder(ShardFolder[TeacherLayout]):
    """Scores that are being made, or read."""

    PREFIX: ClassVar[str] = "teacher"
    NOUN: ClassVar[str] = "store of teacher scores"
    SKIPPED: ClassVar[tuple[str, ...]] = ("windows",)

    @classmethod
    def begin(cls, home: Path, facts: Facts, tokens: Tokens) -> TeacherFolder:
        """Make the folder below `home` unless it is there.

        Raises:
            DataError: a token comes twice.
            StoreError: the disk refuses.
        """
        return cls.made(home, tokens, {"facts": facts})

    @classmethod
    def layout_of(cls, said: dict[str, Any]) -> TeacherLayout:
        """Return the layout that a description means."""
        facts = said["facts"]
        return TeacherLayout(int(facts["windows"]["count"]), int(facts["vocabulary"]["size"]))


def encoded(scores: Mapping[str, NDArray[np.float64]]) -> tuple[Numbers, Numbers]:
    """Return the scores (V,) of a window as bytes (5, V) and progress (V,).

    Raises:
        ValueError: a sub-score is none that a byte holds exactly, or progress is outside [0, 1].
    """
    doubled = 2.0 * np.stack([scores[name] for name in HALVES])
    if not np.isin(doubled, (0.0, 1.0, 2.0)).all():
        raise ValueError("a sub-score is neither 0, 0.5 nor 1")
    progress = scores[PROGRESS]
    if not ((progress >= 0.0) & (progress <= 1.0)).all():
        raise ValueError("ego progress is outside [0, 1]")
    return doubled.astype(np.uint8), progress.astype(np.float16)


@dataclass(frozen=True, slots=True)
class TeacherStore:
    """Scores of all windows, open for reading, as columns that a head names."""

    store: TeacherFolder
    metrics: tuple[str, ...]
    _rows: TokenRows = field(repr=False)
    _offsets: NDArray[np.int64] = field(repr=False)
    """(shards, 2) where the columns begin in the file of each shard [bytes]."""

    @classmethod
    def open(cls, folder: Path, metrics: Iterable[str]) -> TeacherStore:
        """Open the scores in `folder`.

        Args:
            folder: Where they lie.
            metrics: Columns to read, in order; of `TAUGHT`.

        Raises:
            DataError: there are none, or shards are missing.
        """
        store = TeacherFolder.at(folder)
        rows = store.require_whole(_AGAIN)
        offsets = np.zeros((store.layout.num_shards, 2), np.int64)
        for shard in range(store.layout.num_shards):
            columns = store.open_shard(shard).columns
            offsets[shard] = columns[_FEW_VALUES].offset, columns[_PROGRESS].offset
        return cls(store, tuple(metrics), rows, offsets)

    def __reduce__(self) -> tuple[Any, ...]:
        return TeacherStore.open, (self.store.folder, self.metrics)

    def rows_of(self, tokens: Tokens) -> Rows:
        """Return the row of each window.

        Raises:
            DataError: some windows have no scores; says how many, and names the first.
        """
        lacking = f"have no teacher scores in `{self.store.folder}`"
        hint = "score them, or take the data that the teacher has scored"
        return self._rows.find(tokens, lacking, hint)

    def read(self, row: int) -> NDArray[np.float16]:
        """Return the (V, M) scores of a row in [0, 1], as an array of the caller's own.

        Raises:
            DataError: the file was cut short, or cannot be read.
        """
        if not 0 <= row < self.store.layout.num_rows:
            raise IndexError(f"row {row} of {self.store.layout.num_rows}")
        shard, place = divmod(row, self.store.layout.rows_per_shard)
        path, count = self.store.path_of(shard), self.store.layout.num_trajectories
        at_halves, at_progress = self._offsets[shard].tolist()
        shape = (len(HALVES), count)
        halves = _read(path, at_halves + place * len(HALVES) * count, shape, np.uint8)
        progress = _read(path, at_progress + place * 2 * count, (count,), np.float16)
        scores = np.empty((self.store.layout.num_trajectories, len(self.metrics)), np.float16)
        for column, name in enumerate(self.metrics):
            is_progress = name == PROGRESS
            scores[:, column] = progress if is_progress else halves[HALVES.index(name)] * 0.5
        return scores


def _read(path: Path, offset: int, shape: tuple[int, ...], dtype: DTypeLike) -> Numbers:
    """Return an array that lies at an offset of a file [bytes].

    The file is opened for it alone, so that no process keeps hundreds of shards open.
    """
    values = np.empty(shape, dtype)
    view, done = values.reshape(-1).view(np.uint8).data, 0
    try:
        with path.open("rb", buffering=0) as file:
            while done < len(view):
                count = os.preadv(file.fileno(), [view[done:]], offset + done)
                if count == 0:
                    raise TornError(f"`{path}` ends within the scores of a window")
                done += count
    except OSError as error:
        raise DataError(f"cannot read `{path}`: {error.strerror}") from error
    return values
