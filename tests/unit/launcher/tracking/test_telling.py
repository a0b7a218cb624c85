"""W&B is told what the telemetry measured, and nothing where it measured nothing."""

from pathlib import Path

from launcher.records import PhaseUse, RankUse
from launcher.tracking import telling

USE = {
    "attempt": "001-000",
    "key": "k",
    "rank": 0,
    "local_rank": 0,
    "host": "h",
    "world_size": 1,
    "num_nodes": 1,
    "ranks_per_node": 1,
    "cpus_per_rank": 1,
}


def told(run_dir: Path, **use: object) -> dict[str, float]:
    folder = run_dir / "attempts" / "001-000.use"
    folder.mkdir(parents=True)
    phases = [PhaseUse(phase="train", seconds=1.0, looks=1, rank_gb=2.0, gpu_gb=9.5)]
    record = RankUse.model_validate({**USE, "phases": phases, **use})
    (folder / "0.json").write_text(record.model_dump_json())
    return telling.telemetry(run_dir, "001-000")


def test_work_and_power_of_the_gpu_are_told_beside_its_memory(tmp_path: Path) -> None:
    found = told(tmp_path, gpu_utilization=0.62, gpu_power_w=364.7)
    assert found["gpu/utilization"] == 0.62
    assert found["gpu/power_w"] == 364.7
    assert found["memory/gpu_gb"] == 9.5


def test_what_no_driver_told_is_left_out(tmp_path: Path) -> None:
    assert not [name for name in told(tmp_path) if name.startswith("gpu/")]
