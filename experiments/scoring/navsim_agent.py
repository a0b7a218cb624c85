"""A trained run as an agent of the official NAVSIM devkit (v1.1).

    run_pdm_score.py agent._target_=experiments.scoring.navsim_agent.build +agent.run=<run folder>

The class is made when it is asked for, because its base is the devkit's. Its numbers are the
devkit's own: what is read back from its table says `navsim` as the scorer.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments import fitting
from experiments.data import bev, images
from experiments.data.errors import DataError
from experiments.data.source import STATUS
from experiments.models.planning import PlanningModule
from experiments.planners import planner
from experiments.scoring.navsim_bridge import devkit
from experiments.settings import (
    POSE_INTERVAL_S,
    POSES,
    SENSORS_OF,
    DataConfig,
    ExperimentConfig,
    from_config,
    register,
)
from launcher import store
from launcher.context import RunContext
from launcher.errors import ConfigError
from launcher.studies import frozen_config

Arrays = dict[str, NDArray[Any]]


def build(run: str) -> Any:
    """Return the agent of a trained run, for the devkit's Hydra.

    Args:
        run: Folder of the run.

    Raises:
        ConfigError: the devkit is not importable, is v2, or the run reads what it does not give.
    """
    return agent_class()(run)


def agent_class() -> type[Any]:
    """Make the devkit's subclass of AbstractAgent.

    Raises:
        ConfigError: the devkit is not importable, or is v2.
    """
    kit = devkit()
    if not kit.is_v1:
        raise ConfigError(
            f"the devkit in `{kit.folder}` is not v1, whose agents these are",
            hint="v2 calls agents in another way and computes another score (EPDMS)",
        )
    base: Any = importlib.import_module("navsim.agents.abstract_agent").AbstractAgent
    sensors: Any = importlib.import_module("navsim.common.dataclasses").SensorConfig

    class TrainedRun(base):  # type: ignore[misc]
        """Plans as the best checkpoint of a run does."""

        def __init__(self, run: str) -> None:
            super().__init__()
            self._run = Path(run)
            self._config = config_of(self._run)
            self._planner: PlanningModule | None = None

        def name(self) -> str:
            """Name of the agent in the devkit's tables: ours, and the run's key."""
            return f"ours-{self._run.name}"

        def get_sensor_config(self) -> Any:
            """Ask for the sensors that the backbone reads, of the current frame."""
            return sensors(**sensor_names(self._config))

        def initialize(self) -> None:
            """Load the checkpoint."""
            self._planner = load(self._run, self._config)

        def compute_trajectory(self, agent_input: Any) -> Any:
            """Plan 4 s in the frame of the current rear axle."""
            if self._planner is None:
                self.initialize()
            assert self._planner is not None
            sample = sample_of(agent_input, self._config)
            device = next(self._planner.parameters()).device
            batch = {k: torch.from_numpy(v)[None].to(device) for k, v in sample.items()}
            poses = self._planner.predict(batch)[0].cpu().numpy().astype(np.float32)
            sampling = kit.sampling(num_poses=POSES, interval_length=POSE_INTERVAL_S)
            return kit.trajectory(poses, sampling)

    return TrainedRun


def experiment_of(run_dir: Path) -> ExperimentConfig:
    """Return the experiment of a run as it was sent last.

    Raises:
        StoreError: there is no such run.
    """
    register()  # its config refers to values by resolvers of ours
    return from_config(frozen_config(run_dir))


def config_of(run_dir: Path) -> ExperimentConfig:
    """Return the experiment of a run as an agent runs it: sensors are encoded anew.

    Raises:
        ConfigError: it is no training, or its images are decoded in a way the devkit does not.
        StoreError: there is no such run.
    """
    experiment = experiment_of(run_dir)
    if experiment.task != "train":
        raise ConfigError(f"`{run_dir}` is a run of task={experiment.task}, not of task=train")
    if experiment.data.decode == "scaled":
        raise ConfigError(
            f"`{run_dir}` has learnt from images with data.decode=scaled, and the devkit hands"
            " over images that are decoded in full",
            hint="export its predictions instead: python -m experiments.scoring.navsim_bridge",
        )
    return replace(experiment, features=replace(experiment.features, mode="online"))


def load(run_dir: Path, experiment: ExperimentConfig) -> PlanningModule:
    """Return the planner of a run with its best checkpoint, in evaluation mode.

    Raises:
        ConfigError, DataError: what it was made from is not there any more, or is another one.
    """
    sent = store.submission(run_dir)
    inputs = {label: Path(path) for label, path in sent.inputs.items()} if sent else {}
    context = RunContext(
        run_dir=run_dir, key=run_dir.name, name=run_dir.name, attempt="agent", inputs=inputs
    )
    torch.manual_seed(experiment.trainer.seed)
    module = planner(experiment, context)
    fitting.load_planner(module, fitting.checkpoint_dir(run_dir) / "best.ckpt")
    return module.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def sensor_names(experiment: ExperimentConfig) -> dict[str, list[int] | bool]:
    """Return arguments of the devkit's SensorConfig: frames of the history by sensor."""
    data, sensors = experiment.data, SENSORS_OF[experiment.backbone.name]
    now = [data.num_history_frames - 1]
    every = ("cam_f0", "cam_l0", "cam_l1", "cam_l2", "cam_r0", "cam_r1", "cam_r2", "cam_b0")
    wanted = {camera.lower() for camera in data.cameras} if "image" in sensors else set()
    asked: dict[str, list[int] | bool] = {
        name: list(now) if name in wanted else False for name in every
    }
    return {**asked, "lidar_pc": list(now) if "lidar" in sensors else False}


