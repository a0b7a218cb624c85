"""Where a run should go: the table that our user made by hand, and what forbids a place."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from launcher import ui
from launcher.errors import ConfigError, SubmissionError
from launcher.planning.choosing import Chooser
from launcher.planning.comparing import Comparer, Comparison
from launcher.planning.options import Option
from launcher.planning.questions import Question
from launcher.records import PhaseUse
from launcher.settings import ResourcesConfig
from launcher.ui import options as ui_options
from tests.unit.launcher.sites import HOUR_S, measured, question, site, slurm

FREE_AND_FULL = {"h200:1x1": 0, "h200": 6.5 * HOUR_S, "l40s_public": 0}


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One H200 is free, whole nodes of them are in 6.5 h, L40S are free."""
    folder = slurm(tmp_path / "bin", FREE_AND_FULL)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def compare(asked: Question, *, compares: bool = True) -> Comparison:
    return Comparer().compare(asked, ["run"], compares=compares)


def shapes(comparison: Comparison) -> dict[str, Option]:
    return {ui_options.shape_text(option.candidate): option for option in comparison.options}


def test_the_users_table_comes_out_with_what_one_gpu_and_sixteen_were_measured_to_do(
    answers: Path, tmp_path: Path
) -> None:
    asked = question(tmp_path)
    measured(asked, "h200", "h200", 1, 2 * HOUR_S)
    measured(asked, "l40s_public", "l40s", 16, 22 * 60)
    comparison = compare(asked)
    found = shapes(comparison)
    one, sixteen, node = found["1 x 1 h200"], found["4 x 4 l40s"], found["1 x 8 h200"]
    assert one.finish_s == pytest.approx(80 * HOUR_S, rel=0.01)
    assert sixteen.finish_s == pytest.approx(14.7 * HOUR_S, rel=0.01)
    assert node.wait_s == pytest.approx(6.5 * HOUR_S, abs=5)
    # 16 L40S did 5.45 times one H200, which are 6.27 of 16: 79 % per doubling.
    assert node.total_s == pytest.approx(80 * HOUR_S / 8**0.662, rel=0.01)
    assert comparison.chosen is sixteen
    assert sixteen.verdict == "earliest finish"
    assert sixteen.gpu_hours == pytest.approx(235, rel=0.01)
    # 80 h are more than the two days that were asked for.
    assert one.lives == 2
    assert one.verdict.endswith("later; takes 2 jobs")


def test_from_one_gpu_alone_the_order_of_the_users_options_is_theirs(
    answers: Path, tmp_path: Path
) -> None:
    asked = question(tmp_path)
    measured(asked, "h200", "h200", 1, 2 * HOUR_S)
    found = shapes(compare(asked))
    names = ["4 x 4 l40s", "2 x 4 l40s", "1 x 8 h200", "1 x 4 l40s", "1 x 1 h200"]
    finishes = [found[name].finish_s for name in names]
    assert finishes == sorted(finishes, key=lambda s: s or 0.0)
    pace = found["4 x 4 l40s"].pace
    assert pace is not None
    assert pace.basis == (
        "scaled from 1 x h200, 90% per doubling assumed, l40s at 0.87 of h200 by the profile"
    )


def test_fewest_gpu_hours_take_the_one_gpu_that_is_fast(answers: Path, tmp_path: Path) -> None:
    asked = question(tmp_path, site(objective="gpu_hours"))
    measured(asked, "h200", "h200", 1, 2 * HOUR_S)
    chosen = compare(asked).chosen
    assert chosen is not None
    assert ui_options.shape_text(chosen.candidate) == "1 x 1 h200"
    assert chosen.verdict.startswith("fewest GPU-hours")


def test_a_full_partition_of_faster_gpus_loses_by_its_queue_and_wins_without(
    answers: Path, tmp_path: Path
) -> None:
    asked = question(tmp_path, resources=ResourcesConfig(gpus=8, timeout_min=2880))
    measured(asked, "h200", "h200", 1, 2 * HOUR_S)
    full = compare(asked, compares=False)
    assert [option.partition for option in full.options] == ["l40s_public", "h200"]
    slurm(answers, {"h200": 0, "l40s_public": 0})
    free = compare(asked, compares=False)
    assert [option.partition for option in free.options] == ["h200", "l40s_public"]


