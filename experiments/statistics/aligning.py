"""Several runs side by side on identical tokens, or a refusal that says how they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from experiments.data.errors import DataError, listed
from experiments.statistics.table import Cell, Floats, Run, TokenScores

Grouping = Literal["city", "command"]
_NAMED = 3
"""Tokens that a message about a difference names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedScores:
    """Metrics of R runs on the same N tokens in the same order.

    Attributes:
        runs: Arm, fraction and seed of each run; no two are the same.
        values: Metric -> (R, N).
        tokens: (N,) names; `logs`, `cities` and `commands` are those of each token.
        note: Said with each result where tokens were left out, else empty.
    """

    runs: tuple[Run, ...]
    scorer: str
    metric_version: str
    tokens: NDArray[np.str_]
    logs: NDArray[np.str_]
    cities: NDArray[np.str_]
    commands: NDArray[np.str_]
    values: dict[str, Floats]
    note: str = ""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Arms at their fractions, in the order of the runs."""
        return tuple(dict.fromkeys(run.cell for run in self.runs))

    def fractions(self, arm: str) -> tuple[float, ...]:
        """Label fractions that `arm` was run at, ascending."""
        return tuple(sorted(cell.fraction for cell in self.cells if cell.arm == arm))

    def seeds(self, cell: Cell) -> tuple[int, ...]:
        """Seeds of the runs of `cell`, ascending.

        Raises:
            DataError: there are no such runs.
        """
        found = tuple(sorted(run.seed for run in self.runs if run.cell == cell))
        if not found:
            known = ", ".join(f"{arm} at {fraction:g}" for arm, fraction in self.cells)
            raise DataError(
                f"there are no runs of `{cell.arm}` at fraction {cell.fraction:g}",
                hint=f"there are: {known}",
            )
        return found

    def of(self, cell: Cell, metric: str) -> Floats:
        """(S, N) values of the seeds of `cell`, in the order of `seeds`.

        Raises:
            DataError: there are no such runs or no such metric.
        """
        if metric not in self.values:
            raise DataError(
                f"the runs were not scored by `{metric}`",
                hint=f"there are: {', '.join(self.values)}",
            )
        rows = [self.runs.index(Run(*cell, seed)) for seed in self.seeds(cell)]
        found: Floats = self.values[metric][rows]
        return found

    def log_sums(self, cell: Cell, metric: str) -> tuple[Floats, Floats]:
        """Sums over the tokens of each log, (S, L), and the number of tokens of each log, (L,)."""
        values = self.of(cell, metric)
        _, place, counts = np.unique(self.logs, return_inverse=True, return_counts=True)
        sums = [np.bincount(place, row, minlength=len(counts)) for row in values]
        return np.array(sums, np.float64), counts.astype(np.float64)

    def groups(self, by: Grouping) -> dict[str, AlignedScores]:
        """The scores of each city or of each driving command by itself, in alphabetic order."""
        column = self.cities if by == "city" else self.commands
        return {str(name): self._where(column == name) for name in np.unique(column)}

    def _where(self, chosen: NDArray[np.bool_]) -> AlignedScores:
        names = {
            name: getattr(self, name)[chosen] for name in ("tokens", "logs", "cities", "commands")
        }
        values = {metric: rows[:, chosen] for metric, rows in self.values.items()}
        return replace(self, values=values, **names)


def align(tables: Sequence[TokenScores], *, intersect: bool = False) -> AlignedScores:
    """Put the scores of several runs side by side.

    Args:
        tables: One per run.
        intersect: Keep the tokens that all runs share where they differ; the result says so.

    Raises:
        DataError: there are no runs or one twice; scorers, metric versions or metrics differ; the
            tokens differ (and are not to be intersected, or share none); a token has another log,
            city or command in another run.
    """
    if not tables:
        raise DataError("there are no scores to compare")
    _refuse_unlike(tables)
    tokens, note = _common_tokens(tables, intersect)
    rows = [_rows(table, tokens) for table in tables]
    first = tables[0]
    names = {name: _column(first, name)[rows[0]] for name in ("logs", "cities", "commands")}
    for table, order in zip(tables[1:], rows[1:], strict=True):
        for name, column in names.items():
            _refuse_moved(first, table, name, column, _column(table, name)[order], tokens)
    return AlignedScores(
        runs=tuple(table.run for table in tables),
        scorer=first.scorer,
        metric_version=first.metric_version,
        tokens=np.array(tokens, np.str_),
        values={
            metric: np.stack(
                [table.metrics[metric][order] for table, order in zip(tables, rows, strict=True)]
            )
            for metric in first.metrics
        },
        note=note,
        **names,
    )


def _refuse_unlike(tables: Sequence[TokenScores]) -> None:
    first = tables[0]
    runs: set[Run] = set()
    for table in tables:
        if table.run in runs:
            raise DataError(f"scores of run `{table.run}` are given twice")
        runs.add(table.run)
        for name in ("scorer", "metric_version"):
            ours, theirs = getattr(first, name), getattr(table, name)
            if ours != theirs:
                raise DataError(
                    f"`{first.run}` has {name} `{ours}`, `{table.run}` has `{theirs}`:"
                    " such numbers do not belong in one comparison",
                    hint="evaluate all runs again with one version",
                )
        if set(table.metrics) != set(first.metrics):
            odd = sorted(set(table.metrics) ^ set(first.metrics))
            raise DataError(f"`{first.run}` and `{table.run}` differ in metrics: {listed(odd)}")


def _common_tokens(tables: Sequence[TokenScores], intersect: bool) -> tuple[list[str], str]:
    """Tokens to compare, sorted, and what to say of them."""
    sets = [set(table.tokens) for table in tables]
    common = set.intersection(*sets)
    if all(tokens == common for tokens in sets):
        return sorted(common), ""
    if not common:
        raise DataError(f"the {len(tables)} runs share no token")
    if not intersect:
        first, other = next((0, i) for i, tokens in enumerate(sets) if tokens != sets[0])
        odd = sorted(sets[first] ^ sets[other])
        raise DataError(
            f"`{tables[first].run}` has scores of {len(sets[first])} tokens and"
            f" `{tables[other].run}` of {len(sets[other])}, {len(odd)} of which only one of them"
            f" has: {listed(odd, _NAMED)}",
            hint="score all runs on the same tokens, or ask for the intersection",
        )
    fewest, most = min(map(len, sets)), max(map(len, sets))
    return sorted(common), (
        f"on the {len(common)} tokens that all {len(tables)} runs share, which have {fewest} to"
        f" {most} each"
    )


def _rows(table: TokenScores, tokens: Sequence[str]) -> NDArray[np.int64]:
    place = {token: row for row, token in enumerate(table.tokens)}
    return np.array([place[token] for token in tokens], np.int64)


def _column(table: TokenScores, name: str) -> NDArray[np.str_]:
    return np.array(getattr(table, name), np.str_)


def _refuse_moved(
    first: TokenScores, other: TokenScores, name: str, ours: Any, theirs: Any, tokens: Sequence[str]
) -> None:
    moved = np.flatnonzero(ours != theirs)
    if len(moved):
        at = moved[0]
        raise DataError(
            f"token `{tokens[at]}` has {name} `{ours[at]}` in `{first.run}` and `{theirs[at]}` in"
            f" `{other.run}` ({len(moved)} such tokens)",
            hint="the runs were scored on different data",
        )
