"""Frames and maps of a world as OpenScene's log pickles and this project's map files hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from experiments.data.frames import Floats, quaternion_of, to_global, to_local
from experiments.data.synthetic.actors import Actor
from experiments.data.synthetic.cameras import Camera
from experiments.data.synthetic.motion import STEP_S, STEPS_PER_FRAME
from experiments.data.synthetic.world import World, drive_of, token_for
from experiments.settings import COMMANDS, SyntheticConfig

_ANNOTATED_M = 80.0
"""Objects further from the ego than this are not annotated."""
_COMMAND_M = 50.0
"""The command names the turn from this distance before the junction on."""
_GAP_FRAMES = 240
"""Frames between two chunks of a drive that nobody kept."""
_DRIVE_US = 86_400_000_000
"""Drives begin a day apart."""
_FRAME_US = 500_000
_EPOCH_US = 1_620_000_000_000_000


@dataclass(frozen=True, slots=True)
class LogContext:
    """Names and place of one log."""

    config: SyntheticConfig
    world: World
    ego: Floats
    """(frames, 3) rear axle in the log's frame."""
    origin: Floats
    """Pose (3,) of the log's frame in the global frame."""

    @property
    def name(self) -> str:
        """Name of the log."""
        return log_name(self.config, self.world.number)

    @property
    def city(self) -> str:
        """The town stands where OpenScene has the city."""
        return self.world.layout.town.name

    def token(self, *parts: object) -> str:
        """Return a token unique to this log and `parts`."""
        return token_for(self.config, self.world.number, *parts)

    def sensor_path(self, frame: int, sensor: str, suffix: str) -> str:
        """Return the path of a sensor file below the sensor folder."""
        return f"{self.name}/{sensor}/{self.token(frame, sensor)}.{suffix}"


def _first_frame(config: SyntheticConfig, number: int) -> int:
    """Return the place of the first frame of log `number` in its drive; chunks have gaps."""
    return number % config.logs_per_drive * (config.frames_per_log + _GAP_FRAMES)


def log_name(config: SyntheticConfig, number: int) -> str:
    """Return the name of log `number`: its drive, and the frames of the drive that it holds."""
    first = _first_frame(config, number)
    drive, last = drive_of(config, number), first + config.frames_per_log - 1
    return f"synthetic-{config.seed}-{drive:04d}_{first:05d}_{last:05d}"


def draw_origin(rng: Generator) -> Floats:
    """Draw where on earth a log is: an offset like UTM's, and any heading."""
    x, y = rng.uniform(2.5e5, 7.5e5), rng.uniform(3.6e6, 4.8e6)
    return np.round([x, y, rng.uniform(-np.pi, np.pi)], 3)


def _dynamics(context: LogContext) -> Floats:
    """Return (frames, 4) vx, vy, ax, ay of the rear axle, which does not slip sideways."""
    motion, frames = context.world.story.ego, slice(None, None, STEPS_PER_FRAME)
    s, speed = motion.s[frames], motion.speed[frames]
    lateral = speed**2 * context.world.layout.ego.curvature_at(s)
    state = np.stack([speed, np.zeros_like(speed), motion.acceleration[frames], lateral], -1)
    return np.round(state, 6)


def _command(context: LogContext, frame: int) -> NDArray[np.int64]:
    """Return the one-hot command: the turn when the junction is near, else straight."""
    world, crossing = context.world, context.world.layout.crossing
    s = world.story.ego.s[frame * STEPS_PER_FRAME]
    near = crossing is not None and crossing.enters_s - _COMMAND_M < s < crossing.leaves_s
    one_hot = np.zeros(len(COMMANDS), np.int64)
    one_hot[COMMANDS.index(world.layout.command if near else "straight")] = 1
    return one_hot


