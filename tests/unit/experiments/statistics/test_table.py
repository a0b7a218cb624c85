"""Scores by token are complete, finite and say where they come from, or are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.data.errors import DataError
from experiments.statistics import Run, load, save
from tests.unit.experiments.statistics.tables import table, without


def test_scores_come_back_from_parquet_as_they_were(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 8) / 3
    scores = table(Run("vit, I-JEPA [frozen]", 0.25, 7), metrics={"pdms": values, "token": values})
    # Square brackets and stars are patterns to some readers.
    path = tmp_path / "a [1]*" / "scores.parquet"
    save(path, scores)
    found = load(path)
    assert (found.run, found.scorer, found.metric_version) == (
        scores.run, scores.scorer, scores.metric_version,
    )  # fmt: skip
    assert found.tokens == scores.tokens
    assert (found.logs, found.cities, found.commands) == (
        scores.logs, scores.cities, scores.commands,
    )  # fmt: skip
    assert list(found.metrics) == ["pdms", "token"]
    for name in found.metrics:
        np.testing.assert_array_equal(found.metrics[name], scores.metrics[name])


def test_a_torn_or_foreign_or_missing_file_is_named(tmp_path: Path) -> None:
    import polars as pl

    path = tmp_path / "scores.parquet"
    with pytest.raises(DataError, match="there are no scores"):
        load(path)
    save(path, table())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read as parquet"):
        load(path)
    pl.DataFrame({"a": [1]}).write_parquet(path)
    with pytest.raises(DataError, match="holds no scores by token"):
        load(path)
    pl.DataFrame({"a": [1]}).write_parquet(path, metadata={"token_scores": '{"schema_version": 2}'})
    with pytest.raises(DataError, match="schema version 2"):
        load(path)
    about = '{"schema_version": 1, "arm": "A", "fraction": 1, "seed": 0}'
    pl.DataFrame({"a": [1]}).write_parquet(path, metadata={"token_scores": about})
    with pytest.raises(DataError, match="token"):
        load(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metrics": {"pdms": [0.5] * 7 + [np.nan]}}, r"`pdms` is nan for token `t0007`"),
        ({"metrics": {"pdms": [np.inf] + [0.5] * 7}}, r"`pdms` is inf for token `t0000`"),
        ({"metrics": {"pdms": [0.5] * 7}}, r"shape \(7,\) for 8 tokens"),
        ({"metrics": {}}, "no metrics"),
        ({"tokens": ["t"] * 8}, "`t` twice"),
        ({"tokens": [], "logs": [], "cities": [], "commands": []}, "no tokens"),
        ({"logs": ["a"] * 7}, "7 logs for 8 tokens"),
        ({"logs": ["a"] * 8}, "lies in `boston` and in `pittsburgh`"),
        ({"commands": ["up"] * 8}, "unknown command `up`"),
        ({"cities": [""] * 8}, "city ``"),
        ({"scorer": ""}, "do not say their `scorer`"),
        ({"metric_version": ""}, "do not say their `metric_version`"),
        ({"run": Run("A", 0.0, 0)}, r"outside of \(0, 1\]"),
        ({"run": Run("", 1.0, 0)}, "do not say of which arm"),
    ],
)
def test_scores_that_cannot_be_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        table(**changed)


def test_scores_cannot_be_changed_afterwards() -> None:
    given = np.full(8, 0.5)
    scores = table(metrics={"pdms": given})
    given[0] = 9
    assert scores.metrics["pdms"][0] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        scores.metrics["pdms"][0] = 1


def test_incomplete_coverage_lists_the_failed_tokens() -> None:
    scores = table()
    scores.require_complete(scores.tokens)
    with pytest.raises(DataError, match=r"75.00 % of 8 tokens; 2 failed: t0001, t0005\n") as caught:
        without(scores, "t0001", "t0005").require_complete(scores.tokens)
    assert caught.value.hint


def test_one_failed_token_of_many_is_not_rounded_to_full_coverage() -> None:
    scores = table(num_logs=100, per_log=300)
    with pytest.raises(DataError, match=r"99.99 % of 30000 tokens; 1 failed: t0001"):
        without(scores, "t0001").require_complete(scores.tokens)


def test_tokens_that_nobody_asked_for_are_refused() -> None:
    with pytest.raises(DataError, match="scores of 2 tokens outside of the 6 expected ones"):
        table().require_complete(table(num_logs=3).tokens)
