"""The sub-scores of safety: collisions at fault, and the time left to a collision.

Both go through the contacts of a plan with a track in the order of time. A contact that is the
ego's fault lowers the score; one that is not excuses that track for the rest of the plan. Hence
only the first contact of each plan and track decides, and the order of tracks never matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.scoring.pdm.areas import Areas
from experiments.scoring.pdm.boxes import Boxes, overlap
from experiments.scoring.pdm.contacts import NEVER, Others, ahead, at, first, touching
from experiments.scoring.pdm.simulation import Driven

STANDING_MPS = 0.05
"""An ego this slow is never at fault."""
MOVING_MPS = 0.005
"""From this speed on, the time to a collision counts."""
AHEAD_RAD = math.radians(30)
BEHIND_RAD = math.radians(150)
TTC_DELAYS = (0, 3, 6, 9)
"""Steps of 0.1 s that are looked ahead."""
_STATIC_COLLISION = 0.5


@dataclass(frozen=True, slots=True)
class Situation:
    """All that decides on fault, for P plans."""

    driven: Driven
    ego: Boxes
    """(41, P)."""
    areas: Areas
    others: Others

    @property
    def plans(self) -> int:
        """P."""
        return self.ego.x.shape[1]


Contacts = tuple[Tensor, Tensor, Tensor]


def contacts(now: Situation) -> list[Contacts]:
    """Return instants, plans and tracks of the overlaps at each of `TTC_DELAYS`."""
    return [
        touching(ahead(now.ego, now.driven.speed, delay), now.others, delay) for delay in TTC_DELAYS
    ]


def no_fault(now: Situation, found: Contacts) -> Tensor:
    """Return the (P,) score of no collision at fault: 1, 0.5 (with a thing) or 0."""
    step, plan, track = found
    earliest = first(step, plan, track, now.plans, len(now.others))
    plan, track = torch.nonzero(earliest < NEVER, as_tuple=True)
    step = earliest[plan, track]
    other = at(now.others.boxes, step, track)
    angle = _angle(now, step, plan, other)
    side = now.areas.across_lanes[step, plan] | now.areas.off_road[step, plan]
    front = overlap(_bumper(at(now.ego, step, plan)), other)
    active = ~(angle > BEHIND_RAD) & (front | side)
    fault = (now.driven.speed[step, plan] > STANDING_MPS) & (now.others.stopped[track] | active)
    value = torch.where(now.others.agent[track], 0.0, _STATIC_COLLISION).double()
    return _lowered(now, plan[fault], value[fault])


def time_left(now: Situation, found: list[Contacts]) -> Tensor:
    """Return the (P,) score of the time to a collision: 1, or 0 where one comes within 0.9 s."""
    count = len(TTC_DELAYS)
    step, plan, track = (torch.cat(parts) for parts in zip(*found, strict=True))
    sizes = torch.tensor([len(part[0]) for part in found], device=step.device)
    place = torch.repeat_interleave(torch.arange(count, device=step.device), sizes)
    moving = now.driven.speed[step, plan] >= MOVING_MPS
    key = (step * count + place)[moving]
    earliest = first(key, plan[moving], track[moving], now.plans, len(now.others))
    plan, track = torch.nonzero(earliest < NEVER, as_tuple=True)
    key = earliest[plan, track]
    step, delay = key // count, torch.tensor(TTC_DELAYS, device=key.device)[key % count]
    angle = _angle(now, step, plan, at(now.others.boxes, step + delay, track))
    areas = now.areas
    critical = areas.across_lanes | areas.off_road | areas.in_intersection
    fails = (angle < AHEAD_RAD) | (critical[step, plan] & ~(angle > BEHIND_RAD))
    return _lowered(now, plan[fails], torch.zeros_like(angle[fails]))


def _angle(now: Situation, step: Tensor, plan: Tensor, other: Boxes) -> Tensor:
    """Return the angle [rad] from the ego's heading to other centres, seen from the rear axle.

    The official code leaves out the clamp, so that rounding makes it NaN for some of the tracks
    whose centre is ahead to within 1e-8 rad, and with it neither ahead nor behind.
    """
    dx, dy = other.x - now.driven.x[step, plan], other.y - now.driven.y[step, plan]
    along = (dx * now.ego.cos[step, plan] + dy * now.ego.sin[step, plan]) / torch.hypot(dx, dy)
    return torch.acos(along.clamp(-1.0, 1.0))


def _bumper(ego: Boxes) -> Boxes:
    """Return the front sides of boxes, rectangles without length."""
    return Boxes(
        ego.x + ego.half_length * ego.cos,
        ego.y + ego.half_length * ego.sin,
        ego.cos,
        ego.sin,
        0.0,
        ego.half_width,
    )


def _lowered(now: Situation, plan: Tensor, value: Tensor) -> Tensor:
    score = torch.ones(now.plans, dtype=torch.float64, device=plan.device)
    return score.scatter_reduce(0, plan, value, "amin")
