"""Decoded sensors of generated data, one memory-mapped array each, shared by all who read them.

Decoding takes longer than a tiny training waits for: it is done once for a data set, not by each
rank of each run at each start. Only data whose folder is named by its content is kept like this.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from experiments.settings import DataConfig

_log = logging.getLogger(__name__)
_DECODERS = ("sensors.py", "images.py", "bev.py", "pcd.py", "logs.py", "indexing.py")
_PATIENCE_S = 900.0
_ABANDONED_S = 3600.0
"""A file on which nothing was written for so long is of a process that was killed."""

Read = Callable[[int], NDArray[Any]]


def decoding_digest(data: str, config: DataConfig) -> str:
    """Return 12 hex digits of what decoded sensors follow from: data, sizes and the code.

    Args:
        data: What each row of its frame table is.
        config: Sizes, cameras, and how images are decoded.
    """
    digest = hashlib.sha256(data.encode())
    sizes = [config.image_hw, config.bev_px, config.bev_range_m, config.cameras, config.decode]
    digest.update(json.dumps(sizes).encode())
    for name in _DECODERS:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class DecodedSensors:
    """Arrays with a row for each frame of a data set."""

    folder: Path

    @classmethod
    def of(cls, config: DataConfig, data: str, below: Path) -> DecodedSensors:
        """Those of `data`, the rows of a frame table, as the present code decodes them."""
        return cls(below / f"decoded-{decoding_digest(data, config)}")

    def rows(self, name: str, num_frames: int, read: Read) -> NDArray[Any]:
        """The read-only array (num_frames, ...) of `name`; made now by `read` if nobody has.

        Raises:
            DataError: a sensor file is missing or torn.
            OSError: the folder cannot be written, or its disk is full.
        """
        path = self.folder / f"{name}.npy"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / f".{name}.lock", timeout=_PATIENCE_S)
            # The rename decides where a file system has no locks; they only spare double work.
            with suppress(OSError, NotImplementedError):
                lock.acquire()
            try:
                if not path.exists():
                    _write(path, num_frames, read)
            finally:
                lock.release()
        rows: NDArray[Any] = np.load(path, mmap_mode="r")
        return rows


def _write(path: Path, num_frames: int, read: Read) -> None:
    first = read(0)
    _remove_abandoned(path)
    partial = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.npy")
    shape = (num_frames, *first.shape)
    try:
        rows = np.lib.format.open_memmap(partial, mode="w+", dtype=first.dtype, shape=shape)
        with partial.open("r+b") as file:  # a hole that finds no room would kill by SIGBUS
            os.posix_fallocate(file.fileno(), 0, partial.stat().st_size)
        for frame in range(num_frames):
            rows[frame] = read(frame)
        rows.flush()
        del rows
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _log.info("decoded %d frames into %s", num_frames, path)


def _remove_abandoned(path: Path) -> None:
    for partial in path.parent.glob(f".{path.stem}-*.npy"):
        with suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > _ABANDONED_S:
                partial.unlink()
