"""Windows per second that reach a GPU which trains on them, by way of decoding and cores.

python benchmarks/gpu/loading.py --out loading.json

A training step of TransFuser at paper size in bfloat16, fed by a dataloader from JPEG files of
1080 x 1920 and point clouds on disk, on so many cores: one launches, each other one has a
dataloader process. Beside it: batches that lie on the GPU already, which is as fast as it gets.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import results  # noqa: E402
from decoding import POINTS, drawn, jpeg  # noqa: E402
from steps import TRAINING, WARM_UP, batch_of, config_of, learn, prepared  # noqa: E402

from experiments.data import bev, pcd  # noqa: E402
from experiments.data.augmentation import draw  # noqa: E402
from experiments.data.decoding import collate  # noqa: E402
from experiments.data.encoded import Encoded, Panorama  # noqa: E402
from experiments.data.images import CAMERAS, read_panorama  # noqa: E402
from experiments.devices import moved_beside  # noqa: E402
from experiments.workers import give_way  # noqa: E402
from launcher.callbacks.pace import Pace  # noqa: E402

PANORAMA = Panorama(tuple(CAMERAS), (256, 1024))
DISTINCT = 32
"""Windows with files of their own."""


class Windows(Dataset[dict[str, Any]]):
    """Sensors from files; whatever else a step reads is noise."""

    def __init__(self, folder: Path, decode: str, rest: dict[str, Tensor], count: int) -> None:
        self.folder, self.decode, self.rest, self.count = folder, decode, rest, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, n: int) -> dict[str, Any]:
        folder = self.folder / str(n % DISTINCT)
        paths = [folder / f"{camera}.jpg" for camera in CAMERAS]
        image: Any
        if self.decode == "gpu":
            image = Encoded.read(paths, PANORAMA)
        else:
            scaled = self.decode == "scaled"
            image = torch.from_numpy(read_panorama(paths, CAMERAS, PANORAMA.hw, scaled=scaled))
        lidar = torch.from_numpy(bev.histogram(pcd.read(folder / "lidar.pcd"), 256, 32.0))
        row = n % len(self.rest["status"])
        rest = {name: values[row] for name, values in self.rest.items()}
        return {**rest, "image": image, "lidar": lidar, "index": n}


def write_window(folder: Path, number: int) -> int:
    """Make the files of a window; the bytes of its images."""
    there, size = folder / str(number), 0
    there.mkdir()
    for place, camera in enumerate(CAMERAS):
        content = jpeg(drawn(3 * number + place, 4.0), 85)
        size += (there / f"{camera}.jpg").write_bytes(content)
    cloud = np.zeros(POINTS, pcd.POINT)
    cloud["x"], cloud["y"] = np.random.default_rng(number).normal(0, 25, (2, POINTS))
    (there / "lidar.pcd").write_bytes(pcd.encode(cloud))
    return size


class Training:
    """Steps of one model."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.device = torch.device("cuda", 0)
        self.config = config_of(arguments.scale)
        self.model = prepared(TRAINING, self.config, self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)
        self.trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=self.device))
        self.pace = Pace()

    def step(self, batch: dict[str, Any], number: int) -> None:
        """One, as far ahead of the GPU as a training is."""
        factors = draw(0, number, np.arange(len(batch["image"])))
        learn(self.model, self.optimizer, batch, factors)
        self.pace.on_train_batch_end(self.trainer)

    def windows_per_s(self, batches: Iterator[dict[str, Any]], skipped: int, steps: int) -> float:
        """Of so many steps behind the first, which use up what was read ahead."""
        began, count = 0.0, 0
        for number in range(skipped + steps):
            if number == skipped:
                torch.cuda.synchronize()
                began = time.perf_counter()
            batch = next(batches)
            batch.pop("index", None)
            there = moved_beside(
                lambda batch=batch: {
                    name: value.to(self.device, non_blocking=True) for name, value in batch.items()
                },
                self.device,
            )
            self.step(dict(there), number)
            count += len(there["status"]) if number >= skipped else 0
        torch.cuda.synchronize()
        return count / (time.perf_counter() - began)


def measure(folder: Path, arguments: argparse.Namespace, cores: int) -> dict[str, float]:
    """All ways on the cores that this process has."""
    training = Training(arguments)
    noise = batch_of(training.config, arguments.windows, torch.device("cpu"))
    there = {name: value.to(training.device) for name, value in noise.items()}
    found: dict[str, float] = {}
    name = f"{cores} cores, on the GPU already"
    found[name] = training.windows_per_s(iter(lambda: dict(there), None), WARM_UP, arguments.steps)
    print(f"{found[name]:8.0f} windows/s  {name}", flush=True)
    rest = {name: value for name, value in noise.items() if name not in ("image", "lidar")}
    workers = max(cores - 1, 1)
    for decode in arguments.decode:
        skipped = 2 * workers  # read ahead
        steps = max(arguments.steps, 4 * workers)  # their batches come in bursts
        count = (skipped + steps + 2 * workers) * arguments.windows
        loader: DataLoader[Any] = DataLoader(
            Windows(folder, decode, rest, count),
            batch_size=arguments.windows,
            collate_fn=collate,
            num_workers=workers,
            pin_memory=True,
            worker_init_fn=give_way,
        )
        name = f"{cores} cores, data.decode={decode}"
        found[name] = training.windows_per_s(iter(loader), skipped, steps)
        print(f"{found[name]:8.0f} windows/s  {name}", flush=True)
    return found


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", default="4,16", help="numbers to try")
    parser.add_argument("--decode", nargs="*", default=["full", "scaled", "gpu"])
    parser.add_argument("--scale", default="paper")
    parser.add_argument("--windows", type=int, default=64, help="of a step")
    parser.add_argument("--steps", type=int, default=20, help="to measure, at least")
    parser.add_argument("--out", type=Path, default=None, help="file for the figures, as JSON")
    arguments = parser.parse_args()
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    results.require_gpus(1)
    there = sorted(os.sched_getaffinity(0))
    numbers = [n for n in map(int, arguments.cores.split(",")) if n <= len(there)]
    if not numbers:
        parser.error(f"--cores {arguments.cores}: there are {len(there)} cores")
    context = torch.multiprocessing.get_context("spawn")
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        with ProcessPoolExecutor() as pool:
            sizes = list(pool.map(partial(write_window, Path(name)), range(DISTINCT)))
        kib = sum(sizes) / len(sizes) / len(CAMERAS) / 1024
        print(f"{kib:.0f} KiB an image", flush=True)
        for cores in numbers:
            os.sched_setaffinity(0, there[:cores])  # inherited by the process
            with ProcessPoolExecutor(1, context) as alone:
                found |= alone.submit(measure, Path(name), arguments, cores).result()
    os.sched_setaffinity(0, there)
    results.save(
        arguments.out, "loading", {"windows": arguments.windows, "kib": kib, "per_s": found}
    )


if __name__ == "__main__":
    main()
