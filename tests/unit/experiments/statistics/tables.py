"""Scores made up with a known truth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from experiments.statistics import AlignedScores, Cell, Run, TokenScores, align

CITIES = ("boston", "pittsburgh")
COMMANDS = ("left", "straight")
A, B = Cell("A", 1.0), Cell("B", 1.0)
RUN = Run("A", 1.0, 0)


def table(run: Run = RUN, *, num_logs: int = 4, per_log: int = 2, **changed: Any) -> TokenScores:
    """Scores of `num_logs` logs of `per_log` tokens each, PDMS 0.5 unless changed."""
    num = num_logs * per_log
    of_log = np.repeat(np.arange(num_logs), per_log)
    values: dict[str, Any] = {
        "run": run,
        "scorer": "own@1234",
        "metric_version": "pdms-v1",
        "tokens": [f"t{i:04d}" for i in range(num)],
        "logs": [f"log{i:03d}" for i in of_log],
        "cities": [CITIES[i % 2] for i in of_log],
        "commands": [COMMANDS[i % 2] for i in range(num)],
        "metrics": {"pdms": np.full(num, 0.5)},
    }
    return TokenScores(**values | changed)


def without(scores: TokenScores, *dropped: str) -> TokenScores:
    """The same scores with some tokens missing."""
    kept = [i for i, token in enumerate(scores.tokens) if token not in dropped]
    return reordered(scores, kept)


def reordered(scores: TokenScores, rows: Sequence[int]) -> TokenScores:
    """Rows of the scores in another order."""
    take = list(rows)
    return TokenScores(
        run=scores.run,
        scorer=scores.scorer,
        metric_version=scores.metric_version,
        tokens=tuple(scores.tokens[i] for i in take),
        logs=tuple(scores.logs[i] for i in take),
        cities=tuple(scores.cities[i] for i in take),
        commands=tuple(scores.commands[i] for i in take),
        metrics={name: values[take] for name, values in scores.metrics.items()},
    )


def cells(
    values: Mapping[Cell, ArrayLike], *, per_log: int = 1, metric: str = "pdms"
) -> AlignedScores:
    """Cells with these (S, N) values, seed by seed, on logs of `per_log` tokens."""
    tables = []
    for cell, rows in values.items():
        for seed, row in enumerate(np.asarray(rows, np.float64)):
            logs = len(row) // per_log
            run = Run(*cell, seed)
            tables.append(table(run, num_logs=logs, per_log=per_log, metrics={metric: row}))
    return align(tables)


def simulated(
    generator: np.random.Generator,
    *,
    logs: int = 60,
    seeds: int = 3,
    shift: float = 0.0,
    between_logs: float = 0.0,
    between_seeds: float = 0.0,
    per_token: float = 1.0,
    log_effect_of_a: float = 0.0,
) -> AlignedScores:
    """Runs of two arms on logs of 2 to 8 tokens, with normal effects of these deviations.

    Scores of A are `shift` above those of B; `log_effect_of_a` is how much A's advantage varies
    from log to log; `per_token` is noise of each run on each token.
    """
    sizes = generator.integers(2, 9, logs)
    of_log = np.repeat(np.arange(logs), sizes)
    hard = generator.normal(0, between_logs, logs)[of_log]
    gain = shift + generator.normal(0, log_effect_of_a, logs)[of_log]
    runs = [Run(arm, 1.0, seed) for arm in "AB" for seed in range(seeds)]
    values = np.array(
        [
            hard
            + (gain if run.arm == "A" else 0.0)
            + generator.normal(0, between_seeds)
            + generator.normal(0, per_token, len(of_log))
            for run in runs
        ]
    )
    names = np.array([f"log{i:03d}" for i in of_log])
    return AlignedScores(
        runs=tuple(runs),
        scorer="own@1234",
        metric_version="pdms-v1",
        tokens=np.array([f"t{i}" for i in range(len(of_log))]),
        logs=names,
        cities=np.full(len(of_log), CITIES[0]),
        commands=np.full(len(of_log), COMMANDS[0]),
        values={"pdms": values},
    )
