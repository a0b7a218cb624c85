"""Decoded sensors in files on a disk of the node, a row for each frame, written at its first visit.

All ranks of the node and their dataloader processes share them, as do runs that follow on it.
Nobody waits for anybody: two that visit a frame at once write the same bytes. A row counts if its
checksum is right, so that one that is torn, or only half there, is decoded again.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import weakref
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import DTypeLike, NDArray

from experiments.data.decoded import decoding_digest
from experiments.settings import DataConfig
from launcher.errors import ConfigError

_log = logging.getLogger(__name__)
_THERE = 1 << 32
"""Set beside the checksum of a row that is there: all zeros are a hole."""
_SUM_BYTES = 8
_RESERVE_GB, _RESERVE_SHARE = 10.0, 0.05
"""Of a disk that is left to others, such as checkpoints: the smaller of both."""
_IN_MEMORY = ("tmpfs", "ramfs")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


class Room:
    """Whether rows may still be added to a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._is_closed = folder, False

    def has(self, size: int) -> bool:
        """Whether a row of so many bytes may be added, so that others find room as well."""
        if not self._is_closed:
            disk = shutil.disk_usage(self._folder)
            reserve = min(_RESERVE_GB * 1e9, _RESERVE_SHARE * disk.total)
            if disk.free - size < reserve:
                self.close(f"{disk.free / 1e9:.1f} GB are free, of which {reserve / 1e9:.1f} GB are"
                           " left to others")  # fmt: skip
        return not self._is_closed

    def close(self, why: object) -> None:
        """Add no more rows in this process."""
        if self._is_closed:
            return
        self._is_closed = True
        _log.warning("no more decoded sensors are kept in %s (data.decoded_dir) by this process:"
                     " %s", self._folder, why)  # fmt: skip


class VisitedRows:
    """Rows of one sensor."""

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: DTypeLike, room: Room | None = None
    ) -> None:
        """Open the files, made if they are not there; raises OSError."""
        self._path, self._room = path, room or Room(path.parent)
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._row_bytes = math.prod(shape) * self._dtype.itemsize
        self._rows, self._sums = self._opened(".rows"), self._opened(".sums")

    def __reduce__(self) -> tuple[Any, ...]:
        # File descriptors are of one process and of those that are forked from it.
        return VisitedRows, (self._path, self._shape, self._dtype, self._room)

    @property
    def kept_bytes(self) -> int:
        """What the rows take on the disk, whoever wrote them."""
        return os.fstat(self._rows).st_blocks * 512

    def read(self, frame: int, decode: Callable[[int], Any]) -> NDArray[Any]:
        """Return a row, from the file or, at its first visit, from `decode`."""
        row = self._kept(frame)
        if row is None:
            row = np.asarray(decode(frame))
            if row.shape != self._shape or row.dtype != self._dtype:
                raise ValueError(f"{row.dtype} {row.shape} is no row of {self._path}")
            self._keep(frame, row)
        return row

    def _opened(self, suffix: str) -> int:
        path, close_on_exec = self._path.with_suffix(suffix), os.O_CLOEXEC
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | close_on_exec, 0o644)
        except OSError as error:
            try:  # another user's, or on a file system that is mounted to be read only
                descriptor = os.open(path, os.O_RDONLY | close_on_exec)
            except OSError:
                raise error from None
            self._room.close(error)
        weakref.finalize(self, os.close, descriptor)
        return descriptor

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
        if not self._room.has(self._row_bytes):
            return
        content = row.tobytes()
        try:
            _write(self._rows, content, frame * self._row_bytes)
            _write(self._sums, _sum_of(content).to_bytes(_SUM_BYTES, "little"), frame * _SUM_BYTES)
        except OSError as error:
            self._room.close(error)


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
        cls, config: DataConfig, frame_table: str, sensors: Path, num_frames: int
    ) -> VisitedSensors | None:
        """Open those in `data.decoded_dir`, of these files as the present code decodes them.

        Args:
            config: Names the folder, and how sensors are decoded.
            frame_table: What each row of it is.
            sensors: Where the files of sensors lie.
            num_frames: Rows of the frame table.

        Raises:
            ConfigError: the folder cannot be written, lies in memory, is no absolute path, or its
                name refers to a variable that is not set on this node.
        """
        if config.decoded_dir is None:
            return None
        digest = decoding_digest(f"{frame_table} {sensors.resolve()}", config)
        folder = _folder(config.decoded_dir) / f"visited-{digest}"
        image, lidar = (3, *config.image_hw), (1, config.bev_px, config.bev_px)
        room = Room(folder)
        _refuse_memory(config.decoded_dir, folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            found = cls(
                VisitedRows(folder / "image", image, np.uint8, room),
                VisitedRows(folder / "lidar", lidar, np.float32, room),
            )
        except OSError as error:
            raise ConfigError(
                f"`data.decoded_dir={config.decoded_dir}`: {error.strerror or error}",
                hint="name a folder on a disk of the node that can be written, or null",
            ) from error
        whole_gb = num_frames * (math.prod(image) + 4 * math.prod(lidar)) / 1e9
        found.tell(folder, whole_gb)
        return found

    def tell(self, folder: Path, whole_gb: float) -> None:
        """Log what is there, what may come, and what else lies beside it."""
        there_gb = (self.image.kept_bytes + self.lidar.kept_bytes) / 1e9
        free_gb = shutil.disk_usage(folder).free / 1e9
        _log.info("decoded sensors are kept in %s as they are visited: %.1f GB of at most %.1f GB"
                  " are there, %.1f GB are free", folder, there_gb, whole_gb, free_gb)  # fmt: skip
        others = [other for other in folder.parent.glob("visited-*") if other != folder]
        if others:
            _log.info("beside it lie %d such folders of other data, sizes or code (%s): those that"
                      " no run reads may be removed", len(others), folder.parent)  # fmt: skip


def _folder(name: str) -> Path:
    for variable in (first or second for first, second in _VARIABLE.findall(name)):
        if not os.environ.get(variable):
            raise ConfigError(
                f"`data.decoded_dir={name}`: the variable {variable} is not set on this node",
                hint="name a folder on a disk of the node, or null",
            )
    path = Path(os.path.expandvars(name)).expanduser()
    if not path.is_absolute():
        raise ConfigError(
            f"`data.decoded_dir={name}` is `{path}` on this node, which is no absolute path",
            hint="name a folder on a disk of the node, or null",
        )
    return path


def _refuse_memory(name: str, folder: Path) -> None:
    """Raise ConfigError for a folder whose files are memory of the job, and get it killed."""
    kind = _file_system(folder)
    if kind in _IN_MEMORY:
        raise ConfigError(
            f"`data.decoded_dir={name}` lies in memory (`{folder.parent}` is {kind}), which counts"
            " as memory of the run",
            hint="name a folder on a disk; data.cache_decoded=true keeps sensors in memory, and"
            " asks SLURM for it",
        )


def _file_system(folder: Path) -> str:
    """Type of the file system that a folder lies on; empty if nothing says it."""
    place = folder.resolve()
    mounts = [m for m in psutil.disk_partitions(all=True) if place.is_relative_to(m.mountpoint)]
    # Of two on one point, the later lies on top.
    kind: str = max(reversed(mounts), key=lambda m: len(m.mountpoint)).fstype if mounts else ""
    return kind
