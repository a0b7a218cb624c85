"""What attempts took, read back from their folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from launcher import files, measures, store
from launcher.measures import Measure
from launcher.records import AttemptRecord, LoaderUse, PhaseUse, Place, RankUse, VerdictRecord
from tests.unit.launcher.samples import attempt as life_of


def use(rank: int = 0, attempt: str = "001-000", **changes: Any) -> RankUse:
    values: dict[str, Any] = {
        "attempt": attempt,
        "key": "abc",
        "rank": rank,
        "local_rank": rank % 2,
        "host": f"gl00{1 + rank // 2}",
        "world_size": 4,
        "num_nodes": 2,
        "ranks_per_node": 2,
        "cpus_per_rank": 3,
        "place": Place(partition="l40s"),
        "time": f"2026-01-01T00:00:0{rank}+00:00",
    }
    return RankUse(**{**values, **changes})


def verdict(outcome: str, attempt: str = "001-000") -> VerdictRecord:
    return VerdictRecord(
        attempt=attempt,
        key="abc",
        job_id="1",
        time=files.now(),
        by="guard",
        outcome=outcome,
        evidence=[],
        action="stop",
    )


def written(run_dir: Path, *uses: RankUse) -> Measure:
    for one in uses:
        measures.write_use(run_dir, one)
    return Measure(measures.of_attempt(run_dir, uses[0].attempt), run_dir, uses[0].attempt)


def test_ranks_come_in_their_order_and_a_damaged_one_is_left_out(tmp_path: Path) -> None:
    world = {"world_size": 12, "ranks_per_node": 6}
    for rank in (10, 2, 0):
        measures.write_use(tmp_path, use(rank, host="n", **world))
    folder = measures.use_dir(tmp_path, "001-000")
    (folder / "1.json").write_text("{half")
    (folder / ".3.json.7.ab").write_text("being written")
    found = measures.of_attempt(tmp_path, "001-000")
    assert [one.rank for one in found] == [0, 2, 10]
    assert not Measure(found, tmp_path, "001-000").is_complete


def test_the_slowest_rank_and_the_fullest_node_count(tmp_path: Path) -> None:
    def phases(node_gb: float | None, rank_gb: float) -> list[PhaseUse]:
        seen = {"seconds": 1.0, "looks": 1}
        return [
            PhaseUse(phase="train", node_gb=node_gb, rank_gb=rank_gb, workers_gb=1.0, **seen),
            PhaseUse(phase="switch", node_gb=node_gb and 2 * node_gb, **seen),
        ]

    measure = written(
        tmp_path,
        use(0, step_s=1.0, samples_per_s=8.0, data_wait_share=0.1, phases=phases(5.0, 2.0)),
        use(1, step_s=1.1, samples_per_s=7.0, data_wait_share=0.7, phases=phases(None, 2.0)),
        use(2, phases=phases(6.0, 3.0)),
        use(3, phases=phases(None, 4.0)),
    )
    assert (measure.step_s, measure.samples_per_s, measure.data_wait_share) == (1.1, 7.0, 0.7)
    assert (measure.node_gb("train"), measure.node_gb("switch"), measure.node_gb()) == (6, 12, 12)
    assert measure.node_gb("checkpoint") is None
    assert measure.processes_gb("train") == 3 + 1 + 4 + 1
    assert measure.hosts == ["gl001", "gl002"]
    assert [rank.rank for rank in measure.node_ranks("gl002")] == [2, 3]
    assert (measure.gpu_type, measure.place.partition, measure.is_complete) == (None, "l40s", True)


def test_of_one_rank_that_saw_training_workers_in_a_validation_all_have_them(
    tmp_path: Path,
) -> None:
    assert written(tmp_path / "a", use(0), use(1)).overlaps is None
    assert written(tmp_path / "b", use(0, overlaps=False), use(1)).overlaps is False
    assert written(tmp_path / "c", use(0, overlaps=False), use(1, overlaps=True)).overlaps is True


def test_a_loader_is_found_by_its_stage(tmp_path: Path) -> None:
    loaders = [LoaderUse(stage="train", workers=2), LoaderUse(stage="validate", workers=1)]
    measure = written(tmp_path, use(loaders=loaders))
    found = measure.loader("validate")
    assert found is not None
    assert found.workers == 1
    assert written(tmp_path / "b", use()).loader("train") is None


def test_why_an_attempt_ended_is_known_where_its_ranks_could_not_say(tmp_path: Path) -> None:
    assert written(tmp_path / "a", use()).outcome is None
    assert written(tmp_path / "b", use(outcome="completed")).outcome == "completed"
    record = AttemptRecord(
        attempt="001-000",
        key="abc",
        job_id="1",
        host="n",
        pid=1,
        world_size=4,
        started=files.now(),
        outcome="task_error",
    )
    store.write_record(store.attempt_path(tmp_path / "c", "001-000"), record)
    assert written(tmp_path / "c", use()).outcome == "task_error"
    store.write_record(store.verdict_path(tmp_path / "c", "001-000"), verdict("host_oom"))
    assert written(tmp_path / "c", use(outcome="task_error")).outcome == "host_oom"


def test_pointers_are_followed_newest_first_and_those_that_lead_nowhere_are_not(
    tmp_path: Path,
) -> None:
    profile = tmp_path / "profiles" / "p"
    for number, name in enumerate(("old", "gone", "new")):
        run_dir = tmp_path / "study" / name
        if name != "gone":
            measures.write_use(run_dir, use(key=name))
        measures.remember(profile, run_dir, name, "001-000")
        os.utime(profile / f"{name}-001-000.json", (number, number))
    (profile / "foreign.json").write_text("[]")
    (profile / "escaping.json").write_text('{"run_dir": "../../study/new", "attempt": "../x"}')
    assert [found.run_dir.name for found in measures.remembered(profile)] == ["new", "old"]


def test_a_study_and_its_profiles_may_move_together(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    measures.write_use(before / "study" / "run", use())
    measures.remember(before / "profiles" / "p", before / "study" / "run", "abc", "001-000")
    before.rename(after)
    (found,) = measures.remembered(after / "profiles" / "p")
    assert found.run_dir == after / "study" / "run"


def test_a_folder_that_became_that_of_another_run_is_not_taken_for_the_first(
    tmp_path: Path,
) -> None:
    measures.write_use(tmp_path / "0", use(key="other"))
    measures.remember(tmp_path / "p", tmp_path / "0", "abc", "001-000")
    assert measures.remembered(tmp_path / "p") == []


def test_what_is_written_below_a_hidden_folder_of_the_project_is_kept_out_of_git(
    tmp_path: Path,
) -> None:
    profile = tmp_path / ".launcher" / "profiles" / "p"
    measures.remember(profile, tmp_path / "run", "abc", "001-000")
    assert (tmp_path / ".launcher" / ".gitignore").read_text() == "*\n"


def test_of_many_measures_the_newest_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "MOST", 2)
    for number in range(4):
        run_dir = tmp_path / str(number)
        measures.write_use(run_dir, use(key=str(number)))
        measures.remember(tmp_path / "p", run_dir, str(number), "001-000")
        os.utime(tmp_path / "p" / f"{number}-001-000.json", (number, number))
    assert [found.run_dir.name for found in measures.remembered(tmp_path / "p")] == ["3", "2"]


def test_where_nothing_was_measured_nothing_is_remembered(tmp_path: Path) -> None:
    assert measures.remembered(tmp_path / "never") == []
    assert measures.of_run(tmp_path / "never") == []


def test_the_attempts_of_a_run_come_oldest_first(tmp_path: Path) -> None:
    for attempt in ("002-000", "001-001", "001-000"):
        measures.write_use(tmp_path, use(attempt=attempt))
    store.write_record(store.verdict_path(tmp_path, "001-000"), verdict("walltime"))
    found = measures.of_run(tmp_path)
    assert [one.attempt for one in found] == ["001-000", "001-001", "002-000"]


def test_of_a_measure_only_its_own_attempt_is_read(tmp_path: Path) -> None:
    measure = written(tmp_path, use(0))
    assert measure.outcome is None
    life = life_of(outcome="completed")
    store.write_record(store.attempt_path(tmp_path, "001-000"), life)
    (tmp_path / "attempts" / "001-001.json").write_text("damaged")
    assert Measure(measure.ranks, tmp_path, "001-000").outcome == "completed"
    failed = life_of(outcome="host_oom", error="MemoryError")
    store.write_record(store.attempt_path(tmp_path, "001-000", rank=2), failed)
    assert Measure(measure.ranks, tmp_path, "001-000").outcome == "host_oom"
