"""How good planned trajectories are, by measures named for what they are."""

from experiments.scoring.baselines import constant_velocity
from experiments.scoring.checks import collides, leaves_drivable_area
from experiments.scoring.displacement import (
    average_displacement,
    displacements,
    final_displacement,
    heading_error,
)

__all__ = [
    "average_displacement",
    "collides",
    "constant_velocity",
    "displacements",
    "final_displacement",
    "heading_error",
    "leaves_drivable_area",
]
