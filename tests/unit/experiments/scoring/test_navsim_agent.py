"""A trained run as the devkit's agent. The devkit here is a stand-in of the test's own: packages of
its names with the parts of its interface that are read, for the real one needs Python 3.9."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import fitting
from experiments.data import DataError, Splits, pcd
from experiments.data.dataset import PlanningDataset
from experiments.models.planning import build_planning
from experiments.scoring import navsim_agent
from experiments.scoring.navsim_agent import agent_class, sample_of, sensor_names
from experiments.scoring.navsim_command import main
from experiments.settings import DataConfig, ExperimentConfig, HeadConfig
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny
from tests.unit.experiments.scoring.test_navsim_bridge import devkit_files, write_package

STAND_IN = {
    "navsim/agents/abstract_agent.py": (
        "import abc\nimport torch\n"
        "class AbstractAgent(torch.nn.Module, abc.ABC):\n"
        "    def __init__(self, requires_scene=False):\n"
        "        super().__init__()\n        self.requires_scene = requires_scene\n"
        "    @abc.abstractmethod\n    def name(self): ...\n"
        "    @abc.abstractmethod\n    def get_sensor_config(self): ...\n"
        "    @abc.abstractmethod\n    def initialize(self): ...\n"
    ),
}
CAMERAS = ("f0", "l0", "l1", "l2", "r0", "r1", "r2", "b0")
SENSOR_CONFIG = (
    "\n@dataclass\nclass SensorConfig:\n"
    + "".join(f"    cam_{name}: object\n" for name in CAMERAS)
    + "    lidar_pc: object\n"
)


@pytest.fixture
def devkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    files = {**devkit_files(), **STAND_IN}
    files["navsim/common/dataclasses.py"] += SENSOR_CONFIG
    write_package(tmp_path / "site", files)
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield
    for name in [n for n in sys.modules if n.split(".")[0] in ("navsim", "nuplan")]:
        del sys.modules[name]


def experiment(world: DataConfig, **data: Any) -> ExperimentConfig:
    return ExperimentConfig(
        data=replace(world, **data),
        backbone=tiny.transfuser(),
        head=HeadConfig(hidden_dim=16, pool_hw=(1, 1)),
    )


def input_of(splits: Splits, i: int) -> Any:
    """Read a window as the devkit does: images by PIL, clouds as (6, n), states from the log."""
    source: Any = splits.source
    frame = source.recorded(int(source.index.frame[i]))
    cameras = {
        name.lower(): SimpleNamespace(
            image=np.array(Image.open(source.sensor_folder / camera["data_path"]))
        )
        for name, camera in frame["cams"].items()
        if name in ("CAM_F0", "CAM_L0", "CAM_R0")  # what the agent asks for
    }
    points = pcd.read(source.sensor_folder / frame["lidar_path"])
    cloud = np.stack([points[name].astype(np.float32) for name in points.dtype.names])
    state = np.asarray(frame["ego_dynamic_state"], np.float64)
    status = SimpleNamespace(
        ego_velocity=state[:2],
        ego_acceleration=state[2:],
        driving_command=np.asarray(frame["driving_command"]),
    )
    empty = SimpleNamespace()
    return SimpleNamespace(
        ego_statuses=[empty, empty, empty, status],
        cameras=[empty, empty, empty, SimpleNamespace(**cameras)],
        lidars=[empty, empty, empty, SimpleNamespace(lidar_pc=cloud)],
    )


def test_the_model_sees_what_our_own_data_set_gives_it(
    splits: Splits, small_world: DataConfig
) -> None:
    windows = PlanningDataset(splits.source, splits.test, ["image", "lidar"])
    for n, i in enumerate(splits.test[:3]):
        ours = windows[n]
        theirs = sample_of(input_of(splits, int(i)), experiment(small_world))
        assert set(theirs) == {"image", "lidar", "status"}
        for name, array in theirs.items():
            np.testing.assert_array_equal(array, ours[name].numpy(), err_msg=name)
            assert array.dtype == ours[name].numpy().dtype


def test_only_sensors_that_are_read_are_asked_for(small_world: DataConfig) -> None:
    both = sensor_names(experiment(small_world))
    assert {name for name, frames in both.items() if frames == [3]} == {
        "cam_f0", "cam_l0", "cam_r0", "lidar_pc",
    }  # fmt: skip
    front = replace(
        experiment(small_world, cameras=["CAM_F0"], image_hw=(36, 60)), backbone=tiny.ijepa()
    )
    assert {name for name, frames in sensor_names(front).items() if frames} == {"cam_f0"}


@pytest.mark.parametrize(("part", "said"), [("cameras", "CAM_L0"), ("lidars", "point cloud")])
def test_a_sensor_that_the_devkit_left_empty_is_refused(
    splits: Splits, small_world: DataConfig, part: str, said: str
) -> None:
    given = input_of(splits, int(splits.test[0]))
    if part == "cameras":
        given.cameras[-1].cam_l0.image = None
    else:
        given.lidars[-1].lidar_pc = None
    with pytest.raises(DataError, match=said):
        sample_of(given, experiment(small_world))


@pytest.mark.usefixtures("devkit")
def test_the_agent_plans_as_the_checkpoint_does(
    splits: Splits, small_world: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment(small_world)
    trained = build_planning(config)
    checkpoint = {"state_dict": trained.state_dict()}
    trained.on_save_checkpoint(checkpoint)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    fitting.save(tmp_path / "run" / "checkpoints" / "best.ckpt", checkpoint)
    monkeypatch.setattr(navsim_agent, "config_of", lambda run_dir: config)
    agent = navsim_agent.build(str(tmp_path / "run"))
    agent.initialize()
    planned = agent.compute_trajectory(input_of(splits, int(splits.test[0])))
    windows = PlanningDataset(splits.source, splits.test, ["image", "lidar"])
    expected = trained.predict({name: value[None] for name, value in windows[0].items()})[0]
    np.testing.assert_allclose(planned.poses, expected.numpy(), atol=1e-5)
    assert planned.poses.dtype == np.float32
    assert planned.trajectory_sampling.interval_length == 0.5
    assert agent.name() == "ours-run"
    assert agent.get_sensor_config().cam_b0 is False


def test_without_the_devkit_there_is_no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "navsim", None)
    with pytest.raises(ConfigError, match="not installed"):
        agent_class()


def test_images_that_were_decoded_smaller_are_not_what_the_devkit_gives(
    small_world: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled = experiment(small_world, decode="scaled")
    monkeypatch.setattr(navsim_agent, "experiment_of", lambda run_dir: scaled)
    with pytest.raises(ConfigError, match=r"data\.decode=scaled"):
        navsim_agent.config_of(Path("run"))


@pytest.fixture
def predicted(tmp_path: Path) -> Path:
    """A run folder with the predictions of two windows."""
    (tmp_path / "scored" / "scores").mkdir(parents=True)
    poses = np.arange(48, dtype=np.float32).reshape(2, 8, 3)
    tokens = np.array([b"a", b"b"])
    np.savez(tmp_path / "scored" / "scores" / "planner.npz", token=tokens, poses=poses)
    return tmp_path / "scored"


@pytest.mark.usefixtures("devkit")
def test_the_command_exports_predictions_and_says_that_they_are_not_scored(
    predicted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = predicted / "submission.pkl"
    assert main(["export", str(predicted), str(path), "--team-name", "us"]) == 0
    assert "2 predictions" in capsys.readouterr().out
    said = pickle.loads(path.read_bytes())
    assert said["team_name"] == "us"
    assert list(said["predictions"][0]) == ["a", "b"]


def test_the_command_without_the_devkit_or_predictions_is_one_message(
    predicted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "navsim", None)
    assert main(["export", str(predicted), str(predicted / "s.pkl")]) == 2
    assert "not installed" in capsys.readouterr().err
    assert main(["export", str(predicted / "none"), str(predicted / "s.pkl")]) == 2
    assert "there are no predictions at" in capsys.readouterr().err
