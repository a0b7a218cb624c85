"""Only what was scored alike on the same tokens is compared."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from experiments.data.errors import DataError
from experiments.statistics import Bootstrap, Cell, Run, align, compare, sentence
from tests.unit.experiments.statistics.tables import A, B, reordered, table, without

OTHER = Run("B", 1.0, 0)


def test_tokens_in_another_order_are_matched_by_name() -> None:
    values = np.arange(8) / 8
    one = table(metrics={"pdms": values})
    other = reordered(table(OTHER, metrics={"pdms": values}), range(7, -1, -1))
    found = align([one, other]).values["pdms"]
    np.testing.assert_array_equal(found[0], found[1])


def test_other_tokens_are_refused_with_counts_and_three_names() -> None:
    fewer = without(table(OTHER), "t0001", "t0002", "t0003", "t0004")
    with pytest.raises(DataError) as caught:
        align([table(), fewer])
    message = caught.value.message
    assert "scores of 8 tokens" in message
    assert "of 4, 4 of which" in message
    assert message.endswith("t0001, t0002, t0003 and 1 more")


def test_an_intersection_is_made_on_request_and_said_with_the_result() -> None:
    scores = align([table(), without(table(OTHER), "t0001")], intersect=True)
    assert scores.tokens.tolist() == [f"t{i:04d}" for i in (0, 2, 3, 4, 5, 6, 7)]
    said = "on the 7 tokens that all 2 runs share, which have 7 to 8 each"
    assert said in sentence(compare(scores, A, B, "pdms", bootstrap=Bootstrap(resamples=2000)))


def test_an_intersection_of_nothing_is_refused() -> None:
    first, second = [f"t{i:04d}" for i in range(4)], [f"t{i:04d}" for i in range(4, 8)]
    with pytest.raises(DataError, match="share no token"):
        align([without(table(), *first), without(table(OTHER), *second)], intersect=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metric_version": "epdms-v2"}, "has metric_version `pdms-v1`.*has `epdms-v2`"),
        ({"scorer": "own@9999"}, "has scorer `own@1234`.*has `own@9999`"),
        ({"metrics": {"nc": np.ones(8)}}, "differ in metrics: nc, pdms"),
        ({"commands": ["right"] * 8}, "token `t0000` has commands `left`.*`right`"),
        ({"run": Run("A", 1.0, 0)}, "given twice"),
    ],
)
def test_what_was_not_scored_alike_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        align([table(), table(**{"run": OTHER} | changed)])


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(DataError, match="no scores"):
        align([])


def test_an_unknown_cell_or_metric_says_what_there_is() -> None:
    scores = align([table()])
    with pytest.raises(DataError) as caught:
        scores.of(Cell("A", 0.1), "pdms")
    assert caught.value.hint == "there are: A at 1"
    with pytest.raises(DataError, match="not scored by `ade_m`"):
        scores.of(A, "ade_m")


def test_seeds_come_in_their_order_whatever_the_order_of_the_tables() -> None:
    tables = [table(Run("A", 1.0, seed), metrics={"pdms": np.full(8, seed)}) for seed in (2, 0, 1)]
    scores = align(tables)
    assert scores.seeds(A) == (0, 1, 2)
    assert scores.of(A, "pdms")[:, 0].tolist() == [0, 1, 2]


def test_groups_hold_each_token_once() -> None:
    scores = align([table(), table(OTHER)])
    for by in ("city", "command"):
        groups = scores.groups(by)  # type: ignore[arg-type]
        assert [len(part.tokens) for part in groups.values()] == [4, 4]
    assert list(scores.groups("city")) == ["boston", "pittsburgh"]


def test_statistics_load_no_torch() -> None:
    code = "import experiments.statistics, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
