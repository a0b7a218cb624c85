"""The PDM score of one plan the slow way: polygons of shapely, matrices, one step at a time.

It is written from the definition of the metric and shares no code with the scorer, so that the two
can be compared on plans and scenes for which there are no official values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.signal import savgol_filter
from shapely import LineString, Point, Polygon

from experiments.scoring.pdm.scene import SceneMetrics

Floats = NDArray[np.float64]
DT, WHEELBASE, CENTRE, HALF_LENGTH, HALF_WIDTH = 0.1, 3.089, 1.461, 2.588, 1.1485
AGENTS = ("vehicle", "pedestrian", "bicycle")


def drive(scene: SceneMetrics, poses: Floats) -> Floats:
    """Return (41, 7) states x, y, heading, vx, vy, ax, ay of following (41, 3) global poses."""
    speeds, bends = profiles(poses)
    ego = scene.ego
    states = np.zeros((41, 7))
    states[0] = [*ego.pose, *ego.velocity, *ego.acceleration]
    steering = ego.steering_angle
    for step in range(40):
        x, y, heading, v, _, a, _ = states[step]
        off = states[step, :3] - poses[step]
        lateral = -off[0] * np.sin(poses[step, 2]) + off[1] * np.cos(poses[step, 2])
        target = speeds[min(step + 10, 39)]
        if target <= 0.2 and v <= 0.2:
            wanted, rate = -0.5 * (v - target), 0.0
        else:
            wanted = -10 * (v - target) / 11
            window = [bends[min(step + j, 39)] for j in range(10)]
            rate = steer(np.array([lateral, angle(off[2]), steering]), v, wanted, window)
        a = a + DT / (DT + 0.2) * (wanted - a)
        turned = angle(heading + DT * v * np.tan(steering) / WHEELBASE)
        x, y = x + DT * v * np.cos(heading), y + DT * v * np.sin(heading)
        states[step + 1] = [x, y, turned, v + DT * a, 0, a, 0]
        steering = np.clip(steering + DT / (DT + 0.05) * DT * rate, -np.pi / 3, np.pi / 3)
    return states


def profiles(poses: Floats) -> tuple[Floats, Floats]:
    """Return 40 speeds and 40 curvatures, by pseudo-inverses of the published matrices."""
    steps = np.diff(poses, axis=0)
    heading = poses[:-1, 2]
    design = np.zeros((80, 40))
    for k in range(40):
        for row, value in ((2 * k, np.cos(heading[k])), (2 * k + 1, np.sin(heading[k]))):
            design[row, 0] = value * DT
            design[row, 1 : k + 1] = value * DT**2
    jerk = np.zeros((38, 40))
    jerk[:, 1:39] = -np.eye(38)
    jerk[37, 39] = 1
    normal = design.T @ design + 1e-4 * jerk.T @ jerk
    fit = np.linalg.pinv(normal) @ design.T @ steps[:, :2].ravel()
    speeds = fit[0] + np.concatenate([[0], np.cumsum(fit[1:] * DT)])
    turning = np.zeros((40, 40))
    for k in range(40):
        turning[k, 0] = speeds[k] * DT
        turning[k, 1 : k + 1] = speeds[k] * DT**2
    penalty = 1e-2 * np.eye(40)
    penalty[0, 0] = 1e-10
    turns = angle(steps[:, 2])
    bend = np.linalg.pinv(turning.T @ turning + penalty) @ turning.T @ turns
    return speeds, bend[0] + np.concatenate([[0], np.cumsum(bend[1:] * DT)])


def steer(error: Floats, v: float, a: float, window: list[float]) -> float:
    """Return the steering rate that is best for the error 10 steps ahead."""
    state, effect, drift = np.eye(3), np.zeros(3), np.zeros(3)
    for j, bend in enumerate(window):
        speed = v + j * DT * a
        step = np.eye(3)
        step[0, 1], step[1, 2] = speed * DT, speed * DT / WHEELBASE
        state = step @ state
        effect = step @ effect + [0, 0, DT]
        drift = step @ drift + [0, -speed * bend * DT, 0]
    error = state @ error + drift
    error[1:] = angle(error[1:])
    cost = np.diag([1.0, 10.0, 0.0])
    return float(-(effect @ cost @ error) / (effect @ cost @ effect + 1))


def score(scene: SceneMetrics, states: list[Floats]) -> dict[str, float]:
    """Return the sub-scores of the second of two simulated plans; the first is the reference."""
    rows = [judged(scene, own) for own in states]
    raw = [row["way"] * row["nc"] * row["dac"] for row in rows]
    plan = rows[1]
    plan["ep"] = raw[1] / max(raw) if max(raw) > 5 else float(plan["nc"] * plan["dac"] > 0)
    mean = (5 * plan["ep"] + 5 * plan["ttc"] + 2 * plan["comfort"]) / 12
    plan["pdms"] = plan["nc"] * plan["dac"] * mean
    return plan


def judged(scene: SceneMetrics, states: Floats) -> dict[str, float]:
    """Return the scores of one simulated plan that need no other plan."""
    shapes = [footprint(state) for state in states]
    areas = [area(scene, state, shape) for state, shape in zip(states, shapes, strict=True)]
    tracks = [scene_tracks(scene, step) for step in range(51)]
    line = LineString(scene.centerline[:, :2])
    places = [line.project(Point(centre(state))) for state in (states[0], states[-1])]
    moved = [0.0, *np.hypot(*np.diff([centre(state) for state in states], axis=0).T)]
    wrong = [way if here["oncoming"] else 0.0 for way, here in zip(moved, areas, strict=True)]
    worst = max(sum(wrong[max(0, step - 10) : step + 1]) for step in range(41))
    return {
        "nc": collisions(scene, states, shapes, areas, tracks),
        "dac": float(not any(here["off"] for here in areas)),
        "way": max(0.0, places[1] - places[0]),
        "ttc": time_left(states, areas, tracks),
        "comfort": comfort(states),
        "ddc": 1.0 if worst < 2 else 0.5 if worst < 6 else 0.0,
    }


def area(scene: SceneMetrics, state: Floats, shape: Polygon) -> dict[str, Any]:
    """Return where one state is."""
    corners = shapely.get_coordinates(shape)[:4]
    held = {"drivable": np.zeros(4, bool), "oncoming": True, "crossing": False}
    lanes = []
    for polygon in scene.polygons:
        ring = Polygon(polygon.ring)
        inside = shapely.contains_xy(ring, corners)
        if polygon.layer in ("roadblock", "intersection", "carpark", "drivable_area"):
            held["drivable"] |= inside
        if polygon.layer in ("lane", "lane_connector"):
            lanes.append(int(inside.sum()))
            if polygon.id in scene.route_lane_ids and shapely.contains_xy(ring, *centre(state)):
                held["oncoming"] = False
        if polygon.layer == "intersection" and shapely.contains_xy(ring, *state[:2]):
            held["crossing"] = True
    held["off"] = not np.all(held["drivable"])
    held["across"] = sum(count > 0 for count in lanes) > 1 and 4 not in lanes
    return held


def scene_tracks(scene: SceneMetrics, step: int) -> dict[str, dict[str, Any]]:
    """Return the tracks that are there at a step."""
    found = {}
    for row, token in enumerate(scene.tracks.tokens):
        if not scene.tracks.present[row, step]:
            continue
        first = int(np.argmax(scene.tracks.present[row]))
        agent = scene.tracks.types[row] in AGENTS
        speed = np.hypot(*scene.tracks.velocities[row, first])
        x, y, heading, length, width = scene.tracks.boxes[row, step]
        found[token] = {
            "shape": rectangle(x, y, heading, length / 2, width / 2),
            "agent": agent,
            "stopped": not agent or speed <= 0.05,
            "centre": np.array([x, y]),
        }
    return found


def collisions(
    scene: SceneMetrics,
    states: Floats,
    shapes: list[Polygon],
    areas: list[dict[str, Any]],
    tracks: list[dict[str, dict[str, Any]]],
) -> float:
    """Return the no-fault score, excusing tracks as the official code does."""
    result, excused = 1.0, set()
    for step, shape in enumerate(shapes):
        for token, track in tracks[step].items():
            if token in excused or not shape.intersects(track["shape"]):
                continue
            ring = shapely.get_coordinates(shape)
            front = LineString([ring[0], ring[3]]).intersects(track["shape"])
            side = areas[step]["across"] or areas[step]["off"]
            if np.hypot(*states[step, 3:5]) <= 0.05:
                fault = False
            elif track["stopped"]:
                fault = True
            elif seen(states[step], track) > np.deg2rad(150):
                fault = False
            else:
                fault = front or side
            if fault:
                result = min(result, 0.0 if track["agent"] else 0.5)
            else:
                excused.add(token)
    return result


def time_left(
    states: Floats, areas: list[dict[str, Any]], tracks: list[dict[str, dict[str, Any]]]
) -> float:
    """Return the time-to-collision score, excusing tracks as the official code does."""
    excused = set()
    for step, state in enumerate(states):
        speed = np.hypot(*state[3:5])
        for delay in (0, 3, 6, 9):
            ahead = state.copy()
            ahead[:2] += DT * delay * speed * np.array([np.cos(state[2]), np.sin(state[2])])
            shape = footprint(ahead)
            for token, track in tracks[step + delay].items():
                if token in excused or speed < 0.005 or not shape.intersects(track["shape"]):
                    continue
                here = areas[step]
                critical = here["across"] or here["off"] or here["crossing"]
                bearing = seen(state, track)
                if bearing < np.deg2rad(30) or (critical and not bearing > np.deg2rad(150)):
                    return 0.0
                excused.add(token)
    return 1.0


def comfort(states: Floats) -> float:
    """Return 1 if all six signals are within their bounds, or 0."""
    ax, ay = states[:, 5], states[:, 6]
    yaw = np.unwrap(states[:, 2])

    along = np.round(savgol_filter(ax, 41, 2), 8)
    signals = (
        (np.round(savgol_filter(ay, 41, 2), 8), 4.89),
        (jerk(np.hypot(ax, ay)), 8.37),
        (jerk(ax), 4.13),
        (np.round(savgol_filter(yaw, 5, 3, deriv=2, delta=DT), 8), 1.93),
        (np.round(savgol_filter(yaw, 5, 2, deriv=1, delta=DT), 8), 0.95),
    )
    fine = bool(np.all(along > -4.05) and np.all(along < 2.4))
    return float(fine and all(np.all(np.abs(signal) < bound) for signal, bound in signals))


def jerk(acceleration: Floats) -> Floats:
    """Return the smoothed derivative of an acceleration."""
    smooth = np.round(savgol_filter(acceleration, 8, 2), 8)
    return np.round(savgol_filter(smooth, 41, 2, deriv=1, delta=DT), 8)


def seen(state: Floats, track: dict[str, Any]) -> float:
    """Return the angle from the heading to a track."""
    away = track["centre"] - state[:2]
    along = away @ [np.cos(state[2]), np.sin(state[2])] / np.hypot(*away)
    return float(np.arccos(np.clip(along, -1, 1)))


def centre(state: Floats) -> Floats:
    return state[:2] + CENTRE * np.array([np.cos(state[2]), np.sin(state[2])])


def footprint(state: Floats) -> Polygon:
    return rectangle(*centre(state), state[2], HALF_LENGTH, HALF_WIDTH)


def rectangle(x: float, y: float, heading: float, length: float, width: float) -> Polygon:
    """A box from half its length and width: front left, rear left, rear right, front right."""
    forward = length * np.array([np.cos(heading), np.sin(heading)])
    left = width * np.array([-np.sin(heading), np.cos(heading)])
    middle = np.array([x, y])
    sides = (forward + left, left - forward, -forward - left, forward - left)
    return Polygon([middle + side for side in sides])


def angle(value: Any) -> Any:
    return np.arctan2(np.sin(value), np.cos(value))
