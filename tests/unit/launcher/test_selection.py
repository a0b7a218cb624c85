"""How somebody names runs, and what they are told when the words pick none."""

from __future__ import annotations

import pytest

from launcher.records import RunState
from launcher.selection import SelectionError, select, select_one
from launcher.states import RunStatus


def run(key: str, state: RunState = "new", job_id: str = "", **overrides: str) -> RunStatus:
    given = {name.replace("__", "."): value for name, value in overrides.items()}
    name = " ".join(f"{name.rpartition('.')[2]}={value}" for name, value in given.items())
    return RunStatus(key=key, name=name, state=state, job_id=job_id, overrides=given)


RUNS = [
    run("aaaa11112222", "completed", "10_0", backbone="ijepa", data__fraction="0.1"),
    run("aaab11112222", "completed", "10_1", backbone="ijepa", data__fraction="0.5"),
    run("bbbb11112222", "failed", "10_2", backbone="ijepa", data__fraction="1.0"),
    run("cccc11112222", "running", "10_3", backbone="transfuser", data__fraction="0.1"),
    run("dddd11112222", "running", "11_4", backbone="transfuser", data__fraction="0.5"),
    run("123411112222", "pending", "12", backbone="transfuser", data__fraction="1.0"),
]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("0", [0]),
        ("5", [5]),
        ("1-3", [1, 2, 3]),
        ("2-2", [2]),
        ("1,3-5", [1, 3, 4, 5]),
        ("5,0", [0, 5]),
        ("0 0-1 1", [0, 1]),
        ("dddd11112222", [4]),
        ("bbbb", [2]),
        ("aaaa", [0]),
        ("10_3", [3]),
        ("backbone=ijepa", [0, 1, 2]),
        ("data.fraction=0.5", [1, 4]),
        ("fraction=0.5", [1, 4]),
        ("fraction=0.*", [0, 1, 3, 4]),
        ("backbone=trans*", [3, 4, 5]),
        ("backbone=?jepa", [0, 1, 2]),
        ("fraction=0.[15] backbone=ijepa", [0, 1]),
        ("state=failed", [2]),
        ("state=run*", [3, 4]),
        ("state=completed fraction=0.1", [0]),
        ("0-4 state=running", [3, 4]),
        ("4 1 backbone=ijepa", [1]),
    ],
)
def test_words_pick_runs(words: str, expected: list[int]) -> None:
    assert select(RUNS, words.split()) == expected


def test_a_whole_name_picks_its_run_although_it_looks_like_a_filter() -> None:
    assert select(RUNS, ["backbone=ijepa fraction=0.5"]) == [1]
    alone = [run("k1", fraction="0.1"), run("k2", fraction="0.10")]
    assert select(alone, ["fraction=0.1"]) == [0]


def test_a_part_of_a_name_is_enough_where_only_one_run_has_it() -> None:
    named = [RunStatus(key="k1", name="warm start", state="new"), *RUNS]
    assert select(named, ["warm"]) == [0]


def test_a_comma_in_a_value_belongs_to_it() -> None:
    lists = [run("k1", hw="[1,2]"), run("k2", hw="[3,4]"), run("k3", other="1")]
    assert select(lists, ["hw=[[]3,4]"]) == [1]
    assert select(lists, ["hw=*2]", "hw=?1,*"]) == [0]


def test_filters_narrow_and_other_words_add_up_in_any_order() -> None:
    assert select(RUNS, ["0-2", "4"]) == [0, 1, 2, 4]
    assert select(RUNS, ["fraction=0.5", "0-2", "4"]) == [1, 4]
    assert select(RUNS, ["0-2", "fraction=0.5", "4", "backbone=ijepa"]) == [1]


def test_an_override_group_can_be_named_by_its_last_part() -> None:
    runs = [
        RunStatus(key="k1", name="a", state="new", overrides={"model/head": "mlp"}),
        RunStatus(key="k2", name="b", state="new", overrides={"model/head": "linear"}),
    ]
    assert select(runs, ["head=mlp"]) == [0]


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("6", "`6` is outside of the study's runs 0-5", "launch status"),
        ("3-9", "`3-9` is outside of the study's runs 0-5", "launch status"),
        ("3-1", "`3-1` is outside", "launch status"),
        ("0,9", "`9` is outside", "launch status"),
        ("backbone=ijepaa", "`backbone=ijepaa` matches no run", "ijepa, transfuser"),
        ("fraction=0.2", "`fraction=0.2` matches no run", "0.1, 0.5, 1.0"),
        ("bakbone=ijepa", "no run has an override `bakbone`", "did you mean `backbone`?"),
        ("zzz=1", "no run has an override `zzz`", "there are: backbone, data.fraction"),
        ("state=borken", "`state=borken` matches no run", "unknown"),
        ("state=cancelled", "`state=cancelled` matches no run", "completed, failed, cancelled"),
        ("backbone=ijepa state=running", "picked by all of: backbone=ijepa state=running", ""),
        ("0 state=running", "picked by all of: 0 state=running", ""),
        ("ffff", "no run is called `ffff`", "launch status"),
    ],
)
def test_words_that_pick_nothing_are_answered_with_what_is_legal(
    words: str, message: str, hint: str
) -> None:
    with pytest.raises(SelectionError) as raised:
        select(RUNS, words.split())
    assert message in raised.value.message
    assert hint in (raised.value.hint or "")


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    named = [RunStatus(key="k1", name="warm start", state="new")]
    with pytest.raises(SelectionError, match="did you mean `warm start`"):
        select(named, ["wrm strt"])


def test_a_prefix_of_several_keys_is_ambiguous_and_names_them() -> None:
    alike = [*RUNS, run("aaaa99992222", backbone="other")]
    with pytest.raises(SelectionError) as raised:
        select(alike, ["aaaa"])
    assert "`aaaa` is ambiguous" in raised.value.message
    assert "0 (backbone=ijepa fraction=0.1)" in str(raised.value)
    assert "6 (backbone=other)" in str(raised.value)


def test_a_part_of_several_names_is_ambiguous() -> None:
    with pytest.raises(SelectionError, match="`ijepa` is ambiguous"):
        select(RUNS, ["ijepa"])


def test_an_index_is_not_taken_for_the_prefix_of_a_key_but_a_long_number_may_be_one() -> None:
    assert select(RUNS, ["1234"]) == [5]
    with pytest.raises(SelectionError, match="outside"):
        select(RUNS, ["123"])


def test_one_run_is_picked_or_the_candidates_are_named() -> None:
    assert select_one(RUNS, ["fraction=1.0", "backbone=ijepa"]) == 2
    with pytest.raises(SelectionError) as raised:
        select_one(RUNS, ["fraction=1.0"])
    assert "`fraction=1.0` picks 2" in raised.value.message
    assert "2 (backbone=ijepa fraction=1.0), 5 (" in str(raised.value)
    with pytest.raises(SelectionError, match=r"`everything` picks 6(.|\n)*\.\.\."):
        select_one(RUNS, [])
