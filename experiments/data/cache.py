"""Where data lies on disk; generated data is made once and then shared by all who ask for it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from experiments.data.errors import DataError
from experiments.data.openscene import Folders
from experiments.data.synthetic.generate import LOGS, MAPS, SENSORS, generate
from experiments.settings import DataConfig, SyntheticConfig
from launcher.errors import ConfigError

_log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_SOURCES = ("synthetic", "frames.py", "pcd.py", "vehicle.py")
"""What the generator consists of, relative to this folder."""


def prepare(config: DataConfig) -> Path:
    """Return the folder of the data, generating it first if it is synthetic and not there yet.

    Any number of processes on any number of nodes may call this at once. The folder appears
    by one rename, complete or not at all; a lock only spares them double work.

    Raises:
        ConfigError: folders of recorded data that do not exist, a world that cannot be.
        DataError: the cached folder was damaged.
    """
    if config.source != "synthetic":
        folders_of(config, Path(config.root))
        return Path(config.root)
    _require_possible(config.synthetic)
    final = Path(config.root) / f"synthetic-{content_hash(config.synthetic)[:12]}"
    if not final.exists():
        _require_writable(final.parent)
        lock = final.parent / f".{final.name}.lock"
        with _locked(lock, patience_s=_patience_s(config.synthetic)):
            if not final.exists():
                _build(config.synthetic, final)
    if not (final / MANIFEST).is_file():
        raise DataError(
            f"`{final}` has no {MANIFEST}: something removed a part of it",
            hint=f"rm -r {final}  # it will be generated again",
        )
    return final


def _require_possible(config: SyntheticConfig) -> None:
    height, width = config.camera_hw
    least = {"seed": 0, "num_logs": 1, "frames_per_log": 2, "camera_hw": 16}
    values = {**vars(config), "camera_hw": min(height, width)}
    for key, smallest in least.items():
        if values[key] < smallest:
            raise ConfigError(
                f"`data.synthetic.{key}={getattr(config, key)}` is too small",
                hint=f"the least is {smallest}",
            )


def _require_writable(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"`data.root={root}` cannot be created: {error.strerror}",
            hint="data is generated there; choose a folder you may write to",
        ) from error
    if not os.access(root, os.W_OK):
        raise ConfigError(
            f"`data.root={root}` is not writable",
            hint="data is generated there; choose a folder you may write to",
        )


def folders_of(config: DataConfig, root: Path) -> Folders:
    """Return the folders of logs, sensors and maps; ConfigError names the one that is missing."""
    real = config.source != "synthetic"
    logs = Path(config.logs) if real and config.logs else root / LOGS
    sensors = Path(config.sensors) if real and config.sensors else root / SENSORS
    for key, path in (("data.logs", logs), ("data.sensors", sensors)):
        # Features that are cached already stand for the sensors, not for the logs.
        if not path.is_dir() and not (key == "data.sensors" and config.source == "navsim_cache"):
            raise ConfigError(
                f"`{key}={path}` is not a folder",
                hint="point it at OpenScene's data, or use data.source=synthetic",
            )
    return Folders(logs, sensors, root / MAPS)


def content_hash(config: SyntheticConfig) -> str:
    """Return the hex sha256 of the config and of the generator's own source."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(config), sort_keys=True).encode())
    here = Path(__file__).parent
    for name in _SOURCES:
        files = sorted((here / name).glob("*.py")) if (here / name).is_dir() else [here / name]
        for file in files:
            digest.update(f"\0{file.relative_to(here).as_posix()}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def manifest_of(root: Path) -> dict[str, int | str]:
    """Return the number of files below `root` and the sha256 over their sorted paths and sums."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != MANIFEST)
    digest = hashlib.sha256()
    for path in files:
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {checksum}\n".encode())
    return {"schema_version": 1, "num_files": len(files), "sha256": digest.hexdigest()}


def _patience_s(config: SyntheticConfig) -> float:
    """Return how long to wait for another's work: ten times what it takes on one core."""
    height, width = config.camera_hw
    frame_s = 0.005 + 2e-7 * height * width
    return 60.0 + 10 * config.num_logs * (0.1 + config.frames_per_log * frame_s)


@contextmanager
def _locked(path: Path, patience_s: float) -> Iterator[None]:
    """Hold the lock, if the file system has locks; the rename decides without them too."""
    lock = FileLock(path, timeout=patience_s)
    try:
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        _log.warning("cannot lock %s (%s): generating without it", path, error)
    try:
        yield
    finally:
        lock.release()


def _build(config: SyntheticConfig, final: Path) -> None:
    started = time.monotonic()
    _log.info("generating %d synthetic logs in %s", config.num_logs, final)
    partial = final.parent / f".{final.name}-{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        generate(config, partial)
        text = json.dumps(manifest_of(partial), indent=2)
        (partial / MANIFEST).write_text(text + "\n")
        partial.rename(final)
    except OSError:
        # Another process renamed first: its folder holds the same bytes.
        if not (final / MANIFEST).is_file():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _log.info("generated %s in %.1f s", final.name, time.monotonic() - started)
