"""Decoded sensors in files on a disk of the node, a row for each frame, written at its first visit.

All ranks of the node and their dataloader processes share them, as do runs that follow on it.
Nobody waits for anybody: two that visit a frame at once write the same bytes. A row counts if its
checksum is right, so that one that is torn, or only half there, is decoded again.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from experiments.data.decoded import decoding_digest
from experiments.settings import DataConfig
from launcher.errors import ConfigError

_log = logging.getLogger(__name__)
_THERE = 1 << 32
"""Set beside the checksum of a row that is there: all zeros are a hole."""
_SUM_BYTES = 8


class VisitedRows:
    """Rows of one sensor."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Open the files, made if they are not there; raises OSError."""
        self._path = path
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._row_bytes = math.prod(shape) * self._dtype.itemsize
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._rows = os.open(path.with_suffix(".rows"), flags, 0o644)
        self._sums = os.open(path.with_suffix(".sums"), flags, 0o644)
        self._is_full = False

    def __reduce__(self) -> tuple[Any, ...]:
        # File descriptors are of one process and of those that are forked from it.
        return VisitedRows, (self._path, self._shape, self._dtype)

    def read(self, frame: int, decode: Callable[[int], Any]) -> NDArray[Any]:
        """Return a row, from the file or, at its first visit, from `decode`."""
        row = self._kept(frame)
        if row is None:
            row = np.asarray(decode(frame))
            if row.shape != self._shape or row.dtype != self._dtype:
                raise ValueError(f"{row.dtype} {row.shape} is no row of {self._path}")
            self._keep(frame, row)
        return row

    def _kept(self, frame: int) -> NDArray[Any] | None:
        wanted = int.from_bytes(os.pread(self._sums, _SUM_BYTES, frame * _SUM_BYTES), "little")
        if not wanted:
            return None
        content = bytearray(self._row_bytes)
        count = os.preadv(self._rows, [content], frame * self._row_bytes)
        if count != self._row_bytes or _sum_of(content) != wanted:
            return None
        return np.frombuffer(content, self._dtype).reshape(self._shape)

    def _keep(self, frame: int, row: NDArray[Any]) -> None:
        if self._is_full:
            return
        content = row.tobytes()
        try:
            _write(self._rows, content, frame * self._row_bytes)
            _write(self._sums, _sum_of(content).to_bytes(_SUM_BYTES, "little"), frame * _SUM_BYTES)
        except OSError as error:
            self._is_full = True
            _log.warning("no more decoded sensors are kept by this process: %s", error)


def _sum_of(content: bytes | bytearray) -> int:
    return zlib.crc32(content) | _THERE


def _write(file: int, content: bytes, offset: int) -> None:
    left = memoryview(content)
    while left:
        count = os.pwrite(file, left, offset)
        left, offset = left[count:], offset + count


@dataclass(frozen=True, slots=True)
class VisitedSensors:
    """All that is kept of a data set on a node."""

    image: VisitedRows
    lidar: VisitedRows

    @classmethod
    def of(
        cls, config: DataConfig, fingerprint: str, sensors: Path, num_frames: int
    ) -> VisitedSensors | None:
        """Open those in `data.decoded_dir`, of these files as the present code decodes them.

        Raises:
            ConfigError: the folder cannot be written, or its name refers to a variable that is not
                set on this node.
        """
        if config.decoded_dir is None:
            return None
        digest = decoding_digest(f"{fingerprint} {sensors}", config)
        folder = _folder(config.decoded_dir) / f"visited-{digest}"
        image, lidar = (3, *config.image_hw), (1, config.bev_px, config.bev_px)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            found = cls(
                VisitedRows(folder / "image", image, np.uint8),
                VisitedRows(folder / "lidar", lidar, np.float32),
            )
        except OSError as error:
            raise ConfigError(
                f"`data.decoded_dir={config.decoded_dir}`: {error.strerror or error}",
                hint="name a folder on a disk of the node that can be written, or null",
            ) from error
        whole_gb = num_frames * (math.prod(image) + 4 * math.prod(lidar)) / 1e9
        free_gb = shutil.disk_usage(folder).free / 1e9
        _log.info("decoded sensors are kept in %s as they are visited: at most %.1f GB of all"
                  " frames, %.1f GB are free", folder, whole_gb, free_gb)  # fmt: skip
        return found


def _folder(name: str) -> Path:
    expanded = os.path.expandvars(name)
    if "$" in expanded:
        raise ConfigError(
            f"`data.decoded_dir={name}`: a variable in it is not set on this node",
            hint="name a folder on a disk of the node, or null",
        )
    return Path(expanded).expanduser()
