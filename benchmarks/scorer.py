"""Time of the PDM score per plan, for a vocabulary of plans in one scene.

python benchmarks/scorer.py [--device cuda]

The scene is a bent road of four lanes with a junction and 40 tracks, the plans are arcs. Beside it
the same sub-scores of the same simulated plans by shapely, plan by plan, as the official code goes
about it: in the same run and on one core, so that only the ratio counts. On a GPU it also shows how
far the results are from those of the CPU.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from results import OFFICIAL_MS

from experiments.data.frames import corners
from experiments.data.vehicle import footprints
from experiments.scoring.pdm.scene import EgoState, MapPolygon, SceneMetrics, Tracks
from experiments.scoring.pdm.score import Scores, score

Floats = NDArray[np.float64]


def band(radius_m: float, inner_m: float, outer_m: float) -> Floats:
    """A part of a road that bends left, from 60 m behind the ego to 120 m ahead."""
    way = np.linspace(-60, 120, 181)
    sides = []
    for offset in (inner_m, outer_m):
        angle = way / radius_m
        reach = radius_m - offset
        sides.append(np.stack([reach * np.sin(angle), radius_m - reach * np.cos(angle)], -1))
    return np.concatenate([sides[0], sides[1][::-1]])


def scene(tracks: int, radius_m: float = 150.0) -> SceneMetrics:
    """A bent road: two lanes with the ego's direction, two against it, a junction."""
    edges = [-5.25, -1.75, 1.75, 5.25, 8.75]
    lanes = [band(radius_m, a, b) for a, b in itertools.pairwise(edges)]
    square = np.array([[30.0, -20], [55, -20], [55, 35], [30, 35]])
    polygons = [
        MapPolygon(id="road", layer="roadblock", ring=band(radius_m, -5.25, 1.75)),
        MapPolygon(id="back", layer="roadblock", ring=band(radius_m, 1.75, 8.75)),
        *(MapPolygon(id=f"lane{i}", layer="lane", ring=ring) for i, ring in enumerate(lanes)),
        MapPolygon(id="junction", layer="intersection", ring=square),
    ]
    draws = np.random.default_rng(0)
    way = np.linspace(-60, 120, 181)
    centre = np.stack(
        [
            radius_m * np.sin(way / radius_m),
            radius_m * (1 - np.cos(way / radius_m)),
            way / radius_m,
        ],
        axis=-1,
    )
    times = 0.1 * np.arange(51)
    boxes = np.zeros((tracks, 51, 5))
    boxes[..., 0] = draws.uniform(-20, 70, (tracks, 1))
    boxes[..., 1] = draws.uniform(-15, 25, (tracks, 1))
    on_ego = (abs(boxes[..., 0]) < 12) & (abs(boxes[..., 1]) < 8)
    boxes[..., 0] += 30 * on_ego
    boxes[..., 2] = draws.uniform(-np.pi, np.pi, (tracks, 1))
    boxes[..., 3:] = draws.uniform((3, 1.5), (6, 2.2), (tracks, 1, 2))
    speed = draws.uniform(0, 8, (tracks, 1)) * (draws.random((tracks, 1)) < 0.6)
    velocity = np.stack([speed * np.cos(boxes[:, :1, 2]), speed * np.sin(boxes[:, :1, 2])], -1)
    boxes[..., :2] += velocity * times[:, None]
    return SceneMetrics(
        token="benchmark",
        ego=EgoState(
            pose=np.zeros(3),
            velocity=np.array([8.0, 0.0]),
            acceleration=np.zeros(2),
            steering_angle=0.0,
        ),
        polygons=tuple(polygons),
        route_lane_ids=frozenset({"lane0", "lane1"}),
        centerline=centre,
        tracks=Tracks(
            tokens=tuple(str(i) for i in range(tracks)),
            types=("vehicle",) * tracks,
            boxes=boxes,
            velocities=np.broadcast_to(velocity, (tracks, 51, 2)).copy(),
            present=np.ones((tracks, 51), bool),
        ),
        reference=np.stack(
            [
                radius_m * np.sin(0.8 * np.arange(41) / radius_m),
                radius_m * (1 - np.cos(0.8 * np.arange(41) / radius_m)),
                0.8 * np.arange(41) / radius_m,
            ],
            axis=-1,
        ),
    )