def sample_of(agent_input: Any, experiment: ExperimentConfig) -> Arrays:
    """Return what the model reads of the devkit's AgentInput, as our own data sets make it.

    Keys: `status` float32 (8,), and what the backbone reads of `image` uint8 (3, H, W) and
    `lidar` float32 (1, P, P).

    Raises:
        DataError: a sensor is empty, as the devkit leaves it where a file is missing.
    """
    data, sensors = experiment.data, SENSORS_OF[experiment.backbone.name]
    sample: Arrays = {"status": _status(agent_input.ego_statuses[-1])}
    if "image" in sensors:
        sample["image"] = _panorama(agent_input.cameras[-1], data)
    if "lidar" in sensors:
        sample["lidar"] = _histogram(agent_input.lidars[-1], data)
    return sample


def _status(ego: Any) -> NDArray[np.float32]:
    status = np.zeros(8, np.float32)
    status[STATUS["command"]] = ego.driving_command
    status[STATUS["velocity"]] = ego.ego_velocity
    status[STATUS["acceleration"]] = ego.ego_acceleration
    if not np.isfinite(status).all():
        raise DataError(f"the ego's state is not finite: {status.tolist()}")
    return status


def _panorama(cameras: Any, data: DataConfig) -> NDArray[np.uint8]:
    pixels = []
    for name in data.cameras:
        image = getattr(cameras, name.lower()).image
        if image is None:
            raise DataError(f"the devkit gives no image of {name}: its file is missing")
        pixels.append(np.asarray(image, np.uint8))
    return images.stitch(pixels, data.cameras, data.image_hw)


def _histogram(lidar: Any, data: DataConfig) -> NDArray[np.float32]:
    cloud = lidar.lidar_pc
    if cloud is None:
        raise DataError("the devkit gives no point cloud: its file is missing")
    rows = np.asarray(cloud, np.float32)[:3]
    points = np.empty(rows.shape[1], [("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
    for name, values in zip("xyz", rows, strict=True):
        points[name] = values
    return bev.histogram(points, data.bev_px, data.bev_range_m)
