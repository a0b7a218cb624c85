"""Who the ego touches first and when: the search that collisions and time to collision share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from experiments.scoring.pdm.boxes import Boxes, overlap
from experiments.scoring.pdm.scene import PLAN_STATES, STEP_S, SceneMetrics

AGENTS = ("vehicle", "pedestrian", "bicycle")
STOPPED_TRACK_MPS = 0.05
NEVER = 1 << 30
_SLACK_M = 1e-3
"""Of the search by circles, far beyond rounding."""


@dataclass(frozen=True, slots=True)
class Others:
    """K tracks in the centred frame; boxes are (51, K)."""

    boxes: Boxes
    present: Tensor
    """(51, K)."""
    agent: Tensor
    """(K,): a road user, else a thing."""
    stopped: Tensor
    """(K,): a thing, or a road user that stood when it first appeared."""

    def __len__(self) -> int:
        return len(self.agent)


def others_of(scene: SceneMetrics, device: torch.device) -> Others:
    """Put the tracks of a scene on a device."""
    tracks = scene.tracks
    first = tracks.present.argmax(axis=1)
    velocity = tracks.velocities[np.arange(len(first)), first]
    agent = np.array([kind in AGENTS for kind in tracks.types], bool)
    stopped = ~agent | (np.hypot(velocity[:, 0], velocity[:, 1]) <= STOPPED_TRACK_MPS)
    # Absent boxes may hold anything; they are never read as contacts, but NaN would spread.
    boxes = np.where(tracks.present[..., None], tracks.boxes, 0.0).transpose(2, 1, 0)
    x, y, heading, length, width = torch.from_numpy(boxes.copy()).to(device)
    return Others(
        boxes=Boxes(
            x - float(scene.ego.pose[0]),
            y - float(scene.ego.pose[1]),
            torch.cos(heading),
            torch.sin(heading),
            length / 2,
            width / 2,
        ),
        present=torch.from_numpy(tracks.present.T.copy()).to(device),
        agent=torch.from_numpy(agent).to(device),
        stopped=torch.from_numpy(stopped).to(device),
    )


def at(boxes: Boxes, *index: Tensor) -> Boxes:
    """Return the boxes at places, one tensor of indices for each dimension."""
    half = (boxes.half_length, boxes.half_width)
    sizes = [size[index] if isinstance(size, Tensor) else size for size in half]
    return Boxes(boxes.x[index], boxes.y[index], boxes.cos[index], boxes.sin[index], *sizes)


def ahead(ego: Boxes, speed: Tensor, steps: int) -> Boxes:
    """Return the ego's boxes if it kept speed and heading for so many steps of 0.1 s."""
    way = speed * (STEP_S * steps)
    return Boxes(
        ego.x + ego.cos * way,
        ego.y + ego.sin * way,
        ego.cos,
        ego.sin,
        ego.half_length,
        ego.half_width,
    )


def touching(ego: Boxes, others: Others, delay: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return instants, plans and tracks of all overlaps of the ego's (41, P) boxes.

    Args:
        ego: boxes of P plans.
        others: the tracks.
        delay: steps of 0.1 s by which the tracks are seen later than the ego.
    """
    window = slice(delay, delay + PLAN_STATES)
    step, plan, track = _near(ego, others, window)
    seen = at(others.boxes, step + delay, track)
    meets = overlap(at(ego, step, plan), seen)
    return step[meets], plan[meets], track[meets]


def _near(ego: Boxes, others: Others, window: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Return the instants, plans and tracks whose circumscribed circles meet.

    With |e - t|^2 = |e|^2 - 2 e t + |t|^2, all pairs of an instant are one product of matrices.
    """
    x, y = others.boxes.x[window], others.boxes.y[window]
    radii = torch.zeros_like(others.boxes.x) + _radius(others.boxes) + _radius(ego)
    reach = radii[window] + _SLACK_M
    present = others.present[window]
    kept = torch.nonzero(_within_reach(ego, x, y, reach, present))[:, 0]
    x, y, reach, present = x[:, kept], y[:, kept], reach[:, kept], present[:, kept]
    ones = torch.ones_like(ego.x)
    left = torch.stack([ego.x, ego.y, ego.x**2 + ego.y**2, ones], dim=-1)
    constant = torch.where(present, x**2 + y**2 - reach**2, torch.inf)
    right = torch.stack([-2 * x, -2 * y, torch.ones_like(x), constant], dim=1)
    step, plan, column = torch.nonzero(torch.bmm(left, right) < 0, as_tuple=True)
    return step, plan, kept[column]


def _within_reach(ego: Boxes, x: Tensor, y: Tensor, reach: Tensor, present: Tensor) -> Tensor:
    """Return the (K,) tracks that come near the rectangle around all plans at some instant."""
    off_x = torch.maximum(ego.x.amin(1)[:, None] - x, x - ego.x.amax(1)[:, None])
    off_y = torch.maximum(ego.y.amin(1)[:, None] - y, y - ego.y.amax(1)[:, None])
    return ((torch.maximum(off_x, off_y) <= reach) & present).any(dim=0)


def _radius(boxes: Boxes) -> Tensor | float:
    return (boxes.half_length**2 + boxes.half_width**2) ** 0.5


def first(key: Tensor, plan: Tensor, track: Tensor, plans: int, tracks: int) -> Tensor:
    """Return the (P, K) smallest key of each plan and track, `NEVER` where there is none."""
    result = torch.full((plans * tracks,), NEVER, dtype=torch.int64, device=key.device)
    result.scatter_reduce_(0, plan * tracks + track, key, "amin")
    return result.reshape(plans, tracks)