def test_without_measurements_the_earliest_start_of_what_is_asked_is_taken_and_said(
    answers: Path, tmp_path: Path
) -> None:
    comparison = compare(question(tmp_path, resources=ResourcesConfig(gpus=8, timeout_min=2880)))
    chosen = comparison.chosen
    assert chosen is not None
    assert (chosen.partition, chosen.gpus) == ("l40s_public", 8)
    assert chosen.verdict == "earliest start; not measured"
    assert chosen.finish_s is None


@pytest.mark.parametrize("is_measured", [True, False])
def test_of_equal_places_the_one_that_nobody_interrupts_is_taken(
    answers: Path, tmp_path: Path, *, is_measured: bool
) -> None:
    cluster = site()
    spare = replace(cluster.partitions["l40s_public"], is_preemptible=True)
    cluster.partitions = {"spare": spare, **cluster.partitions}
    slurm(answers, {"spare": 0, "l40s_public": 0, "h200": 9 * HOUR_S})
    asked = question(tmp_path, cluster, ResourcesConfig(gpus=16, timeout_min=2880))
    if is_measured:
        measured(asked, "l40s_public", "l40s", 16, 22 * 60)
    found = {o.partition: o for o in compare(asked, compares=False).options}
    assert found["l40s_public"].is_chosen
    assert found["spare"].verdict.endswith("can be preempted")


def test_each_place_that_is_none_says_why_and_is_never_chosen(
    answers: Path, tmp_path: Path
) -> None:
    cluster = site(account="mine")
    cluster.partitions["h200"].accounts = ["theirs"]
    cluster.partitions["l40s_public"].max_nodes = 2
    asked = question(tmp_path, cluster, plan_gpus=[3, 6, 8, 32])
    problems = {(o.partition, o.gpus): o.problem for o in compare(asked).options}
    assert problems["h200", 8] == "account mine is not let in, but theirs"
    assert problems["l40s_public", 32] == "does not fit: takes 8 nodes, a job may have 2"
    assert "effective batch of 352 does not divide over 3" in problems["l40s_public", 3]
    assert "does not fill nodes of 4 GPUs evenly" in problems["l40s_public", 6]
    assert problems["l40s_public", 8] == ""


def test_a_time_limit_above_that_of_the_partition_is_no_option(
    answers: Path, tmp_path: Path
) -> None:
    asked = question(tmp_path, resources=ResourcesConfig(gpus=8, timeout_min=4000))
    found = {option.partition: option for option in compare(asked, compares=False).options}
    assert found["l40s_public"].problem == "over max time: asks 66.67 h, at most 48 h"
    assert found["h200"].is_chosen


def test_what_slurm_refuses_is_not_chosen(answers: Path, tmp_path: Path) -> None:
    slurm(answers, {"h200": 0, "l40s_public": "allocation failure: Invalid qos specification"})
    comparison = compare(question(tmp_path, resources=ResourcesConfig(gpus=4)), compares=False)
    found = {option.partition: option for option in comparison.options}
    assert found["l40s_public"].problem == "SLURM refuses it: Invalid qos specification"
    assert found["h200"].is_chosen


def test_a_place_whose_memory_is_too_small_is_not_chosen(answers: Path, tmp_path: Path) -> None:
    slurm(answers, {"h200": 6 * HOUR_S, "l40s_public": 0})
    cluster = site()
    cluster.partitions["h200"].mem_gb_per_node = 2000
    cluster.partitions["l40s_public"].mem_gb_per_node = 60
    asked = question(tmp_path, cluster, ResourcesConfig(gpus=4, timeout_min=2880))
    took = PhaseUse(phase="train", seconds=60, looks=100, node_gb=31.0, rank_gb=30.0)
    measured(asked, "h200", "h200", 1, 2 * HOUR_S, phases=[took])
    found = {option.partition: option for option in compare(asked, compares=False).options}
    small, large = found["l40s_public"], found["h200"]
    assert re.fullmatch(r"does not fit: a node needs \d+ GB, has 60 GB", small.problem)
    # It would have been done first.
    assert (small.finish_s or 0) < (large.finish_s or 0)
    assert large.is_chosen
    assert large.memory.headroom_gb == pytest.approx(1000 - (large.memory.peak_gb or 0))


