"""Teacher scores on a GPU: the whole task, from scenes to shards, against scoring alone.

python benchmarks/gpu/teacher.py --out teacher.json

task=teacher with a vocabulary of arcs on the training windows of generated scenes, once per
device; the shards of a GPU and of a CPU must say the same. A CPU scores some windows only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import results
from scorer import vocabulary

from experiments.data import datasets
from experiments.scoring.pdm.from_source import SourceScenes
from experiments.scoring.pdm.score import score
from experiments.settings import DataConfig, ExperimentConfig, HeadConfig, SyntheticConfig
from experiments.teaching import score_vocabulary
from experiments.vocabulary import FILE_NAME, Vocabulary, save
from launcher.context import RunContext

COMPARED = 4
"""Scenes that are scored on a CPU too."""


def config_of(folder: Path, arguments: Any) -> ExperimentConfig:
    """Generated windows, and a head that wants teacher scores."""
    world = SyntheticConfig(num_logs=arguments.logs, frames_per_log=40, camera_hw=(45, 80))
    return ExperimentConfig(
        task="teacher",
        data=DataConfig(
            root=str(folder / "data"),
            synthetic=world,
            image_hw=(32, 128),
            bev_px=64,
            num_workers=arguments.workers,
        ),
        head=HeadConfig(name="hydra_mdp", teacher="scores", vocabulary_size=arguments.plans),
    )


def kernel_ms(config: ExperimentConfig, anchors: Any, device: str) -> tuple[float, float]:
    """Milliseconds per plan without reading and writing; the largest difference to the CPU."""
    splits = datasets(config.data)
    scenes = SourceScenes(splits.source, config.data)
    read = [scenes.read(row, splits.source.red_lights(row)) for row in splits.train[:16].tolist()]
    for scene in read:
        score(scene, anchors, device=device)
    began = time.perf_counter()
    found = [score(scene, anchors, device=device) for scene in read]
    ms = 1e3 * (time.perf_counter() - began) / len(read) / len(anchors)
    here = [score(scene, anchors) for scene in read[:COMPARED]]
    pairs = zip(found, here, strict=False)
    return ms, max(float(np.abs(a.pdms - b.pdms).max()) for a, b in pairs)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    parser.add_argument("--plans", type=int, default=8192)
    parser.add_argument("--workers", type=int, default=8, help="that read scenes")
    parser.add_argument("--logs", type=int, default=40)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.device == "cuda":
        results.require_gpus(1, "see --device cpu")
    anchors = np.asarray(vocabulary(arguments.plans), np.float32)
    accelerator = "gpu" if arguments.device == "cuda" else "cpu"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = config_of(folder, arguments)
        for part in ("vocabulary", "run"):
            (folder / part).mkdir()
        save(folder / "vocabulary" / FILE_NAME, Vocabulary(anchors, "arcs"))
        ms, difference = kernel_ms(config, anchors, arguments.device)
        context = RunContext(
            run_dir=folder / "run",
            key="teacher",
            name="teacher",
            attempt="001-000",
            accelerator=accelerator,
            inputs={"vocabulary": folder / "vocabulary"},
        )
        told = score_vocabulary(replace(config), context)
    task_ms = float(told["ms_per_plan"])
    card = torch.cuda.get_device_name() if arguments.device == "cuda" else "one CPU core"
    print(f"{card}: {arguments.plans} plans on {told['windows']} windows of generated scenes")
    found = {"ms_per_plan": ms, "task_ms_per_plan": task_ms, "windows": told["windows"]}
    for what, figure, source in results.teacher(found):
        print(f"  {what}: {figure} ({source})")
    print(f"  largest difference of a score to the CPU: {difference:.1e}")
    results.save(arguments.out, "teacher", found)


if __name__ == "__main__":
    main()
