"""Which logs train, validate and test when shares of the drives say so.

All draws depend on names and seeds only, never on the order of files or on the training seed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from launcher.errors import ConfigError

_CHUNK = re.compile(r"_\d+_\d+$")
"""End of a log's name that tells the chunks of one drive apart (frames from, to)."""


@dataclass(frozen=True, slots=True)
class LogSplit:
    """Names of the logs of each part; disjoint, also by drive."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def drive_of(log_name: str) -> str:
    """Return the drive that a log is a chunk of; chunks of one drive look alike."""
    return _CHUNK.sub("", log_name)


def _draw(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def stratified_order(strata: Mapping[str, str], seed: int) -> list[str]:
    """Return the names in a random order in which every prefix mixes the strata evenly.

    Args:
        strata: stratum of each name.
        seed: draws the order.
    """
    members: dict[str, list[str]] = {}
    for name in sorted(strata, key=lambda name: (_draw(seed, name), name)):
        members.setdefault(strata[name], []).append(name)
    place = {
        name: (rank + 0.5) / len(group)
        for group in members.values()
        for rank, name in enumerate(group)
    }
    return sorted(strata, key=lambda name: (place[name], _draw(seed, name), name))


def split_logs(strata: Mapping[str, str], *, seed: int, val_share: float,
               test_share: float) -> LogSplit:  # fmt: skip
    """Split logs by drive; `strata` gives the stratum of each log.

    Raises:
        ConfigError: shares outside [0, 1), or no drive is left for training.
    """
    for key, share in (("val_share", val_share), ("test_share", test_share)):
        if not 0.0 <= share < 1.0:
            raise ConfigError(f"`data.{key}={share}` is outside [0, 1)")
    drives: dict[str, str] = {}
    for name in sorted(strata):
        drives.setdefault(drive_of(name), strata[name])
    order = stratified_order(drives, seed)
    num_test = _count(test_share, len(order))
    num_val = _count(val_share, len(order))
    if num_test + num_val >= len(order):
        raise ConfigError(
            f"`data.val_share={val_share}` and `data.test_share={test_share}` leave none of"
            f" {len(order)} drives for training",
            hint="lower the shares or add logs",
        )
    part = dict.fromkeys(order[:num_test], "test")
    part |= dict.fromkeys(order[num_test : num_test + num_val], "val")
    names = sorted(strata)
    chosen = {
        which: tuple(name for name in names if part.get(drive_of(name), "train") == which)
        for which in ("train", "val", "test")
    }
    return LogSplit(**chosen)


def _count(share: float, total: int) -> int:
    return max(1, round(share * total)) if share > 0 else 0


def tokens_sha256(tokens: Iterable[str]) -> str:
    """Return the hex sha256 of a set of tokens, whatever their order."""
    return hashlib.sha256("\n".join(sorted(tokens)).encode()).hexdigest()


def strata_of(cities: Sequence[str], commands: Sequence[frozenset[str]],
              names: Sequence[str]) -> dict[str, str]:  # fmt: skip
    """Return the stratum of each log: its city and the rarest kind of command on it."""
    return {
        name: f"{city}/{next((c for c in ('left', 'right') if c in seen), 'straight')}"
        for name, city, seen in zip(names, cities, commands, strict=True)
    }
