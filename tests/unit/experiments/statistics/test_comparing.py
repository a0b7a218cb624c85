"""Differences are signed, tested as a family, and told in words that claim no more."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.data.errors import DataError
from experiments.statistics import (
    AlignedScores,
    Bootstrap,
    Cell,
    Comparison,
    Interval,
    as_family,
    compare,
    compare_family,
    compare_groups,
    holm,
    probability_of_improvement,
    sentence,
    summarise,
)
from experiments.statistics.sentences import p_text
from launcher.errors import ConfigError
from tests.unit.experiments.statistics.tables import A, B, cells, simulated

FAST = Bootstrap(resamples=2000)
C = Cell("C", 1.0)
FOUND = Comparison(
    a=A,
    b=B,
    metric="pdms",
    difference=0.012,
    interval=Interval(0.004, 0.02),
    confidence=0.95,
    p=0.0017,
    p_adjusted=0.01,
    family=6,
    num_seeds=(3, 3),
    num_logs=136,
    num_tokens=12_146,
)


@pytest.fixture(scope="module")
def scores() -> AlignedScores:
    return simulated(np.random.default_rng(0), shift=0.5, log_effect_of_a=0.2, logs=60)


def test_holm_gives_the_values_worked_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 is 0.02, 0.03, 0.06, 0.04; none may fall.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, 0.6]), [1.0, 1.0])
    np.testing.assert_allclose(holm([0.02, 0.02, 0.02]), [0.06, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.03]), [0.03])


def test_a_difference_turns_with_the_order_of_the_arms(scores: AlignedScores) -> None:
    forth = compare(scores, A, B, "pdms", bootstrap=FAST)
    back = compare(scores, B, A, "pdms", bootstrap=FAST)
    values = scores.of(A, "pdms").mean() - scores.of(B, "pdms").mean()
    assert forth.difference == pytest.approx(values)
    assert back.difference == pytest.approx(-forth.difference)
    assert forth.a_is_better
    assert not back.a_is_better
    assert forth.interval.low < forth.difference < forth.interval.high
    # Seeds are drawn anew for the other order, so the ends agree but for noise.
    width = forth.interval.high - forth.interval.low
    np.testing.assert_allclose(back.interval[::-1], -np.array(forth.interval), atol=0.1 * width)


def test_runs_that_scored_the_same_cannot_be_told_apart() -> None:
    values = np.random.default_rng(0).random((1, 40))
    found = compare(cells({A: values, B: values}), A, B, "pdms", bootstrap=FAST)
    assert (found.difference, found.p, found.interval) == (0.0, 1.0, (0.0, 0.0))
    assert "cannot be told apart" in sentence(found)


def test_tokens_are_paired() -> None:
    """Scenes differ a lot, arms by little on each: unpaired, that would not be seen."""
    hard = np.random.default_rng(0).random(200)
    found = compare(cells({A: [hard + 0.01], B: [hard]}), A, B, "pdms", bootstrap=FAST)
    assert found.p < 0.01
    assert found.interval == pytest.approx((0.01, 0.01))


def test_paired_seeds_take_out_what_seeds_share() -> None:
    generator = np.random.default_rng(0)
    luck = np.array([[0.0], [0.5], [1.0], [1.5]])
    ours = luck + generator.normal(0, 0.02, (4, 60)) + 0.1
    theirs = luck + generator.normal(0, 0.02, (4, 60))
    scores = cells({A: ours, B: theirs})
    paired = compare(scores, A, B, "pdms", bootstrap=FAST, seeds="paired")
    crossed = compare(scores, A, B, "pdms", bootstrap=FAST, seeds="crossed")
    assert paired.is_distinguishable
    assert not crossed.is_distinguishable


def test_seeds_that_are_not_the_same_cannot_be_paired() -> None:
    scores = cells({A: np.ones((3, 8)), B: np.ones((2, 8))})
    with pytest.raises(DataError, match=r"`A` has \(0, 1, 2\), `B` has \(0, 1\)"):
        compare(scores, A, B, "pdms", bootstrap=FAST, seeds="paired")


def test_a_family_is_all_pairs_by_all_metrics() -> None:
    generator = np.random.default_rng(0)
    scores = cells({cell: generator.random((2, 40)) for cell in (A, B, C)})
    scores = replace(scores, values={**scores.values, "nc": scores.values["pdms"] ** 2})
    found = compare_family(scores, [(A, C), (B, C)], ["pdms", "nc"], bootstrap=FAST)
    assert [(one.a.arm, one.metric) for one in found] == [
        ("A", "pdms"), ("A", "nc"), ("B", "pdms"), ("B", "nc"),
    ]  # fmt: skip
    assert {one.family for one in found} == {4}
    np.testing.assert_allclose([one.p_adjusted for one in found], holm([one.p for one in found]))
    with pytest.raises(DataError, match="nothing to compare"):
        as_family([])


def test_groups_are_compared_by_themselves_and_single_logs_are_named() -> None:
    generator = np.random.default_rng(0)
    scores = cells({A: generator.random((2, 40)) + 0.4, B: generator.random((2, 40))}, per_log=4)
    found, single = compare_groups(scores, A, B, "pdms", "city", bootstrap=FAST)
    assert [(one.group, one.num_logs, one.num_tokens) for one in found] == [
        ("boston", 5, 20),
        ("pittsburgh", 5, 20),
    ]
    assert single == ()
    whole = compare(scores, A, B, "pdms", bootstrap=FAST).difference
    assert np.mean([one.difference for one in found]) == pytest.approx(whole)
    assert " at `boston`" in sentence(found[0])
    assert "only 5 logs: the interval is rough" in sentence(found[0])
    lonely = replace(scores, cities=np.where(scores.logs == "log000", "vegas", "boston"))
    found, single = compare_groups(lonely, A, B, "pdms", "city", bootstrap=FAST)
    assert ([one.group for one in found], single) == (["boston"], ("vegas",))


def test_a_cell_is_not_compared_with_itself_or_by_an_unknown_metric(scores: AlignedScores) -> None:
    with pytest.raises(DataError, match="with itself"):
        compare(scores, A, A, "pdms")
    with pytest.raises(ConfigError, match="nothing is known of a metric `pdmss`") as caught:
        compare(scores, A, B, "pdmss")
    assert caught.value.hint == "did you mean pdms?"


def test_sentences_say_who_is_better_by_how_much() -> None:
    assert sentence(FOUND) == (
        "A is better than B by 1.2 points of PDMS (95 % interval 0.4 to 2.0, p = 0.010 after Holm"
        " over 6 comparisons, 3 seeds, 136 logs)"
    )
    worse = replace(FOUND, difference=-0.012, interval=Interval(-0.02, -0.004))
    assert sentence(worse).startswith(
        "A is worse than B by 1.2 points of PDMS (95 % interval 0.4 to 2.0,"
    )
    error = replace(worse, metric="ade_m", difference=-0.12, interval=Interval(-0.2, -0.04))
    assert sentence(error).startswith(
        "A is better than B by 0.12 m of ADE (95 % interval 0.04 to 0.20,"
    )


def test_what_holm_takes_away_is_not_claimed() -> None:
    found = replace(FOUND, p_adjusted=0.08, num_seeds=(1, 3), note="some have one seed")
    assert sentence(found) == (
        "A and B cannot be told apart in PDMS: difference +1.2 points (95 % interval 0.4 to 2.0,"
        " p = 0.080 after Holm over 6 comparisons, 1 and 3 seeds, 136 logs); some have one seed"
    )


def test_fractions_are_told_where_they_differ() -> None:
    found = replace(FOUND, a=Cell("A", 0.1), family=1)
    assert sentence(found).startswith("A at 10 % of the labels is better than B at 100 % of the")
    assert "after Holm" not in sentence(found)


def test_p_values_are_told_to_what_they_resolve() -> None:
    assert [p_text(p) for p in (0.0002, 0.0123, 0.0499, 0.5, 1.0)] == [
        "p < 0.001", "p = 0.012", "p = 0.050", "p = 0.50", "p = 1.00",
    ]  # fmt: skip


def test_one_seed_is_said_with_the_interval() -> None:
    one = simulated(np.random.default_rng(0), seeds=1)
    assert sentence(compare(one, A, B, "pdms", bootstrap=FAST)).endswith(
        "1 seed, 60 logs); one seed: the interval does not cover other seeds"
    )


def test_a_summary_has_all_points_and_the_sample_deviation() -> None:
    scores = cells({A: np.array([[0.7] * 8, [0.8] * 8, [0.9] * 8])})
    found = summarise(scores, A, "pdms", FAST)
    assert (found.mean, found.std) == (pytest.approx(0.8), pytest.approx(0.1))
    assert found.seeds == pytest.approx({0: 0.7, 1: 0.8, 2: 0.9})
    assert found.interval is not None
    # Student's t of 2 degrees of freedom: 4.30 times 0.1 / sqrt 3.
    np.testing.assert_allclose(found.interval, [0.8 - 0.248, 0.8 + 0.248], atol=0.03)
    assert "A at 100 % of the labels has PDMS 80.0 +- 10.0 points" in found.sentence()


def test_a_probability_of_improvement_is_worked_by_hand() -> None:
    # Logs of one token. Runs: A beats B in 3 of 4 pairs; on logs in 4/4, 4/4, 0 with ties 1/2.
    scores = cells({
        A: [[1.0, 1.0, 0.5, 0.5], [1.0, 1.0, 0.5, -9.0]],
        B: [[0.5, 0.5, 0.5, 1.0], [0.0, 0.0, 0.5, -1.0]],
    })  # fmt: skip
    found = probability_of_improvement(scores, A, B, "pdms", FAST)
    assert found.over_runs == 0.5
    assert found.over_logs == pytest.approx((1 + 1 + 0.5 + 0.25) / 4)
    assert 0 <= found.interval.low < found.over_logs < found.interval.high <= 1
    error = replace(scores, values={"ade_m": scores.values["pdms"]})
    lower = probability_of_improvement(error, A, B, "ade_m", FAST)
    assert lower.over_logs == pytest.approx(1 - found.over_logs)