def test_equal_scripts_are_asked_about_once(answers: Path, tmp_path: Path) -> None:
    asked = question(tmp_path, resources=ResourcesConfig(gpus=4))
    comparer = Comparer()
    for _ in range(3):
        comparer.compare(asked, ["run"], compares=False)
    assert len((answers / "asked").read_text().splitlines()) == 2


def test_a_choice_is_a_whole_shape_and_is_said_once(
    answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = question(tmp_path)
    measured(asked, "h200", "h200", 1, 2 * HOUR_S)
    asked.config.hydra.launcher.profiles_dir = str(tmp_path / "elsewhere")
    chooser = Chooser()
    asked.config.hydra.launcher.resources.gpus = 8
    for _ in range(2):
        choice = chooser(asked.config)
        assert (choice.partition, choice.nodes, choice.gpus_per_node) == ("l40s_public", 2, 4)
    assert capsys.readouterr().err.count("cluster.partition=auto: l40s_public") == 1


def test_where_nothing_fits_the_nearest_shapes_are_named(answers: Path, tmp_path: Path) -> None:
    asked = question(tmp_path, resources=ResourcesConfig(gpus=40, timeout_min=60))
    with pytest.raises(ConfigError, match="fits nowhere") as caught:
        Chooser()(asked.config)
    assert "effective batch of 352 does not divide over 40" in caught.value.message
    assert caught.value.hint == (
        "nearest shapes that fit: 11 x 4 l40s on l40s_public, 4 x 8 h200 on h200,"
        " 8 x 4 l40s on l40s_public"
    )


def test_a_slurm_that_is_silent_is_not_taken_for_one_that_refuses(
    answers: Path, tmp_path: Path
) -> None:
    down = "sbatch: error: Unable to contact slurm controller (connect failure)"
    slurm(answers, {"h200": down, "l40s_public": down})
    with pytest.raises(SubmissionError, match="Unable to contact slurm controller"):
        Chooser()(question(tmp_path, resources=ResourcesConfig(gpus=8)).config)


def test_where_only_the_time_forbids_it_the_longest_one_is_named(
    answers: Path, tmp_path: Path
) -> None:
    asked = question(tmp_path, resources=ResourcesConfig(gpus=8, timeout_min=9999))
    with pytest.raises(ConfigError, match="fits nowhere") as caught:
        Chooser()(asked.config)
    assert caught.value.hint is not None
    assert "resources.timeout_min=7200 is the longest there is" in caught.value.hint


@pytest.mark.parametrize("columns", [80, 160])
def test_the_table_has_no_broken_line_on_narrow_and_wide_terminals(
    answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    asked = question(tmp_path, resources=ResourcesConfig(timeout_min=2880, mem_gb=256))
    measured(asked, "h200", "h200", 1, 2 * HOUR_S)
    measured(asked, "l40s_public", "l40s", 16, 22 * 60)
    console = Console(width=columns, record=True, highlight=False, soft_wrap=True)
    monkeypatch.setattr(ui, "out_console", lambda: console)
    ui_options.show(compare(asked))
    lines = console.export_text().splitlines()
    table = [line for line in lines if "l40s_public" in line and " x " in line]
    assert len(table) == 5
    assert all(len(line.rstrip()) <= columns for line in table)
    (best,) = (line for line in table if line.startswith("▶"))
    assert "4 x 4 l40s" in best
    assert "22 min" in best
    assert "14.7 h" in best
    assert sum("?/256 GB" in line for line in lines) == 10
    assert sum("earliest finish" in line for line in lines[1:]) == 1


def test_json_has_the_figures_and_one_chosen_option(
    answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = question(tmp_path)
    measured(asked, "h200", "h200", 1, 2 * HOUR_S)
    ui_options.print_json([compare(asked)])
    (said,) = json.loads(capsys.readouterr().out)
    (chosen,) = (option for option in said["options"] if option["is_chosen"])
    assert (chosen["partition"], chosen["nodes"], chosen["gpus_per_node"]) == ("l40s_public", 4, 4)
    assert chosen["finish_s"] == pytest.approx(chosen["total_s"], abs=5)
    assert chosen["gpu_hours"] == pytest.approx(16 * chosen["total_s"] / 3600)
    assert chosen["micro_batch_size"] == 22
