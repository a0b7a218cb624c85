"""Two plain checks of a planned trajectory at its 8 poses: collisions, and leaving the road.

They are not sub-scores of the PDM score: nothing is simulated, and fault plays no part.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import ArrayLike

from experiments.data.frames import corners, to_global
from experiments.data.maps import PolygonMap
from experiments.data.source import Traffic
from experiments.data.vehicle import footprints
from experiments.settings import POSES


def collides(poses: ArrayLike, traffic: Traffic) -> bool:
    """Whether the ego at any of its (8, 3) local poses overlaps an object of the same instant."""
    ego = shapely.polygons(footprints(poses))
    ahead = (traffic.step >= 1) & (traffic.step <= POSES)
    others = shapely.polygons(corners(traffic.box[ahead]))
    return bool(np.any(shapely.intersects(ego[traffic.step[ahead] - 1], others)))


def leaves_drivable_area(poses: ArrayLike, origin: ArrayLike, area: PolygonMap) -> bool:
    """Whether any corner of the ego is off the drivable polygons at any of its poses.

    Args:
        poses: (8, 3) in the current ego frame.
        origin: (3,) global pose of that frame.
        area: the map, in the global frame.
    """
    points = footprints(to_global(poses, origin)).reshape(-1, 2)
    return not bool(np.all(shapely.intersects_xy(area.drivable, points[:, 0], points[:, 1])))
