"""How the ego really drives when it follows a plan: tracker and kinematic bicycle, 40 steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.replay import replayed
from experiments.scoring.pdm.plans import wrapped
from experiments.scoring.pdm.scene import PLAN_STATES, STEP_S
from experiments.scoring.pdm.tracking import WHEELBASE_M, Errors, commands, track_of

ACCELERATION_LAG_S = 0.2
STEERING_LAG_S = 0.05
MAX_STEERING_RAD = torch.pi / 3


@dataclass(frozen=True, slots=True)
class Start:
    """(P,) states at the instant of planning, in the centred frame."""

    heading: Tensor
    velocity: Tensor
    """(P, 2) [m/s] in the ego frame."""
    acceleration: Tensor
    """(P, 2) [m/s^2] in the ego frame."""
    steering: Tensor


@dataclass(frozen=True, slots=True)
class Driven:
    """P simulated plans at 41 instants; each tensor is (41, P)."""

    x: Tensor
    """Of the rear axle in the centred frame, as `y`."""
    y: Tensor
    heading: Tensor
    """[rad] in [-pi, pi)."""
    speed: Tensor
    """[m/s], not negative, also when reversing."""
    acceleration_x: Tensor
    """[m/s^2] along the heading."""
    acceleration_y: Tensor
    """[m/s^2] to the left; 0 after the first instant."""


def drive(poses: Tensor, start: Start, *, quirk: bool = True) -> Driven:
    """Follow (41, P, 3) centred plans from `start`; `quirk` as in `track_of`."""
    inputs = (poses, start.heading, start.velocity, start.acceleration, start.steering)
    found = replayed(_drive, inputs, quirk)
    return Driven(*found)


def _drive(
    poses: Tensor,
    heading_now: Tensor,
    velocity: Tensor,
    acceleration_now: Tensor,
    steering: Tensor,
    quirk: bool,
) -> tuple[Tensor, ...]:
    """Return the fields of `Driven`."""
    track = track_of(poses, quirk=quirk)
    cos, sin = torch.cos(poses[..., 2]), torch.sin(poses[..., 2])
    x, y = torch.zeros_like(poses[:, :, 0]), torch.zeros_like(poses[:, :, 0])
    heading, forward, acceleration = torch.empty_like(x), torch.empty_like(x), torch.empty_like(x)
    heading[0], forward[0] = heading_now, velocity[:, 0]
    acceleration[0] = acceleration_now[:, 0]
    for step in range(PLAN_STATES - 1):
        off_x, off_y = x[step] - poses[step, :, 0], y[step] - poses[step, :, 1]
        lateral = off_y * cos[step] - off_x * sin[step]
        off_heading = wrapped(heading[step] - poses[step, :, 2])
        errors = Errors(lateral, off_heading, steering, forward[step])
        wanted, rate = commands(track, step, errors)
        v, lag = forward[step], STEP_S / (STEP_S + ACCELERATION_LAG_S)
        acceleration[step + 1] = acceleration[step] + lag * (wanted - acceleration[step])
        x[step + 1] = x[step] + STEP_S * v * torch.cos(heading[step])
        y[step + 1] = y[step] + STEP_S * v * torch.sin(heading[step])
        turn = STEP_S * v * torch.tan(steering) / WHEELBASE_M
        heading[step + 1] = wrapped(heading[step] + turn)
        forward[step + 1] = v + STEP_S * acceleration[step + 1]
        steered = steering + STEP_S * rate * STEP_S / (STEP_S + STEERING_LAG_S)
        steering = steered.clamp(-MAX_STEERING_RAD, MAX_STEERING_RAD)
    speed, sideways = forward.abs(), torch.zeros_like(x)
    speed[0] = torch.hypot(velocity[:, 0], velocity[:, 1])
    sideways[0] = acceleration_now[:, 1]
    return x, y, heading, speed, acceleration, sideways
