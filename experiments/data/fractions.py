"""Which share of the labels a run may use: nested, and drawn apart from the training seed.

Units (logs, drives or windows) are put into one order for each `subset_seed`; a fraction is a
prefix of it. In that order each unit is of the city that is furthest behind its share, and there
of the command that is. So small fractions keep every city that is not very rare.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from launcher.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Labelled:
    """The units whose labels count."""

    names: tuple[str, ...]
    """Sorted."""
    empty: tuple[str, ...]
    """Strata (city/command) that have units, but none among these."""


def label_fraction(
    strata: Mapping[str, str],
    fraction: float,
    subset_seed: int,
    *,
    unit: str = "log",
    allow_empty: bool = False,
) -> Labelled:
    """Return the units whose labels count: a prefix of one fixed order, so fractions are nested.

    Args:
        strata: stratum of each unit that there is, as city/command.
        fraction: share of them, in (0, 1]; rounded up to whole units.
        subset_seed: draws the order.
        unit: what they are, for messages.
        allow_empty: accept that a city is left without any.

    Raises:
        ConfigError: the fraction is outside (0, 1], there are no units, or a city would vanish.
    """
    if not (0.0 < fraction <= 1.0) or not strata:
        raise ConfigError(
            f"`data.fraction={fraction}` of {len(strata)} training {unit}s is not at least one"
            f" {unit}",
            hint=f"take a fraction in (0, 1] and data with training {unit}s",
        )
    order = balanced_order(strata, subset_seed)
    chosen = order[: _count(fraction, len(order))]
    if not allow_empty:
        _refuse_lost_cities(strata, order, len(chosen), fraction, unit)
    empty = set(strata.values()) - {strata[name] for name in chosen}
    return Labelled(tuple(sorted(chosen)), tuple(sorted(empty)))


def _count(fraction: float, total: int) -> int:
    """Return how many of `total` units a fraction takes."""
    # Rounded first: 0.1 * 30 is 3.0000000000000004, whose ceiling would be 4.
    return math.ceil(round(fraction * total, 6))


def _least_fraction(count: int, total: int) -> float:
    """Return the smallest fraction that takes `count`, with enough digits to tell units apart."""
    steps = int(10 ** max(3, len(str(total))))
    # From the fraction of one unit less: a part of a unit already takes the whole of it.
    step = steps * (count - 1) // total
    while _count(step / steps, total) < count:
        step += 1
    return step / steps


def _refuse_lost_cities(
    strata: Mapping[str, str], order: list[str], count: int, fraction: float, unit: str
) -> None:
    first: dict[str, int] = {}
    for place, name in enumerate(order):
        first.setdefault(_city(strata[name]), place)
    lost = sorted(city for city, place in first.items() if place >= count)
    if lost:
        least = _least_fraction(max(first.values()) + 1, len(order))
        raise ConfigError(
            f"`data.fraction={fraction}` takes {count} of {len(order)} training {unit}s and leaves"
            f" none in {', '.join(f'`{city}`' for city in lost)}",
            hint=f"the smallest fraction with all {len(first)} cities is data.fraction={least};"
            " data.allow_empty_strata=true accepts this one",
        )


def balanced_order(strata: Mapping[str, str], seed: int) -> list[str]:
    """Return the names in a random order in which every prefix has its share of each city.

    Args:
        strata: stratum of each name, as city/command.
        seed: draws the order, together with the names and nothing else.
    """
    queues: dict[str, list[str]] = {}
    for name in sorted(strata, key=lambda name: (_draw(seed, name), name), reverse=True):
        queues.setdefault(strata[name], []).append(name)
    balance = _Balance({stratum: len(names) for stratum, names in queues.items()}, seed)
    return [queues[balance.next()].pop() for _ in strata]


class _Balance:
    """Deals out strata; whole numbers only, so that every machine deals the same."""

    def __init__(self, sizes: Mapping[str, int], seed: int) -> None:
        strata = sorted(sizes, key=lambda stratum: (_draw(seed, stratum), stratum))
        self._sizes: Counter[object] = Counter(dict[object, int](sizes))
        self._total = sum(sizes.values())
        self._strata_of: dict[str, list[str]] = {}
        for stratum in strata:
            city, command = _city(stratum), _command(stratum)
            self._strata_of.setdefault(city, []).append(stratum)
            self._sizes[city, ""] += sizes[stratum]
            self._sizes["", command] += sizes[stratum]
        self._taken: Counter[object] = Counter()
        self._num = 0

    def next(self) -> str:
        """Return the stratum of the next unit."""
        self._num += 1
        open_cities = [c for c in self._strata_of if self._left((c, "")) > 0]
        # Of equals, max takes the first; their order was drawn.
        city = max(open_cities, key=lambda c: self._behind((c, ""), self._num, self._total))
        self._taken[city, ""] += 1
        of_city, taken = self._sizes[city, ""], self._taken[city, ""]
        stratum = max(
            (stratum for stratum in self._strata_of[city] if self._left(stratum) > 0),
            key=lambda stratum: (
                self._behind(("", _command(stratum)), self._num, self._total) * of_city
                + self._behind(stratum, taken, of_city) * self._total
            ),
        )
        self._taken[stratum] += 1
        self._taken["", _command(stratum)] += 1
        return stratum

    def _left(self, group: object) -> int:
        return self._sizes[group] - self._taken[group]

    def _behind(self, group: object, num: int, total: int) -> int:
        """Return `total` times what is missing of a group's share of `num` units."""
        return self._sizes[group] * num - self._taken[group] * total


def _draw(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _city(stratum: str) -> str:
    return stratum.rpartition("/")[0]


def _command(stratum: str) -> str:
    return stratum.rpartition("/")[2]
