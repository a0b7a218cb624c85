from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.data import DataError, Splits
from experiments.data.dataset import FrameDataset, PlanningDataset
from experiments.data.decoded import DecodedSensors
from experiments.settings import DataConfig
from launcher.errors import ConfigError
from tests.unit.experiments.data.worlds import edit_log, first_log, open_copy, sensor_file


def test_items_hold_tensors_of_the_stated_types(splits: Splits) -> None:
    item = PlanningDataset(splits.source, splits.val, ["image", "lidar"])[0]
    found = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in item.items()}
    assert found == {
        "image": (torch.uint8, (3, 32, 128)),
        "lidar": (torch.float32, (1, 64, 64)),
        "status": (torch.float32, (8,)),
        "trajectory": (torch.float32, (8, 3)),
        "index": (torch.int64, ()),
    }


def test_only_the_sensors_asked_for_are_read(splits: Splits) -> None:
    assert "lidar" not in PlanningDataset(splits.source, splits.val, ["image"])[0]
    assert "image" not in PlanningDataset(splits.source, splits.val, [])[0]


def test_the_index_leads_back_to_the_source(splits: Splits) -> None:
    dataset = PlanningDataset(splits.source, splits.test, [])
    assert [int(dataset[n]["index"]) for n in range(len(dataset))] == splits.test.tolist()
    last = dataset[len(dataset) - 1]
    assert torch.equal(
        last["trajectory"], torch.from_numpy(splits.source.future[splits.test[-1]].copy())
    )


def test_decoding_ahead_changes_nothing(splits: Splits) -> None:
    lazy = PlanningDataset(splits.source, splits.val, ["image", "lidar"])
    eager = PlanningDataset(splits.source, splits.val, ["image", "lidar"], cache_decoded=True)
    for n in range(len(lazy)):
        for name, tensor in lazy[n].items():
            assert torch.equal(tensor, eager[n][name])


def test_changing_an_item_leaves_the_cache_alone(splits: Splits) -> None:
    dataset = PlanningDataset(splits.source, splits.val, ["image"], cache_decoded=True)
    before = dataset[0]["image"].clone()
    dataset[0]["image"].zero_()
    assert torch.equal(dataset[0]["image"], before)


def test_decoding_ahead_finds_a_missing_file_at_once(recorded: DataConfig) -> None:
    source = open_copy(recorded)
    path = sensor_file(recorded, 4, "CAM_F0")
    path.unlink()
    with pytest.raises(DataError, match=path.name):
        PlanningDataset(source, np.arange(3), ["image"], cache_decoded=True)


def test_an_unknown_sensor_is_refused(splits: Splits) -> None:
    with pytest.raises(ConfigError, match="radar"):
        PlanningDataset(splits.source, splits.val, ["radar"])  # type: ignore[list-item]


def test_a_dataset_without_windows_is_refused(splits: Splits) -> None:
    with pytest.raises(ConfigError, match="no windows"):
        PlanningDataset(splits.source, splits.val[:0], [])


def test_frames_are_images_without_labels(splits: Splits) -> None:
    frames = FrameDataset(splits.source, splits.train_frames)
    assert len(frames) == len(splits.train_frames)
    assert frames[0].shape == (3, 32, 128)
    assert frames[0].dtype == torch.uint8
    ahead = FrameDataset(splits.source, splits.train_frames[:3], cache_decoded=True)
    assert all(torch.equal(ahead[n], frames[n]) for n in range(3))


def test_a_dataset_without_frames_is_refused(splits: Splits) -> None:
    with pytest.raises(ConfigError, match="no frames"):
        FrameDataset(splits.source, splits.train_frames[:0])


def test_what_was_decoded_once_is_read_by_the_next_without_its_files(
    splits: Splits, recorded: DataConfig, tmp_path: Path
) -> None:
    kept = tmp_path / "decoded"
    first = open_copy(recorded, kept)
    frames = first.index.frame[:5]
    images, rows = first.decoded("image", frames)
    assert np.array_equal(images[rows[3]], splits.source.image(int(frames[3])))
    sensor_file(recorded, 4, "CAM_F0").unlink()
    again, _ = open_copy(recorded, kept).decoded("image", frames)
    assert np.array_equal(again, images)
    assert not again.flags.writeable


def test_a_full_disk_is_a_message_and_leaves_nothing(
    splits: Splits, recorded: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory of a mapped file that finds no room is SIGBUS."""
    kept, frames = tmp_path / "decoded", splits.source.index.frame[:5]

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ConfigError, match=r"cannot be kept in `.*`: No space left on device"):
        open_copy(recorded, kept).decoded("image", frames)
    assert not list(kept.rglob("*.npy"))


def test_what_a_killed_process_left_is_removed_once_it_is_old(
    splits: Splits, recorded: DataConfig, tmp_path: Path
) -> None:
    source, frames = open_copy(recorded, tmp_path), splits.source.index.frame[:5]
    source.decoded("lidar", frames)
    folder = next(tmp_path.glob("decoded-*"))
    (folder / "lidar.npy").unlink()
    old, young = (folder / f".lidar-{name}.npy" for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    source.decoded("lidar", frames)
    assert not old.exists()
    assert young.exists()


def test_another_size_is_decoded_anew(tmp_path: Path) -> None:
    sizes = [DataConfig(image_hw=(32, 128)), DataConfig(image_hw=(64, 128))]
    folders = {DecodedSensors.of(config, "a world", tmp_path).folder for config in sizes}
    assert len(folders) == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ego2global_translation", [np.nan, 0.0, 0.0]),
        ("ego2global_rotation", [1.0, 0.0, 0.0, np.inf]),
        ("ego_dynamic_state", [np.inf, 0.0, 0.0, 0.0]),
    ],
)
def test_labels_that_are_not_finite_are_refused_with_their_frame(
    recorded: DataConfig, key: str, value: list[float]
) -> None:
    tokens: list[str] = []

    def spoil(frames: list[dict[str, Any]]) -> None:
        frames[6][key] = np.array(value)
        tokens.append(frames[6]["token"])

    edit_log(first_log(recorded), spoil)
    with pytest.raises(DataError, match="not finite") as caught:
        open_copy(recorded)
    assert tokens[0] in caught.value.message


def test_targets_come_beside_decoded_sensors(splits: Splits) -> None:
    dataset = PlanningDataset(
        splits.source, splits.val, ["image"], cache_decoded=True, targets={"agents"}
    )
    item = dataset[0]
    assert set(item) == {
        "image", "agent_states", "agent_labels", "status", "trajectory", "index",
    }  # fmt: skip
    item["agent_states"].fill_(7.0)
    assert not bool((dataset[0]["agent_states"] == 7.0).any())
