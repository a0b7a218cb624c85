"""Metric caches of NAVSIM v1.1 as the objects of their pickle, without navsim and without trust.

A cache names some twenty classes of nuPlan and NAVSIM. None of them is needed to read what they
hold: every one is rebuilt as a `StandIn` with the arguments and the state that were written.
Arrays and shapely geometries are rebuilt as themselves; any other name is refused, for a pickle
may run whatever it can name.
"""

from __future__ import annotations

import io
import lzma
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from experiments.data.errors import DataError
from experiments.data.logs import SAFE_GLOBALS

_PDM = "navsim.planning.simulation.planner.pdm_planner"
_ACTOR = "nuplan.common.actor_state"
_STAND_INS = {
    "navsim.planning.metric_caching.metric_cache": {"MetricCache"},
    f"{_PDM}.observation.pdm_observation": {"PDMObservation"},
    f"{_PDM}.observation.pdm_occupancy_map": {"PDMDrivableMap", "PDMOccupancyMap"},
    f"{_PDM}.utils.pdm_path": {"PDMPath"},
    f"{_ACTOR}.agent": {"Agent"},
    f"{_ACTOR}.car_footprint": {"CarFootprint"},
    f"{_ACTOR}.dynamic_car_state": {"DynamicCarState"},
    f"{_ACTOR}.ego_state": {"EgoState"},
    f"{_ACTOR}.oriented_box": {"OrientedBox", "OrientedBoxPointType", "Dimension"},
    f"{_ACTOR}.scene_object": {"SceneObjectMetadata"},
    f"{_ACTOR}.state_representation": {"Point2D", "StateSE2", "StateVector2D", "TimePoint"},
    f"{_ACTOR}.static_object": {"StaticObject"},
    f"{_ACTOR}.tracked_objects_types": {"TrackedObjectType"},
    f"{_ACTOR}.vehicle_parameters": {"VehicleParameters"},
    "nuplan.common.maps.maps_datatypes": {"SemanticMapLayer"},
    "nuplan.planning.simulation.trajectory.interpolated_trajectory": {"InterpolatedTrajectory"},
    # The devkit keeps its own path in the cache, as a Path where it was written on Linux.
    "pathlib": {"PosixPath", "PurePosixPath"},
}
_NUMPY_2 = int(np.__version__.split(".", maxsplit=1)[0]) >= 2
_MOST_BYTES = 1 << 30
"""Unpacked; a cache of a crowded scene takes a few MB, and lzma packs zeros a thousandfold."""


class StandIn:
    """An object of a class that is not installed; `type(it).__name__` says of which."""

    args: tuple[Any, ...]
    """What its constructor was called with, if it was pickled so."""
    state: dict[str, Any]
    """Its attributes, if it was pickled so."""

    def __new__(cls, *args: Any) -> StandIn:
        """Keep the arguments; attributes come later, with `__setstate__`."""
        made = super().__new__(cls)
        made.args, made.state = args, {}
        return made

    def __setstate__(self, state: object) -> None:
        """Take attributes, or a pair of attributes and slots, as pickles hold them."""
        for part in state if isinstance(state, tuple) else (state,):
            if part is not None:
                if not isinstance(part, dict):
                    raise pickle.UnpicklingError(f"the state of a {type(self).__name__} is no dict")
                self.state.update(part)


_CLASSES: dict[tuple[str, str], type[StandIn]] = {
    (module, name): type(name, (StandIn,), {})
    for module, names in _STAND_INS.items()
    for name in names
}


class _CacheUnpickler(pickle.Unpickler):
    """Rebuilds stand-ins, arrays and geometries; whatever else a pickle names is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("shapely.io", "from_wkb"):
            return _geometry
        if (module, name) in _CLASSES:
            return _CLASSES[module, name]
        if name in SAFE_GLOBALS.get(module, ()):
            return super().find_class(_renamed(module), name)
        raise pickle.UnpicklingError(f"it refers to `{module}.{name}`, which no metric cache needs")


def _renamed(module: str) -> str:
    """Return where this numpy keeps a module of the devkit's numpy 1.23, lest it warns of it."""
    if _NUMPY_2 and module.startswith("numpy.core."):
        return module.replace("numpy.core.", "numpy._core.", 1)
    return module


def _geometry(content: object) -> Any:
    if not isinstance(content, bytes):
        raise pickle.UnpicklingError(f"a geometry is a {type(content).__name__}, not WKB")
    return shapely.from_wkb(content)


def read_pickle(path: Path) -> StandIn:
    """Return the MetricCache of a file, lzma-compressed as the devkit writes it.

    Raises:
        DataError: the file is missing, torn, refers to what no cache needs, or is none.
    """
    try:
        with lzma.open(path) as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise pickle.UnpicklingError(f"it unpacks to more than {_MOST_BYTES} bytes")
        cache = _CacheUnpickler(io.BytesIO(content)).load()
    except OSError as error:
        raise DataError(f"cannot read the metric cache `{path}`: {error.strerror}") from error
    except Exception as error:  # a torn pickle raises almost anything
        raise DataError(
            f"`{path}` is torn or no metric cache: {str(error) or type(error).__name__}",
            hint="NAVSIM v1.1 writes them with run_metric_caching.py; cache the scene again",
        ) from error
    if type(cache) is not _CLASSES["navsim.planning.metric_caching.metric_cache", "MetricCache"]:
        raise DataError(f"`{path}` holds a {type(cache).__name__}, not a MetricCache")
    return cache
