"""Decoded sensors of generated data, one memory-mapped array each, shared by all who read them.

Decoding takes longer than a tiny training waits for: it is done once for a data set, not by each
rank of each run at each start. Only data whose folder is named by its content is kept like this.
"""

from __future__ import annotations

import hashlib
import json
import logging
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
_DECODERS = ("openscene.py", "images.py", "bev.py", "pcd.py", "logs.py", "indexing.py")
_PATIENCE_S = 900.0

Read = Callable[[int], NDArray[Any]]


def decoding_digest(data: str, config: DataConfig) -> str:
    """Return 12 hex digits of what decoded sensors follow from: data, sizes and the code."""
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
    def of(cls, config: DataConfig, root: Path) -> DecodedSensors:
        """Those of the generated data in `root`, as `config` and the present code decode them."""
        return cls(root.parent / f"decoded-{decoding_digest(root.name, config)}")

    def rows(self, name: str, num_frames: int, read: Read) -> NDArray[Any]:
        """The read-only array (num_frames, ...) of `name`; made now by `read` if nobody has.

        Raises:
            DataError: a sensor file is missing or torn.
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
    partial = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.npy")
    shape = (num_frames, *first.shape)
    try:
        rows = np.lib.format.open_memmap(partial, mode="w+", dtype=first.dtype, shape=shape)
        for frame in range(num_frames):
            rows[frame] = read(frame)
        rows.flush()
        del rows
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _log.info("decoded %d frames into %s", num_frames, path)
