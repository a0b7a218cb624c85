"""Camera images and point clouds of NAVSIM's size per second and core, in several ways.

python benchmarks/decoding.py

A sample is three cameras of 1080 x 1920, stitched to 256 x 1024. The images are drawn, with grain
as a camera has it; their size is printed, since that is what decoding takes most of its time for.
Ways are measured in turn, so that only ratios count. Libraries that are not installed are left out.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.data import bev, pcd
from experiments.data.images import CAMERAS, read_panorama, stitch

HW, TARGET_HW = (1080, 1920), (256, 1024)
POINTS = 160_000
Ways = dict[str, Callable[[], Any]]


def drawn(seed: int, grain: float) -> NDArray[np.uint8]:
    """An image of soft shapes and edges with grain."""
    draws = np.random.default_rng(seed)
    rows, columns = np.mgrid[: HW[0], : HW[1]]
    image = np.stack(
        [60 + 40 * np.sin(rows / 90 + i) + 40 * np.cos(columns / 130) for i in range(3)]
    )
    for _ in range(60):
        top, left = draws.integers(0, HW[0] - 40), draws.integers(0, HW[1] - 40)
        height, width = draws.integers(10, 300), draws.integers(10, 300)
        image[:, top : top + height, left : left + width] += draws.uniform(-60, 60, (3, 1, 1))
    image += draws.normal(0, grain, (1, *HW))
    return np.clip(image, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """The image as a file."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=quality)
    return content.getvalue()


def ways_of(paths: list[Path]) -> Ways:
    """Ways to the panorama of three image files."""
    ways: Ways = {
        "PIL, all pixels (data.decode=full)": lambda: read_panorama(
            paths, CAMERAS, TARGET_HW, scaled=False
        ),
        "PIL, a quarter (data.decode=scaled)": lambda: read_panorama(
            paths, CAMERAS, TARGET_HW, scaled=True
        ),
    }
    turbo = installed("simplejpeg")
    if turbo is not None:
        ways["simplejpeg, all pixels"] = lambda: stitch(
            [turbo.decode_jpeg(path.read_bytes(), "RGB") for path in paths], CAMERAS, TARGET_HW
        )
        ways["simplejpeg, a quarter"] = lambda: stitch(
            [
                turbo.decode_jpeg(path.read_bytes(), "RGB", min_height=270, min_width=480)
                for path in paths
            ],
            CAMERAS,
            TARGET_HW,
        )
    vision, torch = installed("torchvision.io"), installed("torch")
    if vision is not None and torch is not None:
        torch.set_num_threads(1)
        ways["torchvision, all pixels"] = lambda: stitch(
            [
                vision.decode_jpeg(vision.read_file(str(path))).permute(1, 2, 0).numpy()
                for path in paths
            ],
            CAMERAS,
            TARGET_HW,
        )
    return ways


def installed(name: str) -> Any:
    """The module, or None."""
    try:
        return import_module(name)
    except ImportError:
        return None


def measured(ways: Ways, rounds: int) -> dict[str, float]:
    """Median CPU seconds of each way; all ways in each round."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            began = time.process_time()
            way()
            if number:
                taken[name].append(time.process_time() - began)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def show(seconds: dict[str, float]) -> None:
    """Print samples per second of a core, and the ratio to the first way."""
    first = next(iter(seconds.values()))
    for name, took in seconds.items():
        print(f"  {name:40} {1 / took:7.1f} samples/s per core   {first / took:5.2f} x")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, grain, quality in (("little grain", 3.0, 85), ("much grain", 12.0, 85)):
            contents = [jpeg(drawn(seed, grain), quality) for seed in range(3)]
            paths = [folder / f"{seed}.jpg" for seed in range(3)]
            for path, content in zip(paths, contents, strict=True):
                path.write_bytes(content)
            kib = sum(len(content) for content in contents) / 3 / 1024
            print(f"3 x {HW[0]} x {HW[1]}, {label}: {kib:.0f} KiB a file")
            show(measured(ways_of(paths), rounds))
        cloud = np.zeros(POINTS, pcd.POINT)
        cloud["x"], cloud["y"] = np.random.default_rng(0).normal(0, 25, (2, POINTS))
        cloud["z"] = np.random.default_rng(1).normal(0.3, 1, POINTS)
        path = folder / "cloud.pcd"
        path.write_bytes(pcd.encode(cloud))
        print(f"point cloud of {POINTS} points")
        show(measured({"read and count": lambda: bev.histogram(pcd.read(path), 256, 32.0)}, rounds))


if __name__ == "__main__":
    main()
