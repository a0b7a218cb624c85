from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import filelock
import pytest

from experiments.data import DataError, prepare
from experiments.data.cache import MANIFEST, content_hash, manifest_of
from experiments.data.synthetic.generate import write_logs
from experiments.settings import DataConfig, SyntheticConfig
from launcher.errors import ConfigError
from tests.unit.experiments.data.worlds import SMALL

ONE = SyntheticConfig(seed=1, num_logs=1, frames_per_log=14, camera_hw=(18, 32))
REPOSITORY = Path(__file__).parents[4]


def config_for(root: Path) -> DataConfig:
    return DataConfig(root=str(root), synthetic=ONE)


def test_the_manifest_describes_the_files(small_world: DataConfig) -> None:
    root = prepare(small_world)
    manifest = json.loads((root / MANIFEST).read_text())
    assert manifest == manifest_of(root)
    assert manifest["num_files"] == SMALL.num_logs * (2 + 4 * SMALL.frames_per_log)


def test_a_second_call_only_looks(small_world: DataConfig) -> None:
    root = prepare(small_world)
    before = (root / MANIFEST).stat().st_mtime_ns
    assert prepare(small_world) == root
    assert (root / MANIFEST).stat().st_mtime_ns == before


def test_another_order_gives_the_same_bytes(small_world: DataConfig, tmp_path: Path) -> None:
    write_logs(SMALL, tmp_path, reversed(range(SMALL.num_logs)))
    expected = json.loads((prepare(small_world) / MANIFEST).read_text())
    assert manifest_of(tmp_path) == expected


def test_other_instructions_of_the_processor_give_the_same_bytes(
    small_world: DataConfig, tmp_path: Path
) -> None:
    fields = {**vars(SMALL)}
    slow = "X86_V3 X86_V4 AVX512_ICL AVX512_SPR AVX2 FMA3 AVX512F AVX512CD AVX512_SKX"
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "NPY_DISABLE_CPU_FEATURES": slow,
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-m", "experiments.data.synthetic.worker"]
    arguments = [json.dumps(fields), str(tmp_path), "0", "1"]
    subprocess.run([*command, *arguments], env=environment, check=True)
    expected = json.loads((prepare(small_world) / MANIFEST).read_text())
    assert manifest_of(tmp_path) == expected


def test_every_field_of_the_world_changes_its_folder() -> None:
    others = [
        replace(ONE, seed=2),
        replace(ONE, num_logs=2),
        replace(ONE, frames_per_log=15),
        replace(ONE, camera_hw=(18, 33)),
    ]
    assert len({content_hash(world) for world in (ONE, *others)}) == 5


def test_the_folder_does_not_depend_on_lists_or_tuples() -> None:
    assert content_hash(ONE) == content_hash(replace(ONE, camera_hw=[18, 32]))  # type: ignore[arg-type]


def test_many_callers_at_once_get_one_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        roots = set(pool.map(prepare, [config_for(tmp_path)] * 4))
    assert len(roots) == 1
    visible = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert visible == list(roots)
    assert not [path for path in tmp_path.iterdir() if path.is_dir() and path.name.startswith(".")]


def test_without_locks_the_first_rename_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(self: filelock.FileLock) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", no_locks)
    with ThreadPoolExecutor(3) as pool:
        roots = set(pool.map(prepare, [config_for(tmp_path)] * 3))
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == list(roots)
    root = roots.pop()
    assert json.loads((root / MANIFEST).read_text()) == manifest_of(root)
    assert "No locks available" in caplog.text


def test_work_that_was_cut_short_does_not_count(tmp_path: Path) -> None:
    final = tmp_path / f"synthetic-{content_hash(ONE)[:12]}"
    (tmp_path / f".{final.name}-abc" / "navsim_logs").mkdir(parents=True)
    root = prepare(config_for(tmp_path))
    assert (root / MANIFEST).is_file()


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: SyntheticConfig, root: Path) -> None:
        (root / "half").mkdir()
        raise RuntimeError("disk on fire")

    monkeypatch.setattr("experiments.data.cache.generate", fail)
    with pytest.raises(RuntimeError, match="disk on fire"):
        prepare(config_for(tmp_path))
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_damaged_folder_comes_with_a_remedy(tmp_path: Path) -> None:
    root = prepare(config_for(tmp_path))
    (root / MANIFEST).unlink()
    with pytest.raises(DataError, match=r"rm -r "):
        prepare(config_for(tmp_path))


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", -1), ("num_logs", 0), ("frames_per_log", 1), ("camera_hw", (90, 8))],
)
def test_a_world_that_cannot_be_is_refused(tmp_path: Path, key: str, value: object) -> None:
    config = DataConfig(root=str(tmp_path), synthetic=SyntheticConfig(**{key: value}))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=rf"data\.synthetic\.{key}="):
        prepare(config)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"data\.root"):
        prepare(config_for(tmp_path / "file" / "below"))


def test_missing_recorded_data_is_refused_by_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.logs=.*nowhere"):
        prepare(DataConfig(source="openscene", root=str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match=r"data\.logs=.*navsim_logs"):
        prepare(DataConfig(source="openscene", root=str(tmp_path)))
    (tmp_path / "navsim_logs").mkdir()
    with pytest.raises(ConfigError, match=r"data\.sensors=.*sensor_blobs"):
        prepare(DataConfig(source="openscene", root=str(tmp_path)))
    (tmp_path / "sensor_blobs").mkdir()
    assert prepare(DataConfig(source="openscene", root=str(tmp_path))) == tmp_path


def test_logs_and_sensors_may_lie_apart(tmp_path: Path) -> None:
    for name in ("logs", "blobs"):
        (tmp_path / name).mkdir()
    config = DataConfig(
        source="openscene",
        root="elsewhere",
        logs=str(tmp_path / "logs"),
        sensors=str(tmp_path / "blobs"),
    )
    assert prepare(config) == Path("elsewhere")


def test_several_workers_give_the_bytes_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = replace(ONE, num_logs=8)
    write_logs(world, tmp_path / "one", range(8))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    root = prepare(DataConfig(root=str(tmp_path), synthetic=world))
    assert json.loads((root / MANIFEST).read_text()) == manifest_of(tmp_path / "one")
