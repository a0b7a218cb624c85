from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from experiments.data import checking, datasets
from experiments.data.checking import check
from experiments.data.checking_facts import PUBLISHED, Published
from experiments.data.cli import app, composed, rendered
from experiments.data.needs import require_present
from experiments.data.split import tokens_sha256
from experiments.settings import DataConfig
from launcher.errors import ConfigError, LauncherError
from tests.programs import REPOSITORY
from tests.unit.experiments.data.navsim_layout import (
    into_parts,
    tokens_of,
    write_cache,
    write_filter,
    write_yaml,
)
from tests.unit.experiments.data.worlds import (
    SMALL,
    WINDOWS_PER_LOG,
    copy_logs,
    edit_log,
    first_log,
    open_copy,
    sensor_file,
)


@pytest.fixture
def four(small_world: DataConfig, tmp_path: Path) -> DataConfig:
    """Four logs, so that each part has one."""
    logs = copy_logs(small_world, tmp_path / "four", num_logs=4)
    return replace(logs, val_share=0.25, test_share=0.25)


def test_a_generated_world_is_complete(small_world: DataConfig) -> None:
    report, split = check(small_world), datasets(small_world)
    assert report.is_complete
    assert report.parts["train"].tokens == len(split.train)
    assert report.parts["test"].tokens_sha256 == split.test_tokens_sha256
    windows = SMALL.num_logs * WINDOWS_PER_LOG
    assert report.files["image"].files == 3 * windows
    assert report.files["lidar"].files == windows
    assert report.files["image"].size_bytes > 100 * windows
    assert sum(report.cities.values()) == windows


def test_missing_and_empty_files_are_counted_and_named(four: DataConfig) -> None:
    gone, empty = sensor_file(four, 3, "CAM_R0"), sensor_file(four, 4, "CAM_F0")
    gone.unlink()
    empty.write_bytes(b"")
    edit_log(first_log(four), lambda frames: frames[5]["cams"].pop("CAM_L0"))
    report = check(four)
    images = report.files["image"]
    assert (images.missing, images.empty) == (2, 1)
    assert len(images.examples) == 3
    assert any(name.endswith(f"{gone.parent.name}/{gone.name}") for name in images.examples)
    assert any("lists no file for CAM_L0" in name for name in images.examples)
    assert not report.is_complete
    assert report.files["lidar"].missing == 0
    assert check(four, ("lidar",)).is_complete


def test_what_a_filter_lists_and_is_not_there_is_counted(four: DataConfig, tmp_path: Path) -> None:
    source = open_copy(four)
    tokens = [*tokens_of(source), "f" * 16]
    logs = [*source.index.log_names, "gone"]
    path = write_filter(tmp_path / "f.yaml", tokens=tokens, log_names=logs)
    report = check(replace(four, filter=path))
    found = report.filters["data.filter"]
    assert (found.logs_listed, found.logs_missing) == (5, 1)
    assert (found.tokens_listed, found.tokens_found) == (13, 12)
    assert found.missing == ("gone", "f" * 16)
    assert found.tokens_sha256 == tokens_sha256(tokens)
    assert not report.is_complete
    assert "missing of data.filter: gone" in rendered(report)


def test_a_cache_is_looked_through(four: DataConfig) -> None:
    source = open_copy(four)
    config = write_cache(four, source, range(1, len(source.index)))
    report = check(config)
    assert (report.files["features"].missing, report.files["targets"].missing) == (1, 1)
    assert tokens_of(source)[0] in report.files["features"].examples[0]
    assert report.files["features"].files == len(source.index)


