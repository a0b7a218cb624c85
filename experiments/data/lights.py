"""Traffic lights of a log's frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.data.errors import DataError


def red_lights_of(frame: dict[str, Any], path: Path) -> frozenset[str]:
    """Return the ids of the lane connectors that a red light closes; empty if none is recorded.

    Args:
        frame: an entry of a log. Its `traffic_lights`, which NAVSIM 1.1 writes and not everyone
            has, are pairs of a lane connector and whether it is red.
        path: of the log, for messages.

    Raises:
        DataError: they have another form.
    """
    try:
        lights = [(area, is_red) for area, is_red in frame.get("traffic_lights") or ()]
    except (TypeError, ValueError) as error:
        raise _of_another_form(frame, path, str(error)) from error
    for area, is_red in lights:
        # A text would be true whatever it says: "green" closed the road.
        if not isinstance(area, str | int) or is_red not in (True, False):
            raise _of_another_form(frame, path, f"({area!r}, {is_red!r})")
    return frozenset(str(area) for area, is_red in lights if is_red)


def _of_another_form(frame: dict[str, Any], path: Path, what: str) -> DataError:
    return DataError(
        f"`traffic_lights` of frame `{frame['token']}` in `{path}` are no pairs of a lane connector"
        f" and whether it is red: {what}"
    )
