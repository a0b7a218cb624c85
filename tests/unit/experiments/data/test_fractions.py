from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.fractions import balanced_order, label_fraction
from launcher.errors import ConfigError

seeds = st.integers(0, 2**31)
strata = st.dictionaries(
    st.integers(0, 10**6).map(lambda n: f"log-{n:07d}"),
    st.tuples(
        st.sampled_from(["north", "south", "west"]), st.sampled_from(["left", "straight"])
    ).map("/".join),
    min_size=1,
    max_size=60,
)
fractions = st.floats(0.001, 1.0)


def chosen(logs: dict[str, str], fraction: float, seed: int = 0) -> tuple[str, ...]:
    return label_fraction(logs, fraction, seed, allow_empty=True).names


def city(stratum: str) -> str:
    return stratum.split("/")[0]


@given(strata, fractions, fractions, seeds)
def test_smaller_fractions_lie_within_larger_ones(
    logs: dict[str, str], one: float, other: float, seed: int
) -> None:
    low, high = sorted((one, other))
    small, large = chosen(logs, low, seed), chosen(logs, high, seed)
    assert set(small) <= set(large) <= set(logs)
    assert small


@given(strata, seeds)
def test_all_labels_are_all_logs_whatever_the_seed(logs: dict[str, str], seed: int) -> None:
    assert label_fraction(logs, 1.0, seed).names == tuple(sorted(logs))


@given(strata, fractions, seeds)
def test_a_subset_does_not_depend_on_the_order_of_files(
    logs: dict[str, str], fraction: float, seed: int
) -> None:
    backwards = dict(reversed(logs.items()))
    assert chosen(logs, fraction, seed) == chosen(backwards, fraction, seed)


@given(strata, seeds)
def test_every_prefix_has_its_share_of_every_city(logs: dict[str, str], seed: int) -> None:
    order = balanced_order(logs, seed)
    assert sorted(order) == sorted(logs)
    sizes, taken = Counter(map(city, logs.values())), Counter[str]()
    for num, name in enumerate(order, start=1):
        taken[city(logs[name])] += 1
        for place, size in sizes.items():
            # Largest deficit first keeps three cities within this much of their quota.
            assert abs(taken[place] - size * num / len(logs)) < len(sizes)


def test_another_subset_seed_draws_another_subset() -> None:
    logs = {f"log-{n}": "a/straight" for n in range(40)}
    assert chosen(logs, 0.25, 0) != chosen(logs, 0.25, 1)


def test_a_log_more_leaves_the_draw_of_the_others_alone() -> None:
    logs = {f"log-{n}": "a/straight" for n in range(40)}
    order = balanced_order(logs, 0)
    more = balanced_order({**logs, "log-40": "a/straight"}, 0)
    assert [name for name in more if name != "log-40"] == order


@pytest.mark.parametrize(
    ("count", "fraction", "expected"), [(30, 0.1, 3), (39, 0.1, 4), (5, 0.01, 1)]
)
def test_fractions_round_up_to_whole_logs(count: int, fraction: float, expected: int) -> None:
    logs = {f"log-{n}": "a/straight" for n in range(count)}
    assert len(chosen(logs, fraction)) == expected


def test_cities_and_commands_keep_their_shares() -> None:
    logs = {
        f"log-{n:03d}": f"{'abcd'[n % 4]}/{'left' if n % 3 == 0 else 'straight'}"
        for n in range(240)
    }
    part = [logs[name] for name in chosen(logs, 0.1)]
    assert Counter(map(city, part)) == {"a": 6, "b": 6, "c": 6, "d": 6}
    assert sum(stratum.endswith("left") for stratum in part) == 8


def test_seven_of_65_logs_of_six_cities_run_as_they_are() -> None:
    logs = {
        f"log-{n:02d}": f"{'abcdef'[n % 6]}/{('left', 'right', *['straight'] * 5)[n % 7]}"
        for n in range(65)
    }
    for seed in range(20):
        part = label_fraction(logs, 0.1, seed)
        assert len({city(logs[name]) for name in part.names}) == 6
        assert part.empty


def test_a_city_that_would_vanish_is_refused_with_the_smallest_legal_fraction() -> None:
    logs = {f"log-{n}": f"{'rare' if n == 7 else 'common'}/straight" for n in range(20)}
    with pytest.raises(
        ConfigError, match=r"takes 2 of 20 training logs and leaves none in `rare`"
    ) as caught:
        label_fraction(logs, 0.1, 0)
    assert "data.allow_empty_strata=true" in str(caught.value)
    least = float(str(caught.value).split("data.fraction=")[2].split(";")[0])
    assert "log-7" in label_fraction(logs, least, 0).names
    with pytest.raises(ConfigError, match="leaves none"):
        label_fraction(logs, least - 1 / len(logs), 0)


@pytest.mark.parametrize(
    ("count", "digits"), [(1, 3), (20, 3), (64, 3), (998, 3), (1000, 4), (20000, 5)]
)
def test_the_fraction_that_is_named_is_legal_and_one_digit_less_is_not(
    count: int, digits: int
) -> None:
    logs = {f"log-{n}": f"{'rare' if n == 7 else 'common'}/straight" for n in range(count)}
    logs["far"] = "far/straight"
    with pytest.raises(ConfigError, match="smallest") as caught:
        label_fraction(logs, 1e-9, 0)
    least = float(str(caught.value).split("data.fraction=")[2].split(";")[0])
    assert least == round(least, digits)
    label_fraction(logs, least, 0)
    with pytest.raises(ConfigError, match=r"leaves none|not at least one"):
        label_fraction(logs, least - 10**-digits, 0)


def test_what_is_accepted_empty_is_reported() -> None:
    logs = {f"log-{n}": f"{'rare' if n == 7 else 'common'}/straight" for n in range(20)}
    assert label_fraction(logs, 0.1, 0, allow_empty=True).empty == ("rare/straight",)
    assert label_fraction(logs, 1.0, 0).empty == ()


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"data\.fraction"):
        label_fraction({"log": "a/straight"}, fraction, 0)


def test_a_fraction_of_no_logs_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 training drives"):
        label_fraction({}, 0.5, 0, unit="drive")
