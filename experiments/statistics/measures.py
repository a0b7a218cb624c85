"""What a metric is called in words, in which unit it is told, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.errors import ConfigError, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How values of one metric are shown."""

    label: str
    unit: str = "points"
    scale: float = 100.0
    """Shown number per stored number: shares of 0 to 1 are told in points of 0 to 100."""
    decimals: int = 1
    higher_is_better: bool = True

    @property
    def direction(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.higher_is_better else -1

    @property
    def axis_label(self) -> str:
        """Label of an axis: name, unit, and which way is better."""
        better = "higher" if self.higher_is_better else "lower"
        return f"{self.label} [{self.unit}], {better} is better"

    def text(self, value: float, *, signed: bool = False) -> str:
        """The stored `value` in the shown unit, without the unit."""
        shown = round(value * self.scale, self.decimals) + 0.0
        return f"{shown:{'+' if signed else ''}.{self.decimals}f}"


def _share(label: str, *, higher_is_better: bool = True) -> Measure:
    return Measure(label=label, higher_is_better=higher_is_better)


def _error(label: str, unit: str, decimals: int) -> Measure:
    return Measure(label=label, unit=unit, scale=1.0, decimals=decimals, higher_is_better=False)


MEASURES: dict[str, Measure] = {
    "pdms": _share("PDMS"),
    "nc": _share("NC"),
    "dac": _share("DAC"),
    "ep": _share("EP"),
    "ttc": _share("TTC"),
    "comfort": _share("C"),
    "ddc": _share("DDC"),
    "ade_m": _error("ADE", "m", 2),
    "fde_m": _error("FDE", "m", 2),
    "heading_error_rad": _error("heading error", "rad", 3),
    "collides": _share("collisions", higher_is_better=False),
    "leaves_drivable_area": _share("off-road", higher_is_better=False),
}
"""Metric name -> how it is shown."""


def measure(metric: str) -> Measure:
    """How `metric` is shown.

    Raises:
        ConfigError: it is not known, so nothing says which way is better.
    """
    if metric in MEASURES:
        return MEASURES[metric]
    match = nearest(metric, MEASURES)
    raise ConfigError(
        f"nothing is known of a metric `{metric}`; known: {', '.join(MEASURES)}",
        hint=f"did you mean {match}?" if match else None,
    )
