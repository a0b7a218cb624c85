"""Torch datasets over a scene source: labelled windows, and unlabelled images for pretraining."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from experiments.data.assembly import Indices
from experiments.data.encoded import Encoded
from experiments.data.source import SENSORS, SceneSource, Sensor, Target
from experiments.data.teacher import TeacherScores
from launcher.errors import ConfigError


class PlanningDataset(Dataset[dict[str, Any]]):
    """Windows as dicts of tensors; `decoding.collate` makes batches of them.

    Keys: `image` uint8 (3, H, W), or its files with `data.decode=gpu`, and `lidar` float32
    (1, P, P) if asked for, `status` float32 (8,), `trajectory` float32 (8, 3), `index` int64 ()
    into the source's index, `teacher` (V, M) if there is one, and what `targets` ask for: "agents"
    for `agent_states` float32 (30, 5) and `agent_labels` bool (30,), "bev_semantics" for
    `bev_semantics` uint8 (P / 2, P); see `SceneSource.targets`.
    """

    def __init__(
        self,
        source: SceneSource,
        indices: Indices,
        sensors: Iterable[Sensor],
        *,
        cache_decoded: bool = False,
        teacher: TeacherScores | None = None,
        targets: Iterable[Target] = (),
    ) -> None:
        """Take the windows `indices` of `source`.

        Args:
            source: where windows come from.
            indices: rows of `source.index`.
            sensors: what to read of "image" and "lidar".
            cache_decoded: read and decode everything now, or share what was decoded before.
                Worth it when all windows fit into memory and are read many times.
            teacher: scores of a teacher, which must know all these windows.
            targets: what losses read besides the trajectory.

        Raises:
            ConfigError: an unknown sensor, no windows, a target that the source cannot have,
                "teacher" without a teacher, or a `data.decoded_dir` that cannot be used.
            DataError: with `cache_decoded`, a sensor file is missing or torn; windows that the
                teacher has not scored.
        """
        self.source, self.indices = source, np.asarray(indices, np.int64)
        self.sensors: frozenset[Sensor] = frozenset(sensors)
        unknown = sorted(self.sensors - set(SENSORS))
        if unknown:
            raise ConfigError(f"unknown sensor `{unknown[0]}`; legal: {', '.join(SENSORS)}")
        if len(self.indices) == 0:
            raise ConfigError("the dataset has no windows")
        if self.sensors:
            source.prepare_sensors()
        self._decoded: dict[str, tuple[NDArray[np.generic], Indices]] = {}
        if cache_decoded:
            frames = source.index.frame[self.indices]
            self._decoded = {name: source.decoded(name, frames) for name in self.sensors}
        self._targets = _own_targets(targets, teacher)
        if self._targets:
            source.prepare_targets(self._targets)
        self._teacher = teacher
        if teacher is not None:
            self._teacher_rows = teacher.rows_of(source.index.token[self.indices])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, n: int) -> dict[str, Any]:
        i = int(self.indices[n])
        return {
            **self._sensor_tensors(n, i),
            **self._target_tensors(i),
            **self._teacher_tensors(n),
            "status": torch.from_numpy(self.source.status[i].copy()),
            "trajectory": torch.from_numpy(self.source.future[i].copy()),
            "index": torch.tensor(i),
        }

    def _sensor_tensors(self, n: int, i: int) -> dict[str, Any]:
        if self._decoded:
            kept = self._decoded.items()
            return {name: torch.from_numpy(array[rows[n]].copy()) for name, (array, rows) in kept}
        return {name: _as_tensor(value) for name, value in self._read(i).items()}

    def _target_tensors(self, i: int) -> dict[str, Tensor]:
        if not self._targets:
            return {}
        found = self.source.targets(i, self._targets)
        return {name: torch.from_numpy(array) for name, array in found.items()}

    def _teacher_tensors(self, n: int) -> dict[str, Tensor]:
        if self._teacher is None:
            return {}
        return {"teacher": torch.from_numpy(self._teacher.read(int(self._teacher_rows[n])))}

    def _read(self, i: int) -> dict[str, NDArray[Any] | Encoded]:
        sample = self.source.load(i, self.sensors)
        found = {"image": sample.image, "lidar": sample.lidar}
        return {name: value for name, value in found.items() if value is not None}


def _as_tensor(value: NDArray[Any] | Encoded) -> Any:
    return value if isinstance(value, Encoded) else torch.from_numpy(value)


def _own_targets(wanted: Iterable[Target], teacher: TeacherScores | None) -> tuple[Target, ...]:
    """Return those that come from the source, in a fixed order."""
    targets = frozenset(wanted)
    if "teacher" in targets and teacher is None:
        raise ConfigError(
            "a loss learns from a teacher's scores, but none are given",
            hint="score the vocabulary first, or choose a loss without a teacher",
        )
    return tuple(sorted(targets - {"teacher"}))


class FrameDataset(Dataset[Any]):
    """Stitched images uint8 (3, H, W) of single frames, or their files, without labels."""

    def __init__(
        self, source: SceneSource, frames: Indices, *, cache_decoded: bool = False
    ) -> None:
        """Take rows `frames` of the source's frame table.

        Args:
            source: where frames come from.
            frames: rows, such as `Splits.train_frames`.
            cache_decoded: decode everything now, as in PlanningDataset.

        Raises:
            ConfigError: there are no frames, or `data.decoded_dir` cannot be used.
            DataError: with `cache_decoded`, an image is missing or torn.
        """
        if len(frames) == 0:
            raise ConfigError("the dataset has no frames")
        self.source, self.frames = source, np.asarray(frames, np.int64)
        source.prepare_sensors()
        self._decoded: tuple[NDArray[np.uint8], Indices] | None = None
        if cache_decoded:
            self._decoded = source.decoded("image", self.frames)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, n: int) -> Any:
        if self._decoded is not None:
            array, rows = self._decoded
            return torch.from_numpy(array[rows[n]].copy())
        return _as_tensor(self.source.image(int(self.frames[n])))
