"""Scores of several planners on the same windows, token by token, and their means.

A window that cannot be read has no score, and without it there is no mean: that of the others
would be another number. Their table is kept all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.data.assembly import Indices
from experiments.data.errors import DataError, listed
from experiments.data.frames import Floats
from experiments.data.source import SceneSource
from experiments.settings import COMMANDS
from experiments.statistics.table import Run, TokenScores

Plans = Mapping[str, NDArray[np.float32]]
"""Name of a planner -> (N, 8, 3) local poses."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the plans of several planners are worth on N windows."""

    source: SceneSource
    rows: Indices
    """(N,) windows, in the order of the plans."""
    scorer: str
    metric_version: str
    values: dict[str, dict[str, Floats]]
    """Planner -> column -> (N,); not a number where the window failed."""
    failed: dict[str, str] = field(default_factory=dict)
    """Token -> why it has no score."""

    @property
    def tokens(self) -> list[str]:
        """Of all N windows."""
        return [token.decode() for token in self.source.index.token[self.rows]]

    def table(self, planner: str, run: Run) -> TokenScores:
        """Return the scores of the windows that have one.

        Raises:
            DataError: none has.
        """
        index = self.source.index
        whole = np.array([token not in self.failed for token in self.tokens], np.bool_)
        rows = self.rows[whole]
        if not len(rows):
            raise DataError(f"none of {len(self.rows)} scenes could be scored: {self._reasons()}")
        return TokenScores(
            run=run,
            scorer=self.scorer,
            metric_version=self.metric_version,
            tokens=tuple(token.decode() for token in index.token[rows]),
            logs=tuple(index.log_names[log] for log in index.log[rows]),
            cities=tuple(index.cities[city] for city in index.city[rows]),
            commands=tuple(COMMANDS[command] for command in index.command[rows]),
            metrics={name: column[whole] for name, column in self.values[planner].items()},
        )

    def require_complete(self, kept_in: Path) -> None:
        """Refuse a mean unless every window has a score.

        Args:
            kept_in: folder of the tables, for the message.

        Raises:
            DataError: some have none; lists them, and says why.
        """
        if self.failed:
            covered = 100 * (1 - len(self.failed) / len(self.rows))
            shown = int(covered * 100) / 100  # rounded down: 99.996 % is not 100.00 %
            raise DataError(
                f"{len(self.failed)} of {len(self.rows)} scenes could not be scored"
                f" ({shown:.2f} % coverage), so there is no mean: {listed(list(self.failed))}."
                f" {self._reasons()}",
                hint=f"mend these scenes; scores of the others are in `{kept_in}`",
            )

    def means(self, planner: str) -> dict[str, float]:
        """Return the mean of each column over all windows; `require_complete` comes first."""
        means = {name: float(column.mean()) for name, column in self.values[planner].items()}
        if not all(np.isfinite(value) for value in means.values()):
            raise ValueError(f"means of `{planner}` were asked for at less than 100 % coverage")
        return means

    def _reasons(self) -> str:
        token, reason = next(iter(self.failed.items()))
        return f"The first, `{token}`: {reason}"
