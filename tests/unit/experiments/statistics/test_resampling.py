"""Intervals hold the truth as often as they say, on data whose truth is known."""

import time
from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments.data.errors import DataError
from experiments.statistics import Bootstrap, compare, summarise
from experiments.statistics.resampling import Term, interval, log_means, p_value, resample, spread
from launcher.errors import ConfigError
from tests.unit.experiments.statistics.tables import A, B, simulated

FAST = Bootstrap(resamples=2000)
TRIALS = 250


def share_covered(of_a_mean: bool = False, shift: float = 0.3, **effects: Any) -> float:
    """Share of trials whose interval holds the true difference, or the true mean of A."""
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(TRIALS):
        scores = simulated(generator, shift=shift, **effects)
        if of_a_mean:
            found = summarise(scores, A, "pdms", FAST).interval
            assert found is not None
        else:
            found = compare(scores, A, B, "pdms", bootstrap=FAST).interval
        hits += found.low <= shift <= found.high
    return hits / TRIALS


@pytest.mark.parametrize(
    "effects",
    [
        {"between_logs": 1.0, "log_effect_of_a": 0.5},
        {"between_seeds": 0.5},
        {"between_seeds": 0.1, "log_effect_of_a": 0.3},
        {"between_seeds": 0.1, "seeds": 2},
        {"seeds": 1, "log_effect_of_a": 0.5},
        {"logs": 8, "log_effect_of_a": 0.5},
    ],
    ids=["logs", "seeds", "both", "two seeds", "one seed", "eight logs"],
)
def test_an_interval_of_a_difference_holds_the_truth_19_times_in_20(effects: Any) -> None:
    assert 0.90 <= share_covered(**effects) <= 0.99


@pytest.mark.parametrize(
    "effects",
    [{"between_logs": 1.0}, {"between_seeds": 0.5}, {"between_logs": 0.5, "between_seeds": 0.15}],
    ids=["logs", "seeds", "both"],
)
def test_an_interval_of_a_mean_holds_the_truth_19_times_in_20(effects: Any) -> None:
    assert 0.90 <= share_covered(of_a_mean=True, **effects) <= 0.99


@pytest.mark.parametrize(
    "effects",
    [{"seeds": 1}, {"seeds": 3}, {"seeds": 3, "between_seeds": 0.3, "log_effect_of_a": 0.3}],
    ids=["one seed", "three seeds", "all effects"],
)
def test_equal_arms_are_told_apart_one_time_in_20(effects: Any) -> None:
    generator = np.random.default_rng(2)
    trials = 300
    found = [
        compare(simulated(generator, **effects), A, B, "pdms", bootstrap=FAST).p
        for _ in range(trials)
    ]
    assert 0.02 <= np.mean(np.array(found) < 0.05) <= 0.08


def test_a_resample_of_three_seeds_by_replacement_would_not_hold_the_truth() -> None:
    """Why seeds are not drawn with replacement: the interval ends at the extreme seeds."""
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(TRIALS):
        means = generator.normal(size=3)
        drawn = generator.choice(means, (2000, 3)).mean(1)
        low, high = interval(drawn, FAST)
        hits += low <= 0 <= high
    assert hits / TRIALS < 0.82


def test_logs_that_hang_together_widen_the_interval() -> None:
    generator = np.random.default_rng(3)
    tokens_per_log, logs = 50, 40
    per_log = generator.normal(size=logs)
    values = np.repeat(per_log, tokens_per_log) + generator.normal(size=logs * tokens_per_log)
    by_log = values.reshape(logs, tokens_per_log).sum(1)[:, None]
    clustered = log_means(by_log, np.full(logs, float(tokens_per_log)), FAST)
    by_token = log_means(values[:, None], np.ones(len(values)), FAST)
    # With this correlation of 1/2 in a log, sqrt(1 + 49 / 2) = 5.0.
    assert 4 < clustered.std() / by_token.std() < 6


def test_tokens_that_do_not_hang_together_give_scipys_interval() -> None:
    values = np.random.default_rng(4).normal(size=300)
    ours = interval(log_means(values[:, None], np.ones(300), Bootstrap())[:, 0], Bootstrap())
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=0).confidence_interval
    width = theirs.high - theirs.low
    np.testing.assert_allclose(ours, theirs, atol=0.05 * width)


def test_logs_of_unlike_size_count_by_their_tokens() -> None:
    counts = np.tile([90.0, 10.0], 20)
    # Each token has 0.7, so each resample has, however many tokens it holds.
    np.testing.assert_allclose(log_means(0.7 * counts[:, None], counts, FAST), 0.7)
    large = np.where(counts == 90, counts, 0.0)[:, None]
    assert log_means(large, counts, FAST).mean() == pytest.approx(0.9, abs=0.01)


def test_the_part_of_the_spread_that_logs_explain_is_found() -> None:
    generator = np.random.default_rng(5)
    counts = generator.integers(5, 50, 400).astype(float)
    noise = generator.normal(size=(200, 400)) * counts
    alike = spread(noise, counts)
    assert alike.total == pytest.approx(alike.from_logs, rel=0.3)
    unlike = spread(noise + generator.normal(size=(200, 1)) * counts, counts)
    assert unlike.total - unlike.from_logs == pytest.approx(1.0, rel=0.3)


def test_the_same_seed_gives_the_same_bits_in_any_number_of_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(6)
    terms, counts = [Term(1.0, generator.normal(size=(3, 30)))], np.ones(30)
    first = resample(terms, counts, FAST)
    assert np.array_equal(first, resample(terms, counts, FAST))
    assert not np.array_equal(first, resample(terms, counts, Bootstrap(resamples=2000, seed=1)))
    monkeypatch.setattr("experiments.statistics.resampling._BLOCK_DRAWS", 3_000)
    np.testing.assert_allclose(first, resample(terms, counts, FAST), rtol=1e-12)


def test_navtest_takes_well_under_a_second() -> None:
    generator = np.random.default_rng(7)
    of_log = generator.integers(136, size=12_146)
    counts = np.bincount(of_log).astype(float)
    sums = np.array([np.bincount(of_log, generator.random(12_146)) for _ in range(3)])
    start = time.process_time()
    resample([Term(1.0, sums), Term(-1.0, sums[::-1])], counts, Bootstrap(resamples=10_000))
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("wrong", [{"resamples": 1999}, {"confidence": 1.0}, {"confidence": 95.0}])
def test_settings_that_cannot_work_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError):
        Bootstrap(**wrong)


def test_a_p_value_is_never_zero_and_never_above_one() -> None:
    assert p_value(np.ones(1999)) == pytest.approx(2 / 2000)
    assert p_value(np.zeros(2000)) == 1.0
    assert p_value(np.r_[-np.ones(50), np.ones(1950)]) == pytest.approx(2 * 51 / 2001)


def test_one_log_cannot_be_tested_and_has_no_interval_with_one_seed() -> None:
    one = simulated(np.random.default_rng(8), logs=1, seeds=1)
    with pytest.raises(DataError, match="are of one log"):
        compare(one, A, B, "pdms", bootstrap=FAST)
    found = summarise(one, A, "pdms", FAST)
    assert (found.interval, found.std) == (None, None)
    assert "no interval" in found.sentence()
    assert "does not cover other seeds; one log: the interval does not cover" in found.note
