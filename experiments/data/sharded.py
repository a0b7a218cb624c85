"""Folders of shards: of each window one row, in files that are written whole or not at all.

    <prefix>-<hash>/<prefix>.json      what it is, in clear
    <prefix>-<hash>/windows.columns    token of each row
    <prefix>-<hash>/shard-00000.columns ...

The hash is that of all that the numbers depend on, so numbers of two kinds never share a folder.
Any number of processes may fill one at once: shards appear by a rename.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from experiments.data.columns import Columns, Kinds, TornError, open_columns, written
from experiments.data.errors import DataError
from experiments.data.facts import Facts, sha256_of
from launcher.files import write_json

_WINDOWS = "windows.columns"
_FEW = 3
_CHECKED_BYTES = 1 << 24

Numbers = NDArray[Any]
Rows = NDArray[np.int64]
Tokens = NDArray[np.bytes_]


@dataclass(frozen=True, slots=True)
class Layout(ABC):
    """How rows are cut into shards."""

    num_rows: int

    @property
    @abstractmethod
    def kinds(self) -> Kinds:
        """Type and shape of one row of each column."""

    @property
    @abstractmethod
    def rows_per_shard(self) -> int:
        """Rows of every shard but the last."""

    @property
    def row_bytes(self) -> int:
        """Size of a window."""
        return sum(math.prod(shape) * dtype.itemsize for dtype, shape in self.kinds.values())

    @property
    def num_shards(self) -> int:
        """Shards in all."""
        return -(-self.num_rows // self.rows_per_shard)

    def rows_of(self, shard: int) -> range:
        """Rows of a shard."""
        first = shard * self.rows_per_shard
        return range(first, min(first + self.rows_per_shard, self.num_rows))


LayoutT = TypeVar("LayoutT", bound=Layout)


@dataclass(frozen=True, slots=True)
class ShardFolder(ABC, Generic[LayoutT]):
    """A folder of shards that is being filled, or read."""

    folder: Path
    facts: Facts
    layout: LayoutT

    PREFIX: ClassVar[str]
    """With which names begin."""
    NOUN: ClassVar[str]
    """What messages call it."""
    SKIPPED: ClassVar[tuple[str, ...]]
    """Facts that who looks for one does not know before."""

    @classmethod
    @abstractmethod
    def layout_of(cls, said: dict[str, Any]) -> LayoutT:
        """Return the layout that a description means; KeyError and the like where it means none."""

    @classmethod
    def description(cls) -> str:
        """Return the name of the file that says what the folder is."""
        return f"{cls.PREFIX}.json"

    @classmethod
    def name_of(cls, facts: Facts) -> str:
        """Return the name of the folder of what has these facts."""
        return f"{cls.PREFIX}-{sha256_of(facts)[:12]}"

    @property
    def key(self) -> str:
        """What each of its files is marked with."""
        return sha256_of(self.facts)

    @classmethod
    def made(cls, home: Path, tokens: Tokens, said: dict[str, Any]) -> Self:
        """Make the folder below `home` unless it is there.

        Args:
            home: A folder that can be written.
            tokens: Name of each row.
            said: The description, its `facts` among it.

        Raises:
            DataError: a token comes twice.
            StoreError: the disk refuses.
        """
        if len(np.unique(tokens)) < len(tokens):
            raise DataError("a token comes twice among the windows to store")
        facts = said["facts"]
        store = cls(home / cls.name_of(facts), facts, cls.layout_of(said))
        store.folder.mkdir(parents=True, exist_ok=True)
        kinds = {"token": (tokens.dtype, tokens.shape)}
        with written(store.folder / _WINDOWS, store.key, kinds, {}) as file:
            file.put("token", tokens)
        write_json(store.folder / cls.description(), {"schema_version": 1, **said})
        return store

    @classmethod
    def at(cls, folder: Path) -> Self:
        """Read what is in `folder`.

        Raises:
            DataError: there is none, or its description is damaged.
        """
        path = folder / cls.description()
        try:
            said = json.loads(path.read_text())
            facts = said["facts"]
            store = cls(folder, facts, cls.layout_of(said))
        except FileNotFoundError as error:
            raise DataError(f"there is no {cls.NOUN} in `{folder}`") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"`{path}` is no description of a {cls.NOUN}: {error!r}") from error
        if folder.name != cls.name_of(facts):
            raise DataError(f"`{path}` was changed: its contents are those of {cls.name_of(facts)}")
        return store

    def tokens(self) -> Tokens:
        """Name of each row, mapped; raises TornError or FileNotFoundError."""
        return open_columns(self.folder / _WINDOWS, self.key).arrays("token")["token"]

    def path_of(self, shard: int) -> Path:
        """File of a shard."""
        return self.folder / f"shard-{shard:05d}.columns"

    def open_shard(self, shard: int) -> Columns:
        """Open a shard; raises TornError or FileNotFoundError."""
        columns = open_columns(self.path_of(shard), self.key)
        for name, (dtype, shape) in self._kinds_of(shard).items():
            found = columns.columns.get(name)
            if found is None or (found.shape, found.dtype) != (shape, dtype):
                raise TornError(f"`{columns.path}` holds no {name} {shape}")
        return columns

    def _kinds_of(self, shard: int) -> Kinds:
        count = len(self.layout.rows_of(shard))
        return {name: (dtype, (count, *s)) for name, (dtype, s) in self.layout.kinds.items()}

    def put(self, shard: int, arrays: dict[str, Numbers]) -> None:
        """Write the columns of a shard (rows, ...), which appears whole.

        Raises:
            OSError: the disk refuses.
        """
        digest = hashlib.sha256()
        for name in self.layout.kinds:
            digest.update(_bytes(arrays[name]))
        facts = {"sha256": digest.hexdigest()}
        kinds = {name: (array.dtype, array.shape) for name, array in arrays.items()}
        with written(self.path_of(shard), self.key, kinds, facts) as file:
            for name, array in arrays.items():
                file.put(name, array)

    def missing(self, shards: Iterable[int], *, verify: bool) -> list[int]:
        """Return those shards that are not there whole.

        Args:
            shards: The ones to look at.
            verify: Also read them, and compare their checksums.
        """
        return [shard for shard in shards if not self._is_whole(shard, verify=verify)]

    def _is_whole(self, shard: int, *, verify: bool) -> bool:
        try:
            columns = self.open_shard(shard)
            return not verify or self._checksum(columns) == columns.facts.get("sha256")
        except (FileNotFoundError, TornError):
            return False

    def _checksum(self, columns: Columns) -> str:
        digest = hashlib.sha256()
        for array in columns.arrays(*self.layout.kinds).values():
            content = _bytes(array)
            for start in range(0, len(content), _CHECKED_BYTES):
                digest.update(content[start : start + _CHECKED_BYTES])
        return digest.hexdigest()

    def require_whole(self, hint: str) -> TokenRows:
        """Return where the windows lie, if all shards are there.

        Raises:
            DataError: shards are missing or torn, or the list of windows is.
        """
        missing = self.missing(range(self.layout.num_shards), verify=False)
        if missing:
            names = ", ".join(self.path_of(shard).name for shard in missing[:_FEW])
            raise DataError(
                f"`{self.folder}` lacks {len(missing)} of {self.layout.num_shards} shards ({names}"
                f"{', ...' if len(missing) > _FEW else ''}), or they are torn",
                hint=hint,
            )
        try:
            tokens = self.tokens()
        except FileNotFoundError as error:
            raise DataError(f"`{self.folder}` has no {_WINDOWS}", hint=hint) from error
        return TokenRows(tokens, np.argsort(tokens, kind="stable"))


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Finds rows by the tokens of windows."""

    tokens: Tokens
    order: Rows
    """Rows in the order of their tokens."""

    def find(self, asked: Tokens, lacking: str, hint: str) -> Rows:
        """Return the row of each window.

        Args:
            asked: Tokens of the windows.
            lacking: What is said of windows without a row.
            hint: What to do then.

        Raises:
            DataError: some windows have no row; says how many, and names the first.
        """
        if not len(self.tokens):
            missing, rows = asked, np.zeros(len(asked), np.int64)
        else:
            # Of one width, else searchsorted would convert, that is copy, all that are mapped.
            ours = asked.astype(self.tokens.dtype)
            found = np.searchsorted(self.tokens, ours, sorter=self.order)
            rows = self.order[np.minimum(found, len(self.order) - 1)]
            # Compared as they were given: a longer token is not one that it begins with.
            missing = asked[self.tokens[rows] != asked]
        if len(missing):
            few = ", ".join(f"`{token.decode()}`" for token in missing[:_FEW])
            raise DataError(
                f"{len(missing)} of {len(asked)} windows ({few}"
                f"{', ...' if len(missing) > _FEW else ''}) {lacking}",
                hint=hint,
            )
        return rows


def _bytes(numbers: Numbers) -> memoryview:
    return np.ascontiguousarray(numbers).reshape(-1).view(np.uint8).data
