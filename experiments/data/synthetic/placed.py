"""A thing and where it stands."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.data.frames import Floats
from experiments.data.synthetic.mesh import Thing


@dataclass(frozen=True, slots=True)
class Placed:
    """A thing and the pose (3,) of its body frame in the log's frame."""

    thing: Thing
    pose: Floats
