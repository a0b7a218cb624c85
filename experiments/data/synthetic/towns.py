"""The towns of the generated world: what their roads and houses look like, and how one drives.

A town stands where OpenScene has the city. What a driver does follows from what is to be seen of
the town: narrow lanes between tall houses are driven more slowly than wide ones.
"""

from __future__ import annotations

from dataclasses import dataclass

Rgb = tuple[int, int, int]
Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Town:
    """Style of one town; lengths in metres, speeds in m/s, shares in [0, 1]."""

    name: str
    lane_m: float
    limit: float
    """Speed on straight roads; curves and junctions are driven at less."""
    wide: float
    """Share of road sides with two lanes rather than one."""
    spread_m: float
    """Curves have radii up to this much above the tightest."""
    gap_m: Range
    """Straight pieces between curves."""
    tee: float
    """Share of junctions with three arms."""
    kerb_m: Range
    """Radius of the kerbs at junctions."""
    centre: str
    """Colour of the line between the directions: "white" or "yellow"."""
    centre_dash: tuple[float, float] | None
    edges: bool
    """Whether lanes are bordered by lines at the edge of the road."""
    zebra: float
    """Share of places for a zebra crossing that have one."""
    gantry: bool
    """Whether traffic lights hang over the road too."""
    parks: float
    """Share of roads with a strip of parked cars."""
    fenced: float
    """Share of roadsides with a fence."""
    fences: tuple[Rgb, ...]
    trees: float
    """Share of roadsides with trees."""
    crowns: tuple[Rgb, ...]
    built: float
    """Share of plots with a house."""
    storeys_m: Range
    """Heights of houses."""
    setback_m: Range
    """Distance of houses from the pavement."""
    plots_m: Range
    """Gaps between houses."""
    facades: tuple[Rgb, ...]
    roof: Rgb
    asphalt: tuple[Rgb, Rgb]
    pavement: tuple[Rgb, Rgb]
    ground: tuple[Rgb, Rgb]


_HEDGES: tuple[Rgb, ...] = ((58, 92, 48), (78, 104, 60))
_LEAVES: tuple[Rgb, ...] = ((52, 96, 44), (70, 118, 52), (84, 108, 40))

TOWNS = (
    Town(
        name="synthetic-oldtown", lane_m=3.2, limit=8.6, wide=0.1, spread_m=10.0,
        gap_m=(6.0, 16.0), tee=0.6, kerb_m=(6.5, 8.0), centre="white", centre_dash=(2.0, 2.5),
        edges=False, zebra=0.75, gantry=False, parks=0.65, fenced=0.85,
        fences=((150, 146, 136), (132, 120, 110)), trees=0.15, crowns=_LEAVES, built=0.92,
        storeys_m=(7.0, 13.0), setback_m=(0.9, 2.0), plots_m=(0.4, 3.0),
        facades=((206, 170, 120), (190, 120, 92), (214, 200, 168), (176, 140, 128)),
        roof=(128, 66, 48), asphalt=((96, 90, 86), (118, 110, 104)),
        pavement=((168, 158, 144), (184, 172, 156)), ground=((132, 126, 104), (120, 124, 92)),
    ),
    Town(
        name="synthetic-grid", lane_m=3.5, limit=12.3, wide=0.85, spread_m=30.0,
        gap_m=(16.0, 34.0), tee=0.2, kerb_m=(8.0, 10.0), centre="yellow", centre_dash=None,
        edges=True, zebra=0.6, gantry=True, parks=0.3, fenced=0.85, fences=((112, 116, 122),),
        trees=0.3, crowns=_LEAVES, built=0.85, storeys_m=(10.0, 30.0), setback_m=(2.0, 6.0),
        plots_m=(2.0, 8.0),
        facades=((124, 134, 148), (96, 104, 116), (158, 162, 166), (140, 122, 104)),
        roof=(84, 86, 90), asphalt=((62, 64, 68), (78, 80, 84)),
        pavement=((150, 150, 150), (164, 162, 160)), ground=((118, 120, 112), (104, 112, 92)),
    ),
    Town(
        name="synthetic-suburb", lane_m=3.4, limit=10.2, wide=0.2, spread_m=20.0,
        gap_m=(8.0, 24.0), tee=0.5, kerb_m=(7.0, 10.0), centre="white", centre_dash=(3.0, 4.5),
        edges=False, zebra=0.5, gantry=False, parks=0.45, fenced=0.9, fences=_HEDGES,
        trees=0.75, crowns=_LEAVES, built=0.6, storeys_m=(4.0, 7.0), setback_m=(5.0, 12.0),
        plots_m=(4.0, 14.0),
        facades=((198, 196, 186), (190, 178, 158), (176, 148, 124)), roof=(96, 84, 80),
        asphalt=((80, 80, 82), (98, 98, 96)), pavement=((150, 146, 140), (166, 158, 148)),
        ground=((84, 124, 56), (100, 132, 66)),
    ),
    Town(
        name="synthetic-hills", lane_m=3.6, limit=11.2, wide=0.3, spread_m=16.0,
        gap_m=(4.0, 18.0), tee=0.5, kerb_m=(8.0, 10.0), centre="yellow", centre_dash=(3.0, 3.0),
        edges=True, zebra=0.3, gantry=True, parks=0.15, fenced=0.95,
        fences=((176, 178, 182), (120, 92, 62)), trees=0.9, crowns=((40, 74, 48), (50, 88, 60)),
        built=0.2, storeys_m=(4.0, 8.0), setback_m=(6.0, 14.0), plots_m=(10.0, 30.0),
        facades=((138, 104, 78), (206, 200, 190)), roof=(74, 62, 58),
        asphalt=((88, 88, 92), (106, 106, 108)), pavement=((150, 136, 112), (162, 150, 124)),
        ground=((120, 112, 66), (104, 108, 60)),
    ),
)  # fmt: skip