def vocabulary(count: int) -> Floats:
    """Arcs of 8 poses with constant acceleration and curvature."""
    draws = np.random.default_rng(1)
    times = 0.5 * np.arange(1, 9)
    speed, gain = draws.uniform(0, 15, (count, 1)), draws.uniform(-2, 2, (count, 1))
    way = np.maximum.accumulate(speed * times + gain * times**2 / 2, axis=1)
    bend = draws.normal(0, 0.03, (count, 1))
    angle = way * bend
    x = np.where(abs(bend) < 1e-6, way, np.sin(angle) / bend)
    return np.stack([x, (1 - np.cos(angle)) / bend, angle], axis=-1)


class ByShapely:
    """Contacts and corners off the road of one simulated plan, as the official code finds them.

    Without fault, progress, direction and comfort: less than all that it would have to do.
    """

    def __init__(self, where: SceneMetrics) -> None:
        self.road = [
            shapely.Polygon(polygon.ring)
            for polygon in where.polygons
            if polygon.layer in ("roadblock", "intersection", "carpark")
        ]
        shapely.prepare(self.road)
        boxes = where.tracks.boxes[..., [0, 1, 3, 4, 2]]  # corners() wants the heading last
        self.trees = [shapely.STRtree(shapely.polygons(corners(boxes[:, i]))) for i in range(51)]

    def __call__(self, poses: Floats) -> tuple[int, bool]:
        """Return the number of contacts, and whether all corners are always on the road."""
        ego, touched = footprints(poses), 0
        speed = np.hypot(*np.gradient(poses[:, :2], 0.1, axis=0).T)
        ways = np.stack([np.cos(poses[:, 2]), np.sin(poses[:, 2])], -1) * speed[:, None]
        for delay in (0, 3, 6, 9):
            shapes = shapely.polygons(ego + 0.1 * delay * ways[:, None])
            for step in range(41):
                tree = self.trees[step + delay]
                touched += len(tree.query(shapes[step], predicate="intersects"))
        held = [shapely.contains_xy(shape, ego.reshape(-1, 2)) for shape in self.road]
        return touched, bool(np.any(held, axis=0).all())


def clock(device: str) -> float:
    """Seconds; on a CPU those of this process, which other work does not lengthen."""
    return time.process_time() if device == "cpu" else time.perf_counter()


def timed(where: SceneMetrics, plans: Floats, device: str, rounds: int) -> tuple[float, Scores]:
    """Median ms per plan and the scores; one round beforehand is not counted."""
    taken = []
    for number in range(rounds + 1):
        began = clock(device)
        scores = score(where, plans, device=device)
        if number:
            taken.append(clock(device) - began)
    return statistics.median(taken) * 1e3 / len(plans), scores


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--plans", type=int, default=8192)
    parser.add_argument("--tracks", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    where, plans = scene(asked.tracks), vocabulary(asked.plans)
    ms, scores = timed(where, plans, asked.device, asked.rounds)
    print(f"{asked.plans} plans, {asked.tracks} tracks, {asked.device}: {ms:.4f} ms per plan")
    print(f"  official scorer, elsewhere, per core: {OFFICIAL_MS} ms, {OFFICIAL_MS / ms:.0f} x")
    means = ("nc", "dac", "ep", "ttc", "comfort", "ddc", "pdms")
    print("  means:", ", ".join(f"{name} {getattr(scores, name).mean():.4f}" for name in means))
    if asked.device != "cpu":
        cpu_ms, cpu = timed(where, plans, "cpu", 1)
        worst = {name: abs(getattr(scores, name) - getattr(cpu, name)).max() for name in means}
        moved = abs(scores.poses - cpu.poses).max()
        print(f"  one core: {cpu_ms:.4f} ms, {cpu_ms / ms:.0f} x")
        print(f"  largest differences to the CPU: {max(worst.values()):.1e}, poses {moved:.1e}")
    peer, few = ByShapely(where), scores.poses[:100]
    peer(few[0])
    began = clock("cpu")
    on_road = [peer(poses)[1] for poses in few]
    peer_ms = (clock("cpu") - began) * 1e3 / len(few)
    print(f"  shapely, a part of the work, one core: {peer_ms:.3f} ms, {peer_ms / ms:.0f} x")
    print(
        f"  off the road or not, as shapely says: {np.mean(on_road == (scores.dac[:100] == 1)):.0%}"
    )


if __name__ == "__main__":
    main()
