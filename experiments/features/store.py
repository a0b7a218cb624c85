"""Feature stores: of each window the tokens of a frozen encoder, in shards that readers map.

All ranks and workers of a node share what the page cache holds; see `experiments.data.sharded`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from experiments.data.columns import Kinds
from experiments.data.facts import Facts
from experiments.data.sharded import Layout as ShardLayout
from experiments.data.sharded import Numbers, Rows, ShardFolder, TokenRows, Tokens
from experiments.features.identity import UNKNOWN_BEFORE

_SHARD_BYTES = 1 << 28
_SHARD_ROWS = 1024
"""A shard holds at most so many windows, so that small stores can be made by many, too."""
STORED_AS = {"float16": np.float16, "bfloat16": np.uint16, "float32": np.float32}
"""NumPy has no bfloat16: its 16 bits are kept."""


@dataclass(frozen=True, slots=True)
class Layout(ShardLayout):
    """How the rows of a store are cut into shards."""

    row_shape: tuple[int, int]
    """Tokens and channels of a window."""
    dtype: str
    """As in `features.dtype`."""

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """Type of the numbers in the files."""
        return np.dtype(STORED_AS[self.dtype])

    @property
    def kinds(self) -> Kinds:
        """Type and shape of one row of each column."""
        return {"tokens": (self.numpy_dtype, self.row_shape)}

    @property
    def rows_per_shard(self) -> int:
        """Rows of every shard but the last."""
        return max(1, min(_SHARD_BYTES // self.row_bytes, _SHARD_ROWS))


@dataclass(frozen=True, slots=True)
class StoreFolder(ShardFolder[Layout]):
    """A store that is being made, or read."""

    PREFIX: ClassVar[str] = "features"
    NOUN: ClassVar[str] = "feature store"
    SKIPPED: ClassVar[tuple[str, ...]] = (*UNKNOWN_BEFORE, "windows")

    @classmethod
    def begin(cls, home: Path, facts: Facts, tokens: Tokens, row_shape: tuple[int, int]
              ) -> StoreFolder:  # fmt: skip
        """Make the folder of a store below `home` unless it is there.

        Args:
            home: A folder that can be written.
            facts: What the store is; see `experiments.features.identity`.
            tokens: Name of each row.
            row_shape: Tokens and channels of a window.

        Raises:
            DataError: a token comes twice.
            StoreError: the disk refuses.
        """
        return cls.made(home, tokens, {"facts": facts, "row_shape": row_shape})

    @classmethod
    def layout_of(cls, said: dict[str, Any]) -> Layout:
        """Return the layout that a description means."""
        num_tokens, channels = said["row_shape"]
        facts = said["facts"]
        count = int(facts["windows"]["count"])
        return Layout(count, (int(num_tokens), int(channels)), facts["tokens"]["dtype"])

    def write(self, shard: int, tokens: Numbers) -> None:
        """Write a shard (rows, N, C), which appears whole.

        Raises:
            OSError: the disk refuses.
        """
        self.put(shard, {"tokens": tokens})


@dataclass(frozen=True, slots=True)
class FeatureStore:
    """A whole store, open for reading; processes that are forked share its pages."""

    store: StoreFolder
    _rows: TokenRows = field(repr=False)
    _shards: tuple[Numbers, ...] = field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> FeatureStore:
        """Open the store in `folder`.

        Raises:
            DataError: it is none, or lacks shards.
        """
        store = StoreFolder.at(folder)
        rows = store.require_whole("extract again: what is there is kept")
        shards = tuple(
            store.open_shard(shard).arrays("tokens")["tokens"]
            for shard in range(store.layout.num_shards)
        )
        return cls(store, rows, shards)

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureStore.open, (self.store.folder,)

    def rows_of(self, tokens: Tokens) -> Rows:
        """Return the row of each window.

        Raises:
            DataError: some windows are not in the store; says how many, and names the first.
        """
        lacking = f"have no features in `{self.store.folder}`"
        return self._rows.find(tokens, lacking, "extract features of the data that this run reads")

    def read(self, row: int) -> Numbers:
        """Return the (N, C) numbers of a row as an array of the caller's own."""
        if not 0 <= row < self.store.layout.num_rows:
            raise IndexError(f"row {row} of {self.store.layout.num_rows}")
        shard, place = divmod(row, self.store.layout.rows_per_shard)
        return np.array(self._shards[shard][place])
