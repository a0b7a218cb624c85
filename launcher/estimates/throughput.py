"""Training speed on GPUs that were not tried, from attempts that were measured. Pure.

Speed grows as `GPUs ** exponent`: measured at several counts the exponent is fitted, else every
doubling is assumed to keep 90 % of what it could give. Between types of GPUs the relative speeds
of the site's profile lead. What was measured on that very type and count is taken as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launcher.measures import Measure
from launcher.records import Place

ASSUMED_EFFICIENCY = 0.9
"""Share of twice the speed that twice the GPUs are assumed to give, where nobody measured it."""
_LOWEST_EXPONENT = 0.0
_HIGHEST_EXPONENT = 1.0
STARVED = 0.2
"""Above this share of a step spent waiting for data, a speed says more about the loader."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a rank computes on; equal ones are equally fast."""

    kind: str
    """Type of its GPU, or the partition where the site has no types."""
    has_gpus: bool

    def __str__(self) -> str:
        return self.kind if self.has_gpus else f"CPU ({self.kind})"


def hardware_of(place: Place, *, has_gpus: bool) -> Hardware:
    """The hardware of a place; CPUs, and GPUs without a type, are told apart by partition."""
    kind = place.gpu_type if has_gpus else None
    return Hardware(kind=kind or place.partition or place.cluster, has_gpus=has_gpus)


def hardware_seen(measure: Measure) -> Hardware:
    """The hardware of an attempt. Only places with GPUs have a type, pretended ones included."""
    has_gpus = measure.place.gpu_type is not None or measure.gpu_name is not None
    return hardware_of(measure.place, has_gpus=has_gpus)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The speed of an attempt."""

    hardware: Hardware
    ranks: int
    samples_per_s: float
    data_wait_share: float = 0.0

    @property
    def is_starved(self) -> bool:
        """Whether its loaders held it up."""
        return self.data_wait_share > STARVED

    def __str__(self) -> str:
        return f"{self.ranks} x {self.hardware}"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a run goes on some hardware."""

    samples_per_s: float
    basis: str
    """`measured`, or what it was derived from."""
    is_measured: bool
    is_starved: bool = False
    """Whether its data held up the attempt that this was derived from."""

    def step_s(self, batch_size: int) -> float:
        """Time of an optimizer step over `batch_size` samples of all ranks [s]."""
        return batch_size / self.samples_per_s


def seen_in(measures: Sequence[Measure]) -> list[Seen]:
    """Speeds of attempts, newest first; of those on equal hardware and ranks only the newest."""
    found: dict[tuple[Hardware, int], Seen] = {}
    for measure in measures:
        if not measure.samples_per_s:
            continue
        hardware = hardware_seen(measure)
        seen = Seen(
            hardware=hardware,
            ranks=measure.world_size,
            samples_per_s=measure.samples_per_s,
            data_wait_share=measure.data_wait_share or 0.0,
        )
        found.setdefault((hardware, measure.world_size), seen)
    return list(found.values())


def estimate(
    measures: Sequence[Measure],
    hardware: Hardware,
    ranks: int,
    speeds: Mapping[Hardware, float] | None = None,
) -> Pace | None:
    """Speed of a run on `ranks` of some hardware.

    Args:
        measures: Attempts of runs of the same profile, newest first.
        hardware: What each rank would compute on.
        ranks: Training processes in all.
        speeds: Relative speed of one rank by hardware, where the profile says it.

    Returns:
        None where nothing was measured that it could be derived from.
    """
    speeds = speeds or {}
    seen = seen_in(measures)
    same = [one for one in seen if one.hardware == hardware]
    exact = next((one for one in same if one.ranks == ranks), None)
    if exact is not None:
        basis = f"measured{_starving(exact)}"
        return _pace(exact.samples_per_s, basis, exact, is_measured=True)
    source = _nearest(same, ranks) or _nearest(_comparable(seen, hardware, speeds), ranks)
    if source is None:
        return None
    exponent, how = fitted_exponent(seen, speeds)
    rate = source.samples_per_s * (ranks / source.ranks) ** exponent
    parts = [f"scaled from {source}"]
    if source.ranks != ranks:
        parts.append(how)
    if source.hardware != hardware:
        ratio = speeds[hardware] / speeds[source.hardware]
        rate *= ratio
        parts.append(f"{hardware} at {ratio:.2f} of {source.hardware} by the profile")
    return _pace(rate, ", ".join(parts) + _starving(source), source, is_measured=False)


def _pace(rate: float, basis: str, source: Seen, *, is_measured: bool) -> Pace:
    return Pace(
        samples_per_s=rate, basis=basis, is_measured=is_measured, is_starved=source.is_starved
    )


def _starving(source: Seen) -> str:
    if not source.is_starved:
        return ""
    return f", where {source.data_wait_share:.0%} of the time was waiting for data"


def _comparable(
    seen: Sequence[Seen], hardware: Hardware, speeds: Mapping[Hardware, float]
) -> list[Seen]:
    """Attempts on other hardware whose speed the profile relates to that of `hardware`."""
    if hardware not in speeds:
        return []
    return [
        one for one in seen if one.hardware in speeds and one.hardware.has_gpus == hardware.has_gpus
    ]


def _nearest(seen: Sequence[Seen], ranks: int) -> Seen | None:
    """The one whose count is nearest in doublings; of two the larger, which knows more."""
    if not seen:
        return None
    return min(seen, key=lambda one: (abs(math.log2(one.ranks / ranks)), -one.ranks))


def fitted_exponent(seen: Sequence[Seen], speeds: Mapping[Hardware, float]) -> tuple[float, str]:
    """How speed grows with ranks, and a word on how that is known.

    Slopes are fitted within each type of hardware; only where no type was measured at two
    counts, types are compared by the relative speeds of the profile.
    """
    by_type: dict[object, list[tuple[float, float]]] = {}
    for one in seen:
        point = (math.log(one.ranks), math.log(one.samples_per_s))
        by_type.setdefault(one.hardware, []).append(point)
    slope = _slope(list(by_type.values()))
    if slope is None and all(one.hardware in speeds for one in seen):
        points = [
            (math.log(one.ranks), math.log(one.samples_per_s / speeds[one.hardware]))
            for one in seen
        ]
        slope = _slope([points])
    if slope is None:
        exponent = 1 + math.log2(ASSUMED_EFFICIENCY)
        return exponent, f"{ASSUMED_EFFICIENCY:.0%} per doubling assumed"
    exponent = min(max(slope, _LOWEST_EXPONENT), _HIGHEST_EXPONENT)
    return exponent, f"{2 ** (exponent - 1):.0%} per doubling measured"


def _slope(groups: Sequence[Sequence[tuple[float, float]]]) -> float | None:
    """Common slope of several lines through points (x, y); None where x varies in none."""
    upper = lower = 0.0
    for points in groups:
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        upper += sum((x - mean_x) * (y - mean_y) for x, y in points)
        lower += sum((x - mean_x) ** 2 for x, _ in points)
    return upper / lower if lower else None
