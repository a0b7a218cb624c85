"""Longitudinal driving along a path: car following, slowing for curves, stopping at a line.

Car following is the Intelligent Driver Model (Treiber, Hennecke and Helbing, 2000) with bounded
acceleration and jerk, integrated at 10 Hz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.data.frames import Floats
from experiments.data.synthetic.paths import Path

STEP_S = 0.1
"""Integration step."""
STEPS_PER_FRAME = 5
"""Frames are 0.5 s apart."""
_ACCELERATION, _BRAKING, _HARDEST = 1.8, 2.0, 3.6
"""Largest acceleration, comfortable and hardest braking [m/s^2]."""
_JERK = 3.4
"""Fastest change of the acceleration [m/s^3]; NAVSIM calls 4.13 uncomfortable."""
_HEADWAY_S, _STANDSTILL_GAP_M = 1.2, 2.0
_FORESIGHT_S = 0.4
"""A car keeps the speed limit of the place where it will be after this time."""
_CREEP = 0.3
"""Least speed a car is taken to want [m/s]; the model divides by it."""
_LATERAL = 2.2
"""Lateral acceleration at which curves are taken [m/s^2]."""
_CURVE_BRAKING = 1.3
"""Deceleration before a curve [m/s^2]."""


@dataclass(frozen=True, slots=True)
class Motion:
    """Arc length [m], speed [m/s] and acceleration [m/s^2] at every 10 Hz step."""

    s: Floats
    speed: Floats
    acceleration: Floats


@dataclass(frozen=True, slots=True)
class Stop:
    """A line at arc length `s` that may not be passed from `from_s` until `until_s` seconds."""

    s: float
    until_s: float
    from_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Driver:
    """Where a car begins, how fast it wants to go, and how far its ends are from its reference."""

    s: float
    speed: float
    desired: tuple[tuple[float, float], ...]
    """(time [s], speed [m/s]) pairs: from that time on, this is the speed wanted."""
    front: float
    rear: float


@dataclass(frozen=True, slots=True)
class Leader:
    """A car that is ahead on the same path, from `since_s` seconds on."""

    motion: Motion
    rear: float
    """From its reference to its rear end [m]."""
    since_s: float = 0.0


def steady(s: float, speed: float, num_steps: int) -> Motion:
    """Return a motion at constant speed."""
    times = np.arange(num_steps, dtype=np.float64) * STEP_S
    return Motion(s + speed * times, np.full(num_steps, speed), np.zeros(num_steps))


def curve_speeds(path: Path) -> Floats:
    """Return the speed [m/s] at each node that leaves room to brake for every curve ahead."""
    speeds = np.sqrt(_LATERAL / np.maximum(np.abs(path.curvature), 1e-4))
    squared = speeds**2
    gaps = np.diff(path.s)
    for i in range(len(gaps) - 1, -1, -1):
        squared[i] = min(squared[i], squared[i + 1] + 2 * _CURVE_BRAKING * gaps[i])
    return np.asarray(np.sqrt(squared), np.float64)


def _wanted(driver: Driver, time: float) -> float:
    return [speed for start, speed in driver.desired if start <= time][-1]


def _following(speed: float, gap: float, closing: float) -> float:
    """Return the interaction term of the IDM [m/s^2], negative."""
    dynamic = speed * _HEADWAY_S + speed * closing / (2 * np.sqrt(_ACCELERATION * _BRAKING))
    wished = _STANDSTILL_GAP_M + max(0.0, float(dynamic))
    return -_ACCELERATION * (wished / max(gap, 0.1)) ** 2


@dataclass(frozen=True, slots=True)
class _Situation:
    """What one car answers to, the same at every step."""

    path: Path
    limits: Floats
    driver: Driver
    leaders: tuple[Leader, ...]
    stops: tuple[Stop, ...]

    def command(self, step: int, s: float, speed: float) -> float:
        """Return the acceleration [m/s^2] that the car wants at a step."""
        time = step * STEP_S
        limit = float(np.interp(s + _FORESIGHT_S * speed, self.path.s, self.limits))
        target = max(_CREEP, min(_wanted(self.driver, time), limit))
        command = _ACCELERATION * (1 - (speed / target) ** 4)
        for leader in self.leaders:
            gap = float(leader.motion.s[step]) - leader.rear - s - self.driver.front
            if time >= leader.since_s and gap > -1.0:
                command += _following(speed, gap, speed - float(leader.motion.speed[step]))
        for stop in self.stops:
            gap = stop.s - s - self.driver.front
            if stop.from_s <= time < stop.until_s and gap > -1.0:
                command += _following(speed, gap, speed)
        return command


def drive(
    path: Path,
    driver: Driver,
    num_steps: int,
    *,
    leaders: tuple[Leader, ...] = (),
    stops: tuple[Stop, ...] = (),
) -> Motion:
    """Return the motion of `driver` along `path`, behind `leaders` and the closed `stops`."""
    situation = _Situation(path, curve_speeds(path), driver, leaders, stops)
    s, speed = driver.s, driver.speed
    acceleration = float(np.clip(situation.command(0, s, speed), -1.0, _ACCELERATION))
    states = np.empty((num_steps, 3))
    for step in range(num_steps):
        wish = float(np.clip(situation.command(step, s, speed), -_HARDEST, _ACCELERATION))
        change = min(max(wish - acceleration, -_JERK * STEP_S), _JERK * STEP_S)
        # Nobody drives backwards.
        acceleration = max(acceleration + change, -speed / STEP_S)
        states[step] = s, speed, acceleration
        s += speed * STEP_S + acceleration * STEP_S**2 / 2
        speed = max(0.0, speed + acceleration * STEP_S)
    return Motion(*np.ascontiguousarray(states.T))