def _annotations(context: LogContext, frame: int) -> dict[str, Any]:
    ego, step = context.ego[frame], frame * STEPS_PER_FRAME
    found: list[tuple[int, Actor, Floats]] = []
    for number, actor in enumerate(context.world.story.actors):
        pose = to_local(actor.poses[step], ego)
        if np.hypot(pose[0], pose[1]) < _ANNOTATED_M:
            found.append((number, actor, pose))
    boxes = [(p[0], p[1], a.size[2] / 2, *a.size, p[2]) for _, a, p in found]
    speeds = [
        (a.speed[step] * np.cos(p[2]), a.speed[step] * np.sin(p[2]), 0.0) for _, a, p in found
    ]
    tracks = [context.token("track", number) for number, _, _ in found]
    return {
        "gt_boxes": np.round(np.array(boxes, np.float32).reshape(-1, 7), 4),
        "gt_names": np.array([a.kind for _, a, _ in found], dtype="<U16"),
        "gt_velocity_3d": np.round(np.array(speeds, np.float32).reshape(-1, 3), 4),
        "instance_tokens": [context.token("box", frame, number) for number, _, _ in found],
        "track_tokens": tracks,
    }


def _cameras(context: LogContext, frame: int, rig: dict[str, Camera]) -> dict[str, Any]:
    return {
        name: {
            "data_path": context.sensor_path(frame, name, "jpg"),
            "sensor2lidar_rotation": camera.rotation,
            "sensor2lidar_translation": camera.translation,
            "cam_intrinsic": camera.intrinsic,
            "distortion": np.zeros(5),
        }
        for name, camera in rig.items()
    }


def _traffic_lights(world: World, frame: int) -> list[tuple[str, bool]]:
    """Return (lane connector, is red) of the light that the ego meets."""
    light = world.story.light
    if light is None:
        return []
    return [(light.area_id, light.colour_at(frame * STEP_S * STEPS_PER_FRAME) == "red")]


def log_frames(context: LogContext, rig: dict[str, Camera]) -> list[dict[str, Any]]:
    """Return the frames of a log as OpenScene stores them."""
    world, dynamics = context.world, _dynamics(context)
    where = to_global(context.ego, context.origin)
    begins_us = _EPOCH_US + drive_of(context.config, world.number) * _DRIVE_US
    begins_us += _first_frame(context.config, world.number) * _FRAME_US
    frames = []
    for n in range(len(context.ego)):
        frames.append(
            {
                "token": context.token("frame", n),
                "frame_idx": n,
                "timestamp": begins_us + n * _FRAME_US,
                "log_name": context.name,
                "scene_token": context.token("scene"),
                "map_location": context.city,
                "roadblock_ids": list(world.layout.route_roadblock_ids),
                "traffic_lights": _traffic_lights(world, n),
                "ego2global_translation": np.round([*where[n, :2], 0.0], 6),
                "ego2global_rotation": np.round(quaternion_of(float(where[n, 2])), 12),
                "ego_dynamic_state": dynamics[n],
                "driving_command": _command(context, n),
                "cams": _cameras(context, n, rig),
                "lidar_path": context.sensor_path(n, "MergedPointCloud", "pcd"),
                "anns": _annotations(context, n),
            }
        )
    return frames


def log_map(context: LogContext) -> dict[str, Any]:
    """Return the polygon map of a log in global coordinates, ready for JSON."""
    layout, origin = context.world.layout, context.origin

    def ring(xy: Floats) -> list[list[float]]:
        poses = np.concatenate([xy, np.zeros((len(xy), 1))], axis=1)
        return np.round(to_global(poses, origin)[:, :2], 3).tolist()  # type: ignore[no-any-return]

    def line(poses: Floats) -> list[list[float]]:
        return np.round(to_global(poses, origin), 4).tolist()  # type: ignore[no-any-return]

    polygons = []
    for area in layout.areas:
        entry: dict[str, Any] = {"id": area.id, "layer": area.layer, "polygon": ring(area.ring)}
        if area.centerline is not None:
            entry["centerline"] = line(area.centerline)
        polygons.append(entry)
    ego = layout.ego
    return {
        "schema_version": 1,
        "log_name": context.name,
        "map_location": context.city,
        "polygons": polygons,
        "route_lane_ids": list(layout.route_lane_ids),
        "route_roadblock_ids": list(layout.route_roadblock_ids),
        "centerline": line(np.stack([ego.x, ego.y, ego.heading], axis=-1)),
    }
