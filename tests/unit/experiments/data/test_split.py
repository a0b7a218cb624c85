from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.split import (
    drive_of,
    label_fraction,
    split_logs,
    stratified_order,
    tokens_sha256,
)
from launcher.errors import ConfigError

seeds = st.integers(0, 2**31)
strata = st.dictionaries(
    st.integers(0, 10**6).map(lambda n: f"log-{n:07d}"),
    st.sampled_from("abc"),
    min_size=1,
    max_size=60,
)
fractions = st.floats(0.001, 1.0)


@given(strata, fractions, fractions, seeds)
def test_smaller_fractions_lie_within_larger_ones(
    logs: dict[str, str], one: float, other: float, seed: int
) -> None:
    low, high = sorted((one, other))
    small, large = label_fraction(logs, low, seed), label_fraction(logs, high, seed)
    assert set(small) <= set(large) <= set(logs)
    assert small


@given(strata, seeds)
def test_all_labels_are_all_logs(logs: dict[str, str], seed: int) -> None:
    assert label_fraction(logs, 1.0, seed) == tuple(sorted(logs))


@given(strata, seeds)
def test_order_does_not_depend_on_the_order_of_files(logs: dict[str, str], seed: int) -> None:
    backwards = dict(reversed(logs.items()))
    assert stratified_order(logs, seed) == stratified_order(backwards, seed)


@pytest.mark.parametrize(
    ("count", "fraction", "expected"), [(30, 0.1, 3), (39, 0.1, 4), (5, 0.01, 1)]
)
def test_fractions_round_up_to_whole_logs(count: int, fraction: float, expected: int) -> None:
    logs = {f"log-{n}": "a" for n in range(count)}
    assert len(label_fraction(logs, fraction, 0)) == expected


def test_subset_seed_draws_another_subset() -> None:
    logs = {f"log-{n}": "a" for n in range(40)}
    assert label_fraction(logs, 0.25, 0) != label_fraction(logs, 0.25, 1)


def test_every_prefix_mixes_the_strata() -> None:
    logs = {f"log-{n:02d}": "rare" if n < 10 else "common" for n in range(40)}
    chosen = label_fraction(logs, 0.2, 0)
    assert sum(logs[name] == "rare" for name in chosen) == 2


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"data\.fraction"):
        label_fraction({"log": "a"}, fraction, 0)


def test_a_fraction_of_no_logs_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 training logs"):
        label_fraction({}, 0.5, 0)


@given(st.integers(3, 80), seeds, st.floats(0.0, 0.3), st.floats(0.0, 0.3))
def test_parts_are_disjoint_and_complete(count: int, seed: int, val: float, test: float) -> None:
    logs = {f"log-{n}": "abc"[n % 3] for n in range(count)}
    split = split_logs(logs, seed=seed, val_share=val, test_share=test)
    parts = [set(split.train), set(split.val), set(split.test)]
    assert set.union(*parts) == set(logs)
    assert sum(len(part) for part in parts) == count
    assert split.train


def test_chunks_of_one_drive_stay_together() -> None:
    logs = {
        f"2021.05.12_veh-{d}_{n:05d}_{n + 99:05d}": "a"
        for d in range(9)
        for n in range(0, 300, 100)
    }
    split = split_logs(logs, seed=0, val_share=0.2, test_share=0.3)
    drives = [{drive_of(name) for name in part} for part in (split.train, split.val, split.test)]
    assert len(set.union(*drives)) == 9
    assert [len(part) for part in drives] == [4, 2, 3]


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (0.1, 0.95)])
def test_shares_that_leave_nothing_to_learn_from_are_refused(val: float, test: float) -> None:
    with pytest.raises(ConfigError, match=r"leave none of 4 drives"):
        split_logs({f"log-{n}": "a" for n in range(4)}, seed=0, val_share=val, test_share=test)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"data\.val_share"):
        split_logs({"log": "a"}, seed=0, val_share=share, test_share=0.1)


def test_the_sum_over_tokens_ignores_their_order() -> None:
    assert tokens_sha256(["b", "a"]) == tokens_sha256(["a", "b"]) != tokens_sha256(["a"])
