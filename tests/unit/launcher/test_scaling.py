"""Speed-up, efficiency, and what limits a training, from measures."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from launcher import measures, store
from launcher.cli import measuring
from launcher.errors import LauncherError
from launcher.measures import Measure
from launcher.records import (
    LoaderUse,
    PhaseUse,
    Place,
    RankUse,
    RunEntry,
    StudyRecord,
    SubmissionRecord,
)
from launcher.scaling import figure as scaling_figure
from launcher.scaling import report as scaling
from launcher.scaling.report import Report, Row, Sample, report
from launcher.topology import Shape
from launcher.ui import scaling as ui_scaling


def uses(
    gpus: int,
    samples_per_s: float | None,
    *,
    wait: float = 0.05,
    workers: int = 8,
    cpus: int = 16,
    nodes: int = 1,
    micro: int = 22,
    busy: float | None = 0.9,
    host_gb: float = 60.0,
    **changes: Any,
) -> list[RankUse]:
    """What the ranks of an attempt wrote, each the same."""
    values: dict[str, Any] = {
        "attempt": "001-000",
        "key": "k",
        "world_size": gpus,
        "num_nodes": nodes,
        "ranks_per_node": gpus // nodes,
        "cpus_per_rank": cpus,
        "mem_gb": 256.0,
        "place": Place(cluster="site", partition="l40s_public", gpu_type="l40s"),
        "phases": [PhaseUse(phase="validate", seconds=9, looks=3, node_gb=host_gb, gpu_gb=30)],
        "loaders": [LoaderUse(stage="train", workers=workers)],
        "micro_batch_size": micro,
        "batch_size": gpus * micro,
        "samples_per_s": samples_per_s,
        "step_s": gpus * micro / samples_per_s if samples_per_s else None,
        "data_wait_share": wait if samples_per_s else None,
        "gpu_utilization": busy,
        "outcome": "completed",
        **changes,
    }
    return [
        RankUse(rank=rank, local_rank=rank, host=f"gl{rank * nodes // gpus}", **values)
        for rank in range(gpus)
    ]


def sample(gpus: int, samples_per_s: float | None, name: str = "", **changes: Any) -> Sample:
    ranks = uses(gpus, samples_per_s, **changes)
    measure = Measure(ranks, Path("/nowhere") / (name or str(gpus)), ranks[0].attempt)
    return Sample(name=name or f"gpus={gpus}", group=ranks[0].place.gpu_type or "", measure=measure)


def by_gpus(found: Report) -> dict[int, Row]:
    return {row.ranks: row for row in found.rows}


ONE = sample(1, 17.2)
"""0.78 it/s at batch 22."""


def test_speed_up_and_efficiency_count_from_the_fewest_gpus() -> None:
    rows = by_gpus(report([sample(8, 68.8), sample(2, 17.2), sample(4, 34.4)]))
    assert [(n, row.speed_up, row.efficiency) for n, row in rows.items()] == [
        (2, pytest.approx(1.0), pytest.approx(1.0)),
        (4, pytest.approx(2.0), pytest.approx(1.0)),
        (8, pytest.approx(4.0), pytest.approx(1.0)),
    ]
    assert {row.base_ranks for row in rows.values()} == {2}
    assert [row.limit for row in rows.values()] == [None, None, None]


def test_sixteen_gpus_that_reach_three_of_one_are_starved_by_their_one_loader_worker() -> None:
    rows = by_gpus(report([ONE, sample(16, 55.0, wait=0.75, workers=1, nodes=4, busy=0.2)]))
    starved = rows[16]
    assert starved.speed_up == pytest.approx(3.2, abs=0.01)
    assert starved.efficiency == pytest.approx(0.2, abs=0.001)
    assert starved.limit == "loader"
    assert starved.why == (
        "ranks wait for data 75% of a step, without that about 12.8x; it has 1 worker per rank,"
        " about 4 would keep up"
    )
    assert rows[1].limit is None


def test_workers_that_need_more_cpus_than_there_are_ask_for_them() -> None:
    rows = by_gpus(report([ONE, sample(4, 20.0, wait=0.75, workers=2, cpus=4)]))
    assert rows[4].why.endswith("about 8 would keep up with cpus_per_rank=9 instead of 4")


@pytest.mark.parametrize(
    ("workers", "wait", "needed"),
    [
        (1, 0.75, 4),
        (2, 0.5, 4),
        (4, 0.2, 5),
        (0, 0.5, 1),
        (0, 0.75, 3),
        (8, 0.05, 9),
        (1, 1.0, 100),
    ],
)
def test_workers_needed_grow_with_the_wait(workers: int, wait: float, needed: int) -> None:
    assert scaling.workers_needed(workers, wait) == needed


def test_poor_efficiency_without_waiting_for_data_is_exchange_between_nodes() -> None:
    rows = by_gpus(report([ONE, sample(4, 64.0), sample(16, 110.0, nodes=4, wait=0.1)]))
    assert rows[4].limit is None
    assert rows[16].limit == "communication"
    assert rows[16].why.endswith("the rest is exchange between nodes")


def test_a_slower_attempt_on_as_many_gpus_as_the_base_exchanges_nothing() -> None:
    rows = {row.name: row for row in report([ONE, sample(1, 9.0, "slow", workers=4)]).rows}
    assert rows["slow"].efficiency == pytest.approx(9.0 / 17.2)
    assert rows["slow"].limit is None


def test_a_micro_batch_that_shrinks_with_the_ranks_is_named() -> None:
    rows = by_gpus(report([ONE, sample(8, 60.0, micro=2)]))
    assert rows[8].limit == "small batch"
    assert "2 samples per GPU instead of 22" in rows[8].why
    assert rows[8].why.endswith("a probe of 1 GPU with 2 samples each tells them apart")


def test_gpus_that_idle_though_data_is_there_wait_for_their_host() -> None:
    (row,) = report([sample(1, 17.2, busy=0.3)]).rows
    assert row.limit == "host"
    assert "GPUs work 30% of the time" in row.why


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("host_oom", "does not fit: the host ran out of memory, 255 of 256 GB per node"),
        ("gpu_oom", "does not fit: a GPU ran out of memory"),
        ("crash", "not timed, it ended by crash"),
        (None, "not timed yet"),
    ],
)
def test_an_attempt_without_figures_says_why(outcome: Any, said: str) -> None:
    rows = by_gpus(report([ONE, sample(4, None, outcome=outcome, host_gb=255)]))
    assert rows[4].why == said
    assert rows[4].speed_up is None
    assert rows[4].limit == ("memory" if outcome and "oom" in outcome else None)


def test_an_attempt_that_was_fast_and_ran_out_of_memory_does_not_fit_all_the_same() -> None:
    rows = by_gpus(report([ONE, sample(4, 68.0, outcome="host_oom")]))
    assert rows[4].speed_up is not None
    assert rows[4].limit == "memory"


def test_gpu_types_are_not_compared_with_each_other() -> None:
    h200 = {"place": Place(cluster="site", partition="h200", gpu_type="h200")}
    found = report([ONE, sample(8, 130.0), sample(1, 20.0, **h200), sample(8, 150.0, **h200)])
    assert found.groups() == ["h200", "l40s"]
    assert [(row.group, row.speed_up) for row in found.rows if row.ranks == 8] == [
        ("h200", pytest.approx(7.5)),
        ("l40s", pytest.approx(130 / 17.2)),
    ]


def test_the_base_and_the_curve_take_the_fastest_attempt_on_as_many_gpus() -> None:
    found = report(
        [sample(1, 10.0, "starved", wait=0.5), ONE, sample(2, 34.4), sample(2, 5.0, "b")]
    )
    assert [row.samples_per_s for row in found.curve("l40s")] == [17.2, 34.4]
    assert by_gpus(report([ONE, sample(2, 34.4)]))[2].speed_up == pytest.approx(2.0)
    assert {row.name: row.speed_up for row in found.rows}["gpus=2"] == pytest.approx(2.0)


def test_of_the_attempts_of_a_run_the_last_that_was_timed_stands_for_it() -> None:
    lives = [
        sample(4, 10.0, "a", attempt="001-000"),
        sample(4, 20.0, "a", attempt="001-001"),
        sample(4, None, "a", attempt="001-002", outcome="crash"),
        sample(8, None, "b", attempt="001-000", outcome="gpu_oom"),
    ]
    assert [s.measure.attempt for s in scaling.latest(lives)] == ["001-001", "001-000"]


def test_the_table_names_what_limits_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    ui_scaling.show(report([ONE, sample(16, 55.0, wait=0.75, workers=1, nodes=4)]))
    shown = capsys.readouterr().out
    assert "3.20x" in shown
    assert "20%" in shown
    assert "16 GPUs (gpus=16): limited by loader: ranks wait for data 75%" in shown


@pytest.mark.parametrize("suffix", scaling_figure.SUFFIXES)
def test_a_figure_is_drawn_of_what_was_timed(suffix: str) -> None:
    found = report([ONE, sample(4, None, outcome="gpu_oom"), sample(8, 100.0), sample(8, 9.0, "s")])
    magic = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert scaling_figure.draw(found, suffix).startswith(magic)


def test_nothing_that_was_timed_is_no_figure() -> None:
    with pytest.raises(LauncherError, match="nothing was timed"):
        scaling_figure.draw(report([sample(4, None)]), "png")


# ---- from folders ---------------------------------------------------------------------------


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A study of two runs on 1 and 16 GPUs, and a probe of the same training on 4."""
    root = tmp_path / "outputs"
    write_study(root / "real", root, {1: uses(1, 17.2), 16: uses(16, 55.0, wait=0.75, workers=1)})
    write_study(root / "profiles" / "probes" / "tried", root, {4: uses(4, 60.0)})
    return root


