from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.split import (
    drive_of,
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


@given(strata, seeds)
def test_order_does_not_depend_on_the_order_of_files(logs: dict[str, str], seed: int) -> None:
    backwards = dict(reversed(logs.items()))
    assert stratified_order(logs, seed) == stratified_order(backwards, seed)


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
