"""Write a synthetic data set: every log on its own, so that logs can be made in parallel."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

from PIL import Image

from experiments.data import pcd
from experiments.data.synthetic.cameras import RENDERED, rig
from experiments.data.synthetic.lidar import scan
from experiments.data.synthetic.openscene_log import LogContext, draw_origin, log_frames, log_map
from experiments.data.synthetic.render import Renderer
from experiments.data.synthetic.stage import Stage, set_stage
from experiments.data.synthetic.texture import draw_palette, paint_ground
from experiments.data.synthetic.world import World, build_world, rng_for
from experiments.settings import SyntheticConfig

LOGS, SENSORS, MAPS = "navsim_logs", "sensor_blobs", "maps"
"""Folders of a data set."""
_SENSOR_NAMES = (*RENDERED, "MergedPointCloud")
_LARGE_PX = 540 * 960
"""Images of so many pixels are written as cameras write them, and a log of them is worth a process
of its own."""
_LOGS_PER_WORKER = 4
"""Fewer logs of small images than this are not worth a process."""
_SCENERY, _PLACE, _LIDAR, _COLOURS, _RAIN = range(1, 6)
"""Purposes of random streams; 0 is the world's."""


def write_log(config: SyntheticConfig, root: Path, number: int) -> None:
    """Write log `number` below `root`: pickle, map, camera images and point clouds."""
    world = build_world(config, number)
    stage = set_stage(rng_for(config, number, _SCENERY), world)
    origin = draw_origin(rng_for(config, number, _PLACE))
    context = LogContext(config, world, stage.ego, origin)
    for folder in (LOGS, MAPS, *(f"{SENSORS}/{context.name}/{name}" for name in _SENSOR_NAMES)):
        (root / folder).mkdir(parents=True, exist_ok=True)
    frames = log_frames(context, rig(config.camera_hw))
    with (root / LOGS / f"{context.name}.pkl").open("wb") as file:
        pickle.dump(frames, file, protocol=4)
    text = json.dumps(log_map(context), separators=(",", ":"))
    (root / MAPS / f"{context.name}.json").write_text(text)
    _write_images(context, root / SENSORS, world, stage)
    _write_sweeps(context, root / SENSORS, stage)


def _write_images(context: LogContext, sensors: Path, world: World, stage: Stage) -> None:
    rng = rng_for(context.config, world.number, _COLOURS)
    palette = draw_palette(rng, world.layout.town, world.weather)
    cameras = rig(context.config.camera_hw)
    ground = paint_ground(rng, world.layout, palette, world.reach())
    used = tuple(cameras[name] for name in RENDERED)
    renderer = Renderer(used, ground, world.weather, stage.mesh)
    drops = rng_for(context.config, world.number, _RAIN)
    for frame in range(len(stage.ego)):
        images = renderer.render(drops, stage.ego[frame], stage.body(frame))
        for name, image in images.items():
            (sensors / context.sensor_path(frame, name, "jpg")).write_bytes(_jpeg(image))


def _jpeg(image: Image.Image) -> bytes:
    buffer = BytesIO()
    if image.width * image.height >= _LARGE_PX:
        image.save(buffer, "JPEG", quality=75, subsampling="4:2:0")  # about 250 KiB at 1080 x 1920
    else:  # full resolution of colours: lane paint is one or two pixels wide
        image.save(buffer, "JPEG", quality=90, subsampling="4:4:4")
    return buffer.getvalue()


def _write_sweeps(context: LogContext, sensors: Path, stage: Stage) -> None:
    rng = rng_for(context.config, context.world.number, _LIDAR)
    for frame in range(len(stage.ego)):
        points = scan(rng, stage.mesh, stage.body(frame).poses)
        path = sensors / context.sensor_path(frame, "MergedPointCloud", "pcd")
        path.write_bytes(pcd.encode(points))


def write_logs(config: SyntheticConfig, root: Path, numbers: Iterable[int]) -> None:
    """Write some of the logs of `config` below `root`."""
    for number in numbers:
        write_log(config, root, number)


def generate(config: SyntheticConfig, root: Path) -> None:
    """Write all logs of `config` below `root`, on all cores this process may use.

    Raises:
        RuntimeError: a worker failed; the message ends with what it said.
    """
    is_large = math.prod(config.camera_hw) >= _LARGE_PX
    most = config.num_logs // (1 if is_large else _LOGS_PER_WORKER)
    num_workers = min(len(os.sched_getaffinity(0)), most)
    if num_workers < 2:
        write_logs(config, root, range(config.num_logs))
        return
    workers = [_start_worker(config, root, first, num_workers) for first in range(num_workers)]
    try:
        for worker in workers:
            _, said = worker.communicate()
            if worker.returncode != 0:
                raise RuntimeError(f"a generator process failed:\n{said}")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _start_worker(
    config: SyntheticConfig, root: Path, first: int, stride: int
) -> subprocess.Popen[str]:
    # Plain commands rather than multiprocessing, which would import the caller's script again
    # and is forbidden in daemonic processes.
    packages = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "experiments.data.synthetic.worker"),
            *(json.dumps(asdict(config)), str(root), str(first), str(stride)),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, packages))},
        stderr=subprocess.PIPE,
        text=True,
    )