def write_study(folder: Path, root: Path, runs: dict[int, list[RankUse]]) -> None:
    profile = root / "profiles" / "p1"
    entries = []
    for gpus, ranks in runs.items():
        run_dir, key = folder / str(gpus), f"{folder.name}-{gpus}"
        shape = Shape(
            nodes=1, gpus_per_node=gpus, ranks_per_node=gpus, cpus_per_rank=1, mem_gb=None,
            timeout_min=5,
        )  # fmt: skip
        sent = SubmissionRecord(
            key=key, name=f"gpus={gpus}", number=1, scheduler="debug", token="t", submitted="",
            shape=shape, code="", payload="", config="", profile=str(profile),
        )  # fmt: skip
        store.write_submission(run_dir, sent)
        for use in ranks:
            measures.write_use(run_dir, use.model_copy(update={"key": key}))
        measures.remember(profile, run_dir, key, "001-000")
        entries.append(
            RunEntry(key=key, name=f"gpus={gpus}", overrides=[f"gpus={gpus}"], run_dir=str(run_dir))
        )
    record = StudyRecord(study_id=folder.name, created="", command=[], overrides=[], runs=entries)
    store.write_record(folder / "study.json", record)


def rows_of(text: str) -> dict[int, dict[str, Any]]:
    return {row["ranks"]: row for row in json.loads(text)}


