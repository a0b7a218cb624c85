"""Scores of one run, token by token, and who gave them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.data.errors import DataError, listed
from experiments.settings.constants import COMMANDS

Floats = NDArray[np.float64]


CONSTANT_VELOCITY = "constant velocity"
"""The arm that learns from no labels and has no seeds."""


class Cell(NamedTuple):
    """Runs that differ in nothing but the seed."""

    arm: str
    fraction: float
    """Share of the training labels, in (0, 1]."""

    @property
    def learns(self) -> bool:
        """Whether labels and seeds mean something to it."""
        return self.arm != CONSTANT_VELOCITY

    @property
    def share(self) -> str:
        """The label fraction, as `25 %`; empty for what learns from none."""
        return f"{100 * self.fraction:g} %" if self.learns else ""

    @property
    def in_words(self) -> str:
        """The arm, with its label fraction where it has one."""
        return f"{self.arm} at {self.share} of the labels" if self.learns else self.arm


class Run(NamedTuple):
    """What tells a run from the others of a study."""

    arm: str
    fraction: float
    seed: int

    @property
    def cell(self) -> Cell:
        """The run without its seed."""
        return Cell(self.arm, self.fraction)

    def __str__(self) -> str:
        return f"{self.arm} fraction={self.fraction:g} seed={self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScores:
    """All metrics of all tokens that one run was scored on.

    Attributes:
        run: Arm, label fraction and seed.
        scorer: What computed the numbers, with the sha of its code.
        metric_version: Which definition of the metrics it followed.
        tokens: Name of each of the N scenes, each once.
        logs: Log that each scene was cut from; the unit that is resampled.
        cities: City of each scene; a log lies in one.
        commands: Driving command of each scene, one of COMMANDS.
        metrics: Name -> (N,) float64, finite.

    Raises:
        DataError: there are no tokens, or a column has another length, repeats a token, holds a
            number that is not finite, an empty name or an unknown command, or a log lies in two
            cities.
    """

    run: Run
    scorer: str
    metric_version: str
    tokens: tuple[str, ...]
    logs: tuple[str, ...]
    cities: tuple[str, ...]
    commands: tuple[str, ...]
    metrics: Mapping[str, Floats]

    def __post_init__(self) -> None:
        for name in ("tokens", "logs", "cities", "commands"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        metrics = {name: _frozen(values) for name, values in self.metrics.items()}
        object.__setattr__(self, "metrics", metrics)
        self._check_run()
        self._check_names()
        self._check_metrics()

    def require_complete(self, expected_tokens: Iterable[str]) -> None:
        """Refuse the scores unless they are of the expected tokens, all of them and no others.

        Raises:
            DataError: it lists the tokens without a score, or those that nobody asked for.
        """
        expected, scored = set(expected_tokens), set(self.tokens)
        failed = sorted(expected - scored)
        if failed:
            covered = 100 * (1 - len(failed) / len(expected))
            # Rounded down: 99.996 % is not 100.00 %.
            shown = int(covered * 100) / 100
            raise DataError(
                f"run `{self.run}` has scores for {shown:.2f} % of {len(expected)} tokens;"
                f" {len(failed)} failed: {listed(failed)}",
                hint="mend or rescore these scenes: a mean over the others would be another metric",
            )
        extra = sorted(scored - expected)
        if extra:
            raise DataError(
                f"run `{self.run}` has scores of {len(extra)} tokens outside of the"
                f" {len(expected)} expected ones: {listed(extra)}",
                hint="was it scored on another split?",
            )

    def _check_run(self) -> None:
        if not 0 < self.run.fraction <= 1:
            raise DataError(f"run `{self.run}` has a label fraction outside of (0, 1]")
        for name in ("scorer", "metric_version"):
            if not getattr(self, name):
                raise DataError(f"scores of run `{self.run}` do not say their `{name}`")
        if not self.run.arm:
            raise DataError(f"scores with seed {self.run.seed} do not say of which arm they are")

    def _check_names(self) -> None:
        where = f"scores of run `{self.run}`"
        if not self.tokens:
            raise DataError(f"{where} hold no tokens")
        for name in ("logs", "cities", "commands"):
            column: Sequence[str] = getattr(self, name)
            if len(column) != len(self.tokens):
                raise DataError(f"{where} name {len(column)} {name} for {len(self.tokens)} tokens")
        seen: dict[str, str] = {}
        city_of: dict[str, str] = {}
        for token, log, city, command in zip(
            self.tokens, self.logs, self.cities, self.commands, strict=True
        ):
            if not (token and log and city):
                raise DataError(f"{where}: token `{token}` has log `{log}` and city `{city}`")
            if token in seen:
                raise DataError(f"{where} hold token `{token}` twice")
            seen[token] = log
            if city_of.setdefault(log, city) != city:
                raise DataError(f"{where}: log `{log}` lies in `{city_of[log]}` and in `{city}`")
            if command not in COMMANDS:
                raise DataError(
                    f"{where}: token `{token}` has the unknown command `{command}`",
                    hint=f"legal: {', '.join(COMMANDS)}",
                )

    def _check_metrics(self) -> None:
        where = f"scores of run `{self.run}`"
        if not self.metrics:
            raise DataError(f"{where} hold no metrics")
        for name, values in self.metrics.items():
            if values.shape != (len(self.tokens),):
                raise DataError(
                    f"{where}: `{name}` has shape {values.shape} for {len(self.tokens)} tokens"
                )
            bad = np.flatnonzero(~np.isfinite(values))
            if len(bad):
                raise DataError(
                    f"{where}: `{name}` is {values[bad[0]]} for token `{self.tokens[bad[0]]}`"
                    f" ({len(bad)} such values)",
                    hint="leave a scene that failed out: coverage then says so by name",
                )


def _frozen(values: ArrayLike) -> NDArray[Any]:
    copied = np.array(values, np.float64)
    copied.setflags(write=False)
    return copied
