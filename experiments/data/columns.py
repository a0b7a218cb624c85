"""Columns of numbers in one file, which all processes of a node read through the same memory.

Readers map a column: what they touch lies in the page cache once, however many ranks and workers
touch it, and nothing is unpickled. A file appears whole, by one rename, and is never changed.

Layout: MAGIC, the length of the header (uint64), the header (JSON), and from the next multiple of
ALIGNMENT on each column's raw values, each at a multiple of ALIGNMENT.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from experiments.data.errors import DataError

MAGIC = b"COLUMNS1"
ALIGNMENT = 4096
"""Bytes; a page, so that a column can be mapped or left out by itself."""
_HEADER_AT = len(MAGIC) + 8

Kinds = Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
"""Name of a column -> type and shape."""


class TornError(DataError):
    """A file of columns is cut short, damaged, or holds something else than it should."""


@dataclass(frozen=True, slots=True)
class Column:
    """Where the values of a column lie."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    """From the start of the file [bytes]."""

    @property
    def num_bytes(self) -> int:
        """Size of all values."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Columns:
    """An open file of columns."""

    path: Path
    facts: dict[str, Any]
    """Plain values that were stored with the columns."""
    columns: dict[str, Column]

    def arrays(self, *names: str) -> dict[str, NDArray[Any]]:
        """Map columns, in one mapping, as read-only arrays.

        Raises:
            TornError: there is no such column, or the file was cut since it was opened.
        """
        chosen = {name: self._column(name) for name in names}
        first = min(column.offset for column in chosen.values())
        end = max(column.offset + column.num_bytes for column in chosen.values())
        # A mapping starts at a multiple of the system's page, which may be larger than ours.
        start = first - first % mmap.ALLOCATIONGRANULARITY
        try:
            with open(self.path, "rb") as file:
                # One byte at least: empty columns still want a mapping to stand on.
                length = max(end - start, 1)
                mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=start)
        except (OSError, ValueError) as error:
            raise TornError(f"cannot map `{self.path}`: {error}") from error
        return {
            name: np.ndarray(column.shape, column.dtype, mapped, column.offset - start)
            for name, column in chosen.items()
        }

    def _column(self, name: str) -> Column:
        if name not in self.columns:
            raise TornError(f"`{self.path}` has no column `{name}`")
        return self.columns[name]


def open_columns(path: Path, key: str) -> Columns:
    """Open a file that was written under `key`.

    Raises:
        FileNotFoundError: it is not there.
        TornError: it is cut short, damaged, or was written under another key.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            header = _read_header(file, size)
        columns = {
            name: Column(np.dtype(entry["dtype"]), tuple(entry["shape"]), int(entry["offset"]))
            for name, entry in header["columns"].items()
        }
        wanted, found, facts = int(header["num_bytes"]), header["key"], dict(header["facts"])
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TornError(f"`{path}` is torn or no file of columns: {error!r}") from error
    if found != key:
        raise TornError(f"`{path}` belongs to other data or another version of the code")
    if size != wanted:
        raise TornError(f"`{path}` has {size} of {wanted} bytes")
    return Columns(path, facts, columns)


def _read_header(file: BinaryIO, size: int) -> dict[str, Any]:
    start = file.read(_HEADER_AT)
    if start[: len(MAGIC)] != MAGIC:
        raise ValueError("it does not begin like one")
    length = int.from_bytes(start[len(MAGIC) :], "little")
    if length > size:
        raise ValueError(f"a header of {length} bytes")
    header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("the header is not a table")
    return header


@contextmanager
def written(path: Path, key: str, kinds: Kinds, facts: dict[str, Any]) -> Iterator[ColumnsFile]:
    """Write a file of columns, which appears at `path` when the block ends without an error.

    What the block leaves out is zero, and takes no space where the file system knows holes.

    Raises:
        OSError: the folder cannot be written, or is full.
    """
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    header, columns, num_bytes = _layout(key, kinds, facts)
    try:
        with open(partial, "xb") as file:
            file.write(header)
            file.truncate(num_bytes)
            file.flush()
            yield ColumnsFile(file, columns)
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class ColumnsFile:
    """A file of columns that is being written."""

    file: BinaryIO
    columns: dict[str, Column]

    def put(self, name: str, rows: NDArray[Any], first: int = 0) -> None:
        """Write rows of a column, from row `first` on.

        Raises:
            OSError: the disk is full.
        """
        column = self.columns[name]
        content = np.ascontiguousarray(rows, column.dtype).reshape(-1).view(np.uint8).data
        self.put_bytes(name, content, first * column.row_bytes)

    def put_bytes(self, name: str, content: bytes | memoryview, at: int) -> None:
        """Write raw values of a column, `at` bytes from its start."""
        start, done = self.columns[name].offset + at, 0
        view = memoryview(content)
        while done < len(view):
            done += os.pwrite(self.file.fileno(), view[done:], start + done)


def _layout(key: str, kinds: Kinds, facts: dict[str, Any]) -> tuple[bytes, dict[str, Column], int]:
    """Return the bytes before the first column, the columns, and the size of the file."""
    start = 0
    while True:  # the header says where columns start, and they start after it
        columns, num_bytes = _placed(kinds, start)
        header = json.dumps(
            {
                "key": key,
                "num_bytes": num_bytes,
                "facts": facts,
                "columns": {
                    name: {"dtype": c.dtype.str, "shape": c.shape, "offset": c.offset}
                    for name, c in columns.items()
                },
            }
        ).encode()
        needed = _aligned(_HEADER_AT + len(header))
        if needed <= start:
            return MAGIC + len(header).to_bytes(8, "little") + header, columns, num_bytes
        start = needed


def _placed(kinds: Kinds, start: int) -> tuple[dict[str, Column], int]:
    columns, end = {}, start
    for name, (dtype, shape) in kinds.items():
        columns[name] = Column(dtype, shape, _aligned(end))
        end = columns[name].offset + columns[name].num_bytes
    # A page more than the last value, so that an empty last column can be mapped as well.
    return columns, _aligned(end + 1)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT
