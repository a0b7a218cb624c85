"""Auxiliary targets of a data set as memory-mapped arrays, made once and shared by all who ask.

They are made from log pickles and maps, of which each is read once when all frames are gone
through in order, and again and again when windows come at random.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from experiments.data.decoded import DecodedSensors
from experiments.data.frames import Floats
from experiments.data.indexing import LogIndex
from experiments.data.maps import PolygonMap
from experiments.data.source import Target, Traffic
from experiments.data.targets import agents, bev_semantics
from experiments.settings import DataConfig
from launcher.errors import ConfigError

TARGET_NAMES: dict[Target, tuple[str, ...]] = {
    "agents": ("agent_states", "agent_labels"),
    "bev_semantics": ("bev_semantics",),
    "teacher": (),
}
"""Entries of a sample that each target consists of; a teacher's scores are no matter of sources."""
_CODE = ("targets.py", "targets_kept.py", "openscene.py", "maps.py", "frames.py", "logs.py")


class Recording(Protocol):
    """What targets are made from: frames with annotations, and maps where there are any."""

    @property
    def log_index(self) -> LogIndex:
        """The index of the logs."""

    @property
    def frame_table(self) -> str:
        """What each row of the frame table is, as text."""

    @property
    def has_maps(self) -> bool:
        """Whether maps come with the logs."""

    def objects(self, frame: int) -> Traffic:
        """Return annotated objects of a frame, in its ego frame."""

    def map_at(self, frame: int) -> PolygonMap:
        """Return the map of the log of a frame."""


def kept_targets(
    source: Recording, config: DataConfig, wanted: Iterable[Target]
) -> dict[str, NDArray[Any]]:
    """Return arrays with a row for each frame, one for each entry of the `wanted` targets.

    Raises:
        ConfigError: maps are wanted where there are none, or arrays can be kept nowhere.
        DataError: a log or a map is torn, or annotations are not finite.
    """
    wanted = frozenset(wanted)
    if "bev_semantics" in wanted and not source.has_maps:
        raise ConfigError(
            "the semantic map of the surroundings is to be learnt, but "
            f"`data.source={config.source}` has no maps in `{config.root}/maps`",
            hint="backbone.auxiliary=none trains without it; NAVSIM's target caches hold it"
            " (data=navsim_cache)",
        )
    kept = DecodedSensors(_folder(source, config))
    names = [name for target in sorted(wanted) for name in TARGET_NAMES[target]]
    num_frames = len(source.log_index.frame_log)
    try:
        return {name: kept.rows(name, num_frames, _maker(source, config, name)) for name in names}
    except OSError as error:
        raise ConfigError(
            f"targets of auxiliary losses cannot be kept in `{kept.folder}`: {error.strerror}",
            hint="set data.cache_dir to a folder that you may write to and that all nodes see",
        ) from error


def _folder(source: Recording, config: DataConfig) -> Path:
    digest = hashlib.sha256(source.frame_table.encode())
    digest.update(json.dumps([config.bev_px, config.bev_range_m]).encode())
    for name in _CODE:
        digest.update((Path(__file__).parent / name).read_bytes())
    return Path(config.cache_dir or config.root) / f"targets-{digest.hexdigest()[:12]}"


def _maker(source: Recording, config: DataConfig, name: str) -> Callable[[int], NDArray[Any]]:
    """Return what makes the entry `name` of a frame."""
    pose: Floats = source.log_index.frame_pose

    def states(frame: int) -> NDArray[Any]:
        return agents(source.objects(frame), config.bev_range_m)[0]

    def labels(frame: int) -> NDArray[Any]:
        return np.asarray(agents(source.objects(frame), config.bev_range_m)[1])

    def semantics(frame: int) -> NDArray[Any]:
        area, traffic = source.map_at(frame), source.objects(frame)
        return bev_semantics(area, pose[frame], traffic, config.bev_px, config.bev_range_m)

    return {"agent_states": states, "agent_labels": labels, "bev_semantics": semantics}[name]
