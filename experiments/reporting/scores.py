"""Scores by token of all runs of a study, named by what differs in it and put side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiments.data.errors import DataError
from experiments.report import (
    BASELINE,
    CONTROL,
    CONTROL_NAME,
    PDMS,
    RATES,
    SCORE,
    arm_of,
    refuse_mixed,
)
from experiments.statistics import (
    CONSTANT_VELOCITY,
    AlignedScores,
    Cell,
    Run,
    TokenScores,
    align,
    load,
)
from launcher.errors import ConfigError, nearest
from launcher.studies import RunResult

PLANNER = "planner"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyScores:
    """All runs of a study on the same tokens, with what plans without looking.

    Attributes:
        scores: Of runs and controls.
        arms: What the study compares, in its order.
        controls: The ego status alone, and constant velocity; those that are there.
        results: Run -> what it returned and where it lies; of arms only.
    """

    scores: AlignedScores
    arms: tuple[str, ...]
    controls: tuple[str, ...]
    results: Mapping[Run, RunResult]

    @property
    def main_metric(self) -> str:
        """The PDM score where the runs have one, else the displacement error."""
        return PDMS if PDMS in self.scores.values else SCORE

    def cells(self, arm: str) -> list[Cell]:
        """An arm at its label fractions, ascending."""
        return [Cell(arm, fraction) for fraction in self.scores.fractions(arm)]

    def arm(self, name: str) -> str:
        """The arm or control that is meant by `name`, with or without its key.

        Raises:
            ConfigError: there is none.
        """
        known = [*self.arms, *self.controls]
        found = [arm for arm in known if name in (arm, arm.partition("=")[2])]
        found = found or [arm for arm in known if name.rpartition("=")[2] == arm]
        if len(found) == 1:
            return found[0]
        match = nearest(name, known)
        raise ConfigError(
            f"the study has no arm `{name}`; it has: {', '.join(known)}",
            hint=f"did you mean --against {match!r}?" if match else None,
        )


def scores_of(results: Sequence[RunResult]) -> StudyScores:
    """Read the scores of completed runs and put them side by side.

    Raises:
        LauncherError: runs were scored by two scorers or metric versions.
        DataError: there are no runs with scores; a table is missing, torn, incomplete or of another
            evaluation than the numbers in the record; tables differ in tokens, scorer or version.
    """
    if not results:
        raise DataError(
            "no run of the study has scores of a planner yet", hint="`launch status` shows the runs"
        )
    refuse_mixed(results)
    names = _short_names([arm_of(result) for result in results])
    runs = {_run(name, result): result for name, result in zip(names, results, strict=True)}
    if len(runs) < len(results):
        raise DataError(
            "two runs of the study have the same arm, label fraction and seed",
            hint="what tells them apart is in no override of theirs",
        )
    tables = [_table(result, PLANNER, run) for run, result in runs.items()]
    controls = _control_tables(runs)
    baseline = _baseline_table(runs)
    return StudyScores(
        scores=align([*tables, *controls, *baseline]),
        arms=tuple(dict.fromkeys(names)),
        controls=tuple(dict.fromkeys(table.run.arm for table in [*controls, *baseline])),
        results=runs,
    )


def _short_names(names: Sequence[str]) -> list[str]:
    """Without the key where all are told apart by the same one."""
    parts = [name.split("=") for name in names]
    if all(len(part) == 2 and part[0] == parts[0][0] and part[1] for part in parts):
        return [value for _, value in parts]
    return list(names)


def _run(name: str, result: RunResult) -> Run:
    config = result.config
    return Run(name, float(config.data.fraction), int(config.trainer.seed))


def _table(result: RunResult, planner: str, run: Run) -> TokenScores:
    path = result.run_dir / "scores" / f"{planner}.parquet"
    table = replace(load(path), run=run)
    prefix = "" if planner == PLANNER else f"{planner}/"
    expected = int(result.metrics["test_tokens"])
    if len(table.tokens) != expected:
        raise DataError(
            f"`{path}` has scores of {len(table.tokens)} of the {expected} scenes that run"
            f" `{result.name}` was scored on",
            hint="score the run again: a mean over some of the scenes would be another metric",
        )
    for name, values in table.metrics.items():
        recorded = result.metrics.get(prefix + RATES.get(name, name))
        mean = float(values.mean())
        if recorded is None or not math.isclose(mean, recorded, rel_tol=1e-9, abs_tol=1e-12):
            raise DataError(
                f"`{path}` has a mean `{name}` of {mean:.6g}, and the record of run"
                f" `{result.name}` says {recorded}: they are of two evaluations",
                hint="score the run again",
            )
    return table


def _control_tables(runs: Mapping[Run, RunResult]) -> list[TokenScores]:
    """The ego status alone, once for each fraction and seed; for each arm where they differ."""
    found: dict[Run, TokenScores] = {}
    by_arm: list[TokenScores] = []
    differ = False
    for run, result in runs.items():
        if f"{CONTROL}/{SCORE}" not in result.metrics:
            continue
        shared = run._replace(arm=CONTROL_NAME)
        table = _table(result, CONTROL, shared)
        by_arm.append(replace(table, run=run._replace(arm=f"{CONTROL_NAME} ({run.arm})")))
        first = found.setdefault(shared, table)
        differ |= not _is_same(first, table)
    return by_arm if differ else list(found.values())


def _baseline_table(runs: Mapping[Run, RunResult]) -> list[TokenScores]:
    """Constant velocity, which has learnt nothing from anything."""
    first: TokenScores | None = None
    for result in runs.values():
        table = _table(result, BASELINE, Run(CONSTANT_VELOCITY, 1.0, 0))
        first = first or table
        if not _is_same(first, table):
            raise DataError(
                f"constant velocity has other scores beside run `{result.name}` than beside"
                f" `{next(iter(runs.values())).name}`",
                hint="the runs were scored on different data, or by different code",
            )
    return [first] if first is not None else []


def _is_same(first: TokenScores, other: TokenScores) -> bool:
    """Whether two tables of a control say the same; unlike tokens are for `align` to refuse."""
    if first.tokens != other.tokens or set(first.metrics) != set(other.metrics):
        return True
    return all(
        np.allclose(values, other.metrics[name], rtol=0, atol=1e-6)
        for name, values in first.metrics.items()
    )
