"""The PDM score of NAVSIM v1.1 for many plans: what `pdms_v1` means."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from experiments.data.frames import Floats
from experiments.data.vehicle import LENGTH_M, REAR_AXLE_TO_CENTRE_M, WIDTH_M
from experiments.scoring.pdm.areas import Areas, Map, direction, on_road
from experiments.scoring.pdm.boxes import Boxes
from experiments.scoring.pdm.collisions import Situation, contacts, no_fault, time_left
from experiments.scoring.pdm.comfort import comfort
from experiments.scoring.pdm.contacts import Others, others_of
from experiments.scoring.pdm.plans import as_plans, centred, dense
from experiments.scoring.pdm.progress import normalised, way
from experiments.scoring.pdm.scene import SceneMetrics
from experiments.scoring.pdm.simulation import Driven, Start, drive
from experiments.settings import POSE_INTERVAL_S

METRIC_VERSION = "pdms_v1"
"""NAVSIM v1.1; the score of v2 is another metric and is never mixed with it."""
SOURCES = (
    "areas.py",
    "boxes.py",
    "collisions.py",
    "comfort.py",
    "contacts.py",
    "membership.py",
    "plans.py",
    "progress.py",
    "scene.py",
    "scene_types.py",
    "score.py",
    "simulation.py",
    "slabs.py",
    "tracking.py",
)
"""What defines a score in this folder; readers of scenes do not."""
EP_WEIGHT, TTC_WEIGHT, COMFORT_WEIGHT = 5.0, 5.0, 2.0
_PLANS_AT_ONCE = {"cpu": 512, "cuda": 16384}
"""So that what is compared at once stays in the caches of a core, or in the memory of a GPU."""

_Record = TypeVar("_Record", Driven, Boxes, Areas)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Values of P plans, float64."""

    nc: Floats
    """No collision at fault: 1, 0.5 or 0."""
    dac: Floats
    """Drivable area compliance: 1 or 0."""
    ep: Floats
    """Ego progress relative to PDM-Closed, in [0, 1]; 0 where `nc` or `dac` is."""
    ttc: Floats
    """Time to collision: 1 or 0."""
    comfort: Floats
    """1 or 0."""
    ddc: Floats
    """Driving direction compliance: 1, 0.5 or 0; does not count for `pdms`."""
    pdms: Floats
    """nc dac (5 ep + 5 ttc + 2 comfort) / 12."""
    poses: Floats
    """(P, 41, 3) simulated global poses of the rear axle at 0.1 s."""


