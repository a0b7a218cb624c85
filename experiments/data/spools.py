"""Columns whose length nobody knows yet: appended to files without a name, then put together."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from experiments.data.columns import ColumnsFile, Kinds, written

_PIECE_BYTES = 1 << 16


@dataclass(slots=True)
class _Spool:
    file: IO[bytes]
    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    num_rows: int = 0


@dataclass(slots=True)
class Spools:
    """Columns that grow; they take disk, not memory, and vanish with the process."""

    folder: Path
    _spools: dict[str, _Spool] = field(default_factory=dict)
    _text_bytes: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> Spools:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for spool in self._spools.values():
            spool.file.close()

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Add rows to a column; the first ones say of which type and width it is.

        Raises:
            OSError: the folder cannot be written, or is full.
            ValueError: these rows are of another type or width.
        """
        if name not in self._spools:
            file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 closed in __exit__
            self._spools[name] = _Spool(file, rows.dtype, rows.shape[1:])
        spool = self._spools[name]
        if (rows.dtype, rows.shape[1:]) != (spool.dtype, spool.row_shape):
            raise ValueError(f"`{name}` holds {spool.dtype}, not {rows.dtype} {rows.shape}")
        spool.file.write(np.ascontiguousarray(rows).tobytes())
        spool.num_rows += len(rows)

    def append_texts(self, name: str, texts: Iterable[str]) -> None:
        """Add texts to a column of texts; see `Texts`."""
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        ends = self._text_bytes.get(name, 0) + np.cumsum([len(text) for text in encoded])
        if len(ends):
            self._text_bytes[name] = int(ends[-1])
        self.append(f"{name}.end", ends.astype(np.int64))
        self.append(f"{name}.text", np.frombuffer(b"".join(encoded), np.uint8))

    def write(self, path: Path, key: str, facts: dict[str, Any]) -> None:
        """Put all columns into one file at `path`.

        Raises:
            OSError: the folder cannot be written, or is full.
        """
        kinds: Kinds = {
            name: (spool.dtype, (spool.num_rows, *spool.row_shape))
            for name, spool in self._spools.items()
        }
        with written(path, key, kinds, facts) as file:
            for name, spool in self._spools.items():
                _copy(name, spool.file, file)


def _copy(name: str, spool: IO[bytes], file: ColumnsFile) -> None:
    spool.seek(0)
    done = 0
    while piece := spool.read(_PIECE_BYTES):
        file.put_bytes(name, piece, done)
        done += len(piece)


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts: one after the other, and where each ends."""

    end: NDArray[np.int64]
    text: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.end)

    def __getitem__(self, n: int) -> str:
        start = int(self.end[n - 1]) if n else 0
        content: bytes = self.text[start : int(self.end[n])].tobytes()
        return content.decode("utf-8", "surrogateescape")