def test_counts_are_compared_with_the_published_ones(
    four: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list(open_copy(four).index.log_names)
    devkit = tmp_path / "devkit"
    common = devkit / "navsim/planning/script/config/common/train_test_split/scene_filter"
    training = devkit / "navsim/planning/script/config/training"
    write_filter(common / "navtrain.yaml", log_names=names[:3])
    write_filter(common / "navtest.yaml", log_names=names[3:])
    lists = {"train_logs": names[:2], "val_logs": names[2:3], "test_logs": names[3:]}
    write_yaml(training / "default_train_val_test_log_split.yaml", **lists)
    config = replace(
        four, split="navsim", filter="navtrain", test_filter="navtest", devkit=str(devkit)
    )
    said = "\n".join(check(config).deviations())
    assert "train: 2 logs and 6 tokens; 978 and 85,109 were published" in said
    assert "val: 1 logs and 3 tokens; 214 and 18,179 were published" in said
    assert "test: 1 logs and 3 tokens; 136 and 12,146 were published" in said
    small = {"navtrain": Published(3, 9), "navtest": Published(1, 3)}
    monkeypatch.setattr(checking, "PUBLISHED", small)
    listed = check(config)
    # These filters list no tokens, of which there are as many as published all the same.
    assert [line.split(":")[0] for line in listed.deviations()] == [
        "filter navtrain",
        "filter navtest",
    ]


def test_the_published_counts_agree_with_each_other() -> None:
    parts = (PUBLISHED["navtrain/train"], PUBLISHED["navtrain/val"])
    assert sum(part.logs for part in parts) == PUBLISHED["navtrain"].logs
    assert sum(part.tokens for part in parts) == PUBLISHED["navtrain"].tokens


def test_drives_with_logs_in_two_parts_are_said(four: DataConfig, tmp_path: Path) -> None:
    chunks = ["drive_00000_00010", "drive_00011_00020", "other_00000_00010", "more_00000_00010"]
    logs = sorted((Path(four.root) / "navsim_logs").iterdir())
    for log, name in zip(logs, chunks, strict=True):
        log.rename(log.with_name(f"{name}.pkl"))
    paths = [
        write_filter(tmp_path / f"{n}.yaml", log_names=names)
        for n, names in enumerate((chunks[:1], chunks[1:3], chunks[3:]))
    ]
    keys = ("filter", "val_filter", "test_filter")
    custom = replace(four, split="custom", **dict(zip(keys, paths, strict=True)))  # type: ignore[arg-type]
    report = check(custom, ())
    assert report.shared_drives == ("drive",)
    assert "1 drives have logs in more than one part, e.g. drive" in rendered(report)


# The command.


def launch_data(*words: str) -> Result:
    return CliRunner().invoke(app, ["check", *words])


def overrides(config: DataConfig, **more: Any) -> Sequence[str]:
    values = {
        "root": config.root,
        "image_hw": "[32,128]",
        "bev_px": 64,
        "val_share": config.val_share,
        "test_share": config.test_share,
        **more,
    }
    return ["data=openscene", *(f"data.{key}={value}" for key, value in values.items())]


def test_the_command_prints_counts_and_ends_well(
    four: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    done = launch_data(*overrides(four))
    assert done.exit_code == 0, done.output
    assert done.stdout.rstrip().endswith("\ncomplete")
    assert datasets(four).train_tokens_sha256[:16] in done.stdout


def test_missing_files_end_with_exit_code_1(
    four: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY / "docs")  # conf/ is found from below, too
    sensor_file(four, 3, "CAM_R0").unlink()
    done = launch_data(*overrides(four))
    assert done.exit_code == 1
    assert "INCOMPLETE" in done.stdout
    assert launch_data(*overrides(four), "--sensors", "lidar").exit_code == 0
    assert launch_data(*overrides(four), "--sensors", "none").exit_code == 0


def test_json_says_the_same(four: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    sensor_file(four, 3, "CAM_R0").unlink()
    done = launch_data(*overrides(four, fraction=0.9, fraction_unit="token"), "--json")
    said = json.loads(done.stdout)
    assert done.exit_code == 1
    assert said["is_complete"] is False
    assert said["files"]["image"]["missing"] == 1
    assert said["fraction_unit"] == "token (not independent)"
    assert said["labelled"]["tokens"] == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.fractoin=0.1"], "fractoin"),
        (["data=opensceen"], "opensceen"),
        (["data.fraction=0.1,0.5"], "do not compose"),
        (["data.fraction=2"], r"outside \(0, 1\]"),
        (["data=openscene", "data.root=/nowhere"], r"data\.logs=/nowhere/navsim_logs"),
        (["data=navsim", "data.devkit=null"], r"data\.devkit"),
        (["--sensors", "radar"], "--sensors=radar"),
    ],
)
def test_what_the_user_can_mend_is_one_message(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    error = launch_data(*words).exception
    assert isinstance(error, LauncherError)
    assert error.exit_code == 2
    with pytest.raises(LauncherError, match=message):
        raise error


def test_elsewhere_it_says_where_to_run_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no conf/config\.yaml"):
        composed([])


# Before a run is sent.


def test_data_that_is_there_passes(four: DataConfig, small_world: DataConfig) -> None:
    require_present(four)
    require_present(into_parts(four, ["trainval", "test"]))
    require_present(replace(small_world, root="/nowhere"))


def test_logs_without_sensors_are_refused_before_anything_is_sent(four: DataConfig) -> None:
    folders = sorted((Path(four.root) / "sensor_blobs").iterdir())
    folders[1].rename(folders[1].with_name("elsewhere"))
    with pytest.raises(LauncherError, match=f"1 of 4 logs have no folder.*`{folders[1].name}`"):
        require_present(four)


def test_logs_of_a_filter_are_asked_for_before_anything_is_sent(
    four: DataConfig, tmp_path: Path
) -> None:
    names = list(open_copy(four).index.log_names)
    path = write_filter(tmp_path / "f.yaml", log_names=[*names, "gone"])
    with pytest.raises(LauncherError, match=r"1 of the 5 logs of .*`gone`"):
        require_present(replace(four, filter=path))
    one = write_filter(tmp_path / "one.yaml", log_names=names[:1])
    for folder in sorted((Path(four.root) / "sensor_blobs").iterdir())[1:]:
        folder.rename(folder.with_name("x" + folder.name))
    require_present(replace(four, filter=one))


def test_a_cache_without_a_log_is_refused_before_anything_is_sent(four: DataConfig) -> None:
    source = open_copy(four)
    config = write_cache(four, source, range(WINDOWS_PER_LOG, len(source.index)))
    with pytest.raises(LauncherError, match=r"1 of 4 logs have no folder in .*training_cache"):
        require_present(config)