@cache
def scorer_sha() -> str:
    """Return the SHA-256 of the sources that turn a scene and a plan into scores."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    # The vehicle is defined outside of the package, and its size counts.
    for path in [folder / name for name in SOURCES] + [folder.parent.parent / "data/vehicle.py"]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def score(
    scene: SceneMetrics,
    plans: ArrayLike,
    *,
    interval_s: float = POSE_INTERVAL_S,
    device: torch.device | str = "cpu",
    quirk: bool = True,
) -> Scores:
    """Score plans of one scene.

    Args:
        scene: the scene.
        plans: (P, N, 3) poses in the ego frame, the first one interval from now.
        interval_s: between two poses; N of them must reach 4 s.
        device: where to compute, in float64; results are those of the CPU to rounding.
        quirk: False fits speeds as the published code means to, and not as it does; such
            scores are not `pdms_v1`.

    Raises:
        DataError: plans of another shape, too short or not finite.
    """
    checked = as_plans(plans, interval_s, f"scene `{scene.token}`")
    device = torch.device(device)
    ground = Ground(scene, device)
    local = torch.from_numpy(checked).to(device)
    poses = torch.cat([ground.reference, dense(local, scene.ego, interval_s)], dim=1)
    driven = drive(poses, _starts([scene], [poses.shape[1]], device), quirk=quirk)
    return ground.judge(driven)


def score_scenes(
    scenes: Sequence[SceneMetrics],
    plans: Sequence[ArrayLike],
    *,
    interval_s: float = POSE_INTERVAL_S,
    device: torch.device | str = "cpu",
) -> list[Scores]:
    """Score each scene's (P, N, 3) plans; as `score` for each, but all are driven together.

    Raises:
        DataError: as `score`.
        ValueError: there is not one array of plans for each scene.
    """
    if not scenes:
        return []
    device = torch.device(device)
    grounds, poses = [], []
    for scene, own in zip(scenes, plans, strict=True):
        checked = as_plans(own, interval_s, f"scene `{scene.token}`")
        grounds.append(Ground(scene, device))
        local = torch.from_numpy(checked).to(device)
        poses.append(torch.cat([grounds[-1].reference, dense(local, scene.ego, interval_s)], 1))
    counts = [part.shape[1] for part in poses]
    driven = drive(torch.cat(poses, dim=1), _starts(scenes, counts, device))
    ends = np.cumsum(counts).tolist()
    return [
        ground.judge(_columns(driven, slice(end - count, end)))
        for ground, count, end in zip(grounds, counts, ends, strict=True)
    ]


class Ground:
    """A scene on a device, against which driven plans are judged."""

    def __init__(self, scene: SceneMetrics, device: torch.device) -> None:
        self.scene = scene
        self.map = Map(scene, device)
        self.others: Others = others_of(scene, device)
        poses = torch.from_numpy(centred(scene.reference, scene.ego)).to(device)
        self.reference = poses[:, None]
        """(41, 1, 3) centred plan of PDM-Closed; what is driven must begin with it."""

    def judge(self, driven: Driven) -> Scores:
        """Score plans, the first of which is the reference and is not returned."""
        ego = _footprints(driven)
        areas = self.map.areas(driven, ego)
        centerline = self.scene.centerline[:, :2] - self.scene.ego.pose[:2]
        values = []
        count = driven.x.shape[1]
        for start in range(0, count, _PLANS_AT_ONCE[driven.x.device.type]):
            part = slice(start, start + _PLANS_AT_ONCE[driven.x.device.type])
            now = Situation(
                _columns(driven, part), _columns(ego, part), _columns(areas, part), self.others
            )
            found = contacts(now)
            values.append(
                torch.stack(
                    [
                        no_fault(now, found[0]),
                        on_road(now.areas),
                        way(centerline, *_ends(now.ego)),
                        time_left(now, found),
                        comfort(now.driven),
                        direction(now.areas, now.ego),
                    ]
                )
            )
        return self._combined(torch.cat(values, dim=1), driven)

    def _combined(self, values: Tensor, driven: Driven) -> Scores:
        nc, dac, raw, ttc, comfortable, ddc = values
        factor = nc * dac
        raw = raw * factor
        # Where nothing is compared, the progress of a plan that fails is still 0.
        ep = torch.where(factor > 0, normalised(raw, raw[:1]), 0.0)
        mean = (EP_WEIGHT * ep + TTC_WEIGHT * ttc + COMFORT_WEIGHT * comfortable) / (
            EP_WEIGHT + TTC_WEIGHT + COMFORT_WEIGHT
        )
        rows = {"nc": nc, "dac": dac, "ep": ep, "ttc": ttc, "comfort": comfortable, "ddc": ddc}
        rows["pdms"] = factor * mean
        origin_x, origin_y = self.scene.ego.pose[:2].tolist()
        poses = [driven.x + origin_x, driven.y + origin_y, driven.heading]
        arrays = dict(zip(rows, _array(torch.stack(list(rows.values()))[:, 1:]), strict=True))
        return Scores(poses=_array(torch.stack(poses, dim=-1)[:, 1:].transpose(0, 1)), **arrays)


def _starts(scenes: Sequence[SceneMetrics], counts: Sequence[int], device: torch.device) -> Start:
    """Return the state of each scene's ego, once for each of its plans."""

    def column(values: Sequence[ArrayLike]) -> Tensor:
        repeated = np.repeat(np.asarray(values, np.float64), counts, axis=0)
        return torch.from_numpy(repeated).to(device)

    egos = [scene.ego for scene in scenes]
    return Start(
        heading=column([ego.pose[2] for ego in egos]),
        velocity=column([ego.velocity for ego in egos]),
        acceleration=column([ego.acceleration for ego in egos]),
        steering=column([ego.steering_angle for ego in egos]),
    )


def _footprints(driven: Driven) -> Boxes:
    cos, sin = torch.cos(driven.heading), torch.sin(driven.heading)
    x, y = driven.x + REAR_AXLE_TO_CENTRE_M * cos, driven.y + REAR_AXLE_TO_CENTRE_M * sin
    return Boxes(x, y, cos, sin, LENGTH_M / 2, WIDTH_M / 2)


def _ends(ego: Boxes) -> tuple[Tensor, Tensor]:
    centres = torch.stack([ego.x, ego.y], dim=-1)
    # All plans of a scene begin at the same place.
    return centres[0, 0], centres[-1]


def _columns(record: _Record, part: slice) -> _Record:
    """Return a record of (41, P) tensors for a part of the plans."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return type(record)(
        **{
            name: value[:, part].contiguous() if isinstance(value, Tensor) else value
            for name, value in values.items()
        }
    )


def _array(values: Tensor) -> NDArray[np.float64]:
    return np.asarray(values.contiguous().cpu().numpy(), np.float64)
