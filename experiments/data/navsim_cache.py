"""Scenes whose features and targets NAVSIM's TransFuser agent has cached.

Layout (navsim/planning/training/dataset.py): `<cache>/<log>/<token>/<builder>.gz`. Windows, their
order, splits, statuses and trajectories come from the logs, as if these were read directly; only
sensors and auxiliary targets come from the cache. What the cache says of a window besides is
compared with the logs, so a cache of other data or another version is noticed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.data.errors import DataError
from experiments.data.openscene import Folders, OpenSceneSource
from experiments.data.selection import few
from experiments.data.source import STATUS, Sample, Sensor, Target
from experiments.data.tensors import read_tensors
from experiments.settings import COMMANDS, POSES, DataConfig
from launcher.errors import ConfigError

Indices = NDArray[np.int64]
FEATURES, TARGETS = "transfuser_feature.gz", "transfuser_target.gz"
_AGENTS = (30, 5)
_NUM_CLASSES = 7
_STATUS_ATOL, _POSE_ATOL = 1e-3, 1e-2
"""How far the cache may be from the logs [m/s, m/s^2; m, rad]: rounding of float32."""


def training_cache_of(config: DataConfig) -> Path:
    """Return the folder of the cache.

    Raises:
        ConfigError: it is not there, or the config asks for images that no cache holds.
    """
    folder = Path(config.training_cache or Path(config.root) / "training_cache")
    if not folder.is_dir():
        raise ConfigError(
            f"`data.training_cache={folder}` is not a folder",
            hint="it holds <log>/<token>/transfuser_feature.gz, as NAVSIM's run_dataset_caching"
            " writes them",
        )
    if len(config.cameras) != 3 or config.decode != "full":
        raise ConfigError(
            "`data.source=navsim_cache` holds the panorama of three cameras, decoded in full;"
            f" `data.cameras={list(config.cameras)}` and `data.decode={config.decode}` ask for"
            " another",
            hint="read the images themselves with data=openscene",
        )
    return folder


class NavsimCacheSource(OpenSceneSource):
    """Windows of logs, with sensors and auxiliary targets out of a feature cache."""

    def __init__(self, config: DataConfig, folders: Folders, cache: Path) -> None:
        """Open the index of the logs, as OpenSceneSource does; `cache` is the cache's folder.

        Raises:
            ConfigError: the index is not there and can be written nowhere.
            DataError: no logs, or one that is torn, too short or not finite.
        """
        super().__init__(config, folders)
        self.cache = cache

    @property
    def fingerprint(self) -> str:
        """What the data is, as text."""
        return f"navsim_cache {self._index.key} {self.cache.absolute()}"

    def require_cached(self, rows: Indices) -> None:
        """Refuse windows that are not in the cache; looks at the names of folders only.

        Raises:
            DataError: some are not; says how many of how many, and names the first.
        """
        missing = self.missing_tokens(rows)
        if missing:
            raise DataError(
                f"{len(missing)} of {len(rows)} windows are not in the cache `{self.cache}`:"
                f" {few(missing)}",
                hint="cache them with NAVSIM, or take other scenes with data.filter;"
                " `launch data check` lists more",
            )

    def missing_tokens(self, rows: Indices) -> list[str]:
        """Return the windows without a folder in the cache, in their order."""
        index, missing = self.index, []
        for log in np.unique(index.log[rows]):
            cached = _entries(self.cache / index.log_names[log])
            tokens = (token.decode() for token in index.token[rows[index.log[rows] == log]])
            missing += [token for token in tokens if token not in cached]
        return missing

    def files_of(self, row: int) -> tuple[Path, Path]:
        """Return the files of the features and of the targets of a window."""
        folder = self._folder(int(self.index.frame[row]))
        return folder / FEATURES, folder / TARGETS

    def load(self, i: int, sensors: frozenset[Sensor]) -> Sample:
        """Read window `i`; its file is read once, whatever is asked for."""
        index, frame = self.index, int(self.index.frame[i])
        features = self._features(frame) if sensors else {}
        return Sample(
            token=index.token[i].decode(),
            log_name=index.log_names[index.log[i]],
            city=index.cities[index.city[i]],
            command=COMMANDS[index.command[i]],
            status=self.status[i],
            future=self.future[i],
            image=self._image(frame, features) if "image" in sensors else None,
            lidar=self._lidar(frame, features) if "lidar" in sensors else None,
        )

    def image(self, frame: int) -> NDArray[np.uint8]:
        """Return the stitched (3, H, W) image of a frame that is a window's current one."""
        return self._image(frame, self._features(frame))

    def lidar(self, frame: int) -> NDArray[np.float32]:
        """Return the (1, P, P) LiDAR histogram of a frame that is a window's current one."""
        return self._lidar(frame, self._features(frame))

    def prepare_targets(self, wanted: Iterable[Target]) -> None:
        """Do nothing: the cache holds them, and the logs' maps are not needed for them."""

    def targets(self, i: int, wanted: Iterable[Target]) -> dict[str, NDArray[Any]]:
        """Return auxiliary targets of window `i`; see `SceneSource.targets`.

        Raises:
            DataError: they are missing, torn, of another shape, or of another window.
        """
        path, edge = self.files_of(i)[1], self._config.bev_px
        shapes = {
            "trajectory": (POSES, 3),
            "agent_states": _AGENTS,
            "agent_labels": _AGENTS[:1],
            "bev_semantic_map": (edge // 2, edge),
        }
        cached = _read(path, shapes)
        self._compare(path, "trajectory", cached["trajectory"], self.future[i], _POSE_ATOL)
        classes = cached["bev_semantic_map"]
        if not np.isin(classes, np.arange(_NUM_CLASSES)).all():
            raise DataError(f"bev_semantic_map in `{path}` has classes beyond 0..6")
        found: dict[str, NDArray[Any]] = {}
        if "agents" in wanted:
            found["agent_states"] = cached["agent_states"].astype(np.float32)
            found["agent_labels"] = cached["agent_labels"].astype(np.bool_)
        if "bev_semantics" in wanted:
            # NAVSIM keeps classes as floats: torch.Tensor() of whole numbers makes them so.
            found["bev_semantics"] = classes.astype(np.uint8)
        return found

    def _folder(self, frame: int) -> Path:
        log = self.index.log_names[int(self.frame_log[frame])]
        token: str = self._index.frame_token[frame].decode()
        return self.cache / log / token

    def _features(self, frame: int) -> dict[str, NDArray[Any]]:
        height, width = self._config.image_hw
        edge = self._config.bev_px
        path = self._folder(frame) / FEATURES
        shapes = {
            "camera_feature": (3, height, width),
            "lidar_feature": (1, edge, edge),
            "status_feature": (8,),
        }
        optional = {"lidar_feature"}  # its builder leaves it out for latent TransFuser
        cached = _read(path, shapes, optional)
        status = cached["status_feature"]
        self._require_order(path, status)
        row = int(np.searchsorted(self.index.frame, frame))
        if row < len(self.index) and self.index.frame[row] == frame:
            self._compare(path, "status_feature", status, self.status[row], _STATUS_ATOL)
        return cached

    def _require_order(self, path: Path, status: NDArray[Any]) -> None:
        command = status[STATUS["command"]]
        if not (np.isin(command, (0, 1)).all() and command.sum() == 1):
            raise DataError(
                f"status_feature in `{path}` does not begin with a one-hot command:"
                f" {np.round(status, 3).tolist()}",
                hint="TransFuser caches command, velocity, acceleration; other agents differ",
            )

    def _compare(
        self, path: Path, name: str, cached: NDArray[Any], ours: NDArray[Any], atol: float
    ) -> None:
        if not np.allclose(cached, ours, rtol=0.0, atol=atol):
            worst = float(np.abs(cached - ours).max())
            raise DataError(
                f"{name} in `{path}` is not what the logs say (off by {worst:.3g})",
                hint="the cache was made of other logs, or by another version of NAVSIM",
            )

    def _image(self, frame: int, features: dict[str, NDArray[Any]]) -> NDArray[np.uint8]:
        image = features["camera_feature"]
        if image.min() < 0.0 or image.max() > 1.0:
            raise DataError(
                f"camera_feature in `{self._folder(frame) / FEATURES}` is not in 0..1",
                hint="the cache must hold images as the camera took them, not normalised ones",
            )
        pixels: NDArray[np.uint8] = np.rint(image * 255).astype(np.uint8)
        return pixels

    def _lidar(self, frame: int, features: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        if "lidar_feature" not in features:
            raise DataError(
                f"`{self._folder(frame) / FEATURES}` holds no lidar_feature",
                hint="the cache was made for latent TransFuser: take backbone=ltf",
            )
        return features["lidar_feature"].astype(np.float32)


def _entries(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except FileNotFoundError:
        return set()


def _read(
    path: Path, shapes: dict[str, tuple[int, ...]], optional: Iterable[str] = ()
) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file, of the shapes that they must have, and finite."""
    try:
        cached = read_tensors(path)
    except FileNotFoundError as error:
        raise DataError(f"`{path}` is missing") from error
    absent = [name for name in shapes if name not in cached and name not in optional]
    if absent:
        raise DataError(f"`{path}` has no {', '.join(absent)}; it has {', '.join(sorted(cached))}")
    found = {name: cached[name] for name in shapes if name in cached}
    for name, array in found.items():
        if array.shape != shapes[name]:
            raise DataError(
                f"{name} in `{path}` is of shape {array.shape}, not {shapes[name]}",
                hint="data.image_hw and data.bev_px must be those of the cache, e.g."
                " data.image_hw=[256,1024] data.bev_px=256",
            )
        if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
            raise DataError(f"{name} in `{path}` is not of finite numbers ({array.dtype})")
    return found
