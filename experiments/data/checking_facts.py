"""How much the published splits of NAVSIM hold, counted in the filters that its devkit ships."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """Size of a split."""

    logs: int
    tokens: int


PUBLISHED = {
    "navtrain": Published(1192, 103_288),
    "navtrain/train": Published(978, 85_109),
    "navtrain/val": Published(214, 18_179),
    "navtest": Published(136, 12_146),
    "navmini": Published(62, 396),
}
"""`navtrain/train` and `/val` are what the devkit's lists of logs make of `navtrain`."""
