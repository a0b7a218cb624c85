"""The closed sets of names in a scene."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Layer = Literal["roadblock", "lane", "lane_connector", "intersection", "carpark", "drivable_area"]
TrackType = Literal[
    "vehicle", "pedestrian", "bicycle", "traffic_cone", "barrier", "czone_sign", "generic_object"
]