def test_a_study_is_compared_from_its_folder(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measuring.scaling(["real"], root=outputs, as_json=True)
    rows = rows_of(capsys.readouterr().out)
    assert sorted(rows) == [1, 16]
    assert rows[16]["limit"] == "loader"
    assert rows[16]["speed_up"] == pytest.approx(3.2, abs=0.01)


def test_runs_are_picked_as_elsewhere(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measuring.scaling(["real", "gpus=16"], root=outputs, as_csv=True)
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["ranks"] == "16"


def test_without_a_name_the_latest_is_meant_also_if_it_is_probes(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measuring.scaling(root=outputs, as_json=True)
    assert sorted(rows_of(capsys.readouterr().out)) == [4]


def test_attempts_of_other_studies_that_train_the_same_are_remembered(
    outputs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    figure = tmp_path / "scaling.svg"
    measuring.scaling(["real"], root=outputs, as_json=True, remembered=True, figure=figure)
    rows = rows_of(capsys.readouterr().out)
    assert sorted(rows) == [1, 4, 16]
    assert rows[4]["name"] == "tried: gpus=4"
    assert figure.read_bytes().startswith(b"<?xml")


def test_a_figure_of_no_known_kind_is_refused_with_those_there_are(
    outputs: Path, tmp_path: Path
) -> None:
    with pytest.raises(LauncherError, match="none of the kinds") as refused:
        measuring.scaling(["real"], root=outputs, figure=tmp_path / "x.gif")
    assert refused.value.hint == "end its name with .png, .svg, .pdf"
    assert not (tmp_path / "x.gif").exists()


def test_a_study_that_measured_nothing_is_told_how(outputs: Path) -> None:
    for path in outputs.glob("real/*/attempts/*.use/*"):
        path.unlink()
    with pytest.raises(LauncherError, match="no attempt of study `real` was measured") as refused:
        measuring.scaling(["real"], root=outputs)
    assert "launch probe" in str(refused.value.hint)
