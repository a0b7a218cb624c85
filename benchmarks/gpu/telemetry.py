"""What a run's record says of its GPU, against what nvidia-smi says at the same time.

python benchmarks/gpu/telemetry.py --out telemetry.json

A probe of TransFuser at paper size on one GPU, in bfloat16; nvidia-smi is asked twice a second. Its
mean counts from 3 s after the card began to work to 3 s before it stopped, as the record leaves out
the start and what follows the steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from scaling import DATA, MODELS, launch, results

REPOSITORY = Path(__file__).resolve().parents[2]
EVERY_MS = 500
EDGE = 3_000 // EVERY_MS
ASKED = "utilization.gpu,power.draw,memory.used"


def probed(folder: Path, arguments: Any) -> dict[str, Any]:
    """Probe, and return the record of rank 0."""
    launch(
        REPOSITORY,
        "probe",
        *MODELS["transfuser"],
        *DATA,
        "scale=paper",
        f"paths.data_dir={folder}/data",
        f"paths.output_dir={folder}/out",
        "resources.gpus=1",
        f"resources.cpus_per_rank={arguments.workers + 1}",
        f"data.num_workers={arguments.workers}",
        "resources.mem_gb=24",
        "data.decode=scaled",
        "trainer.batch_size=64",
        "hydra.launcher.study=telemetry",
        f"--steps={arguments.steps}",
    )
    (path,) = Path(folder).glob("out/**/attempts/*.use/0.json")
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def watched(gpu: int) -> subprocess.Popen[str]:
    """Start nvidia-smi."""
    command = ["nvidia-smi", f"--id={gpu}", f"--query-gpu={ASKED}"]
    command += ["--format=csv,noheader,nounits", f"--loop-ms={EVERY_MS}"]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE)


def working(lines: list[str]) -> list[list[float]]:
    """Looks while the card worked, without the edges."""
    looks = [[float(word) for word in line.split(",")] for line in lines]
    # Before the steps a card works for moments only.
    busy = [n for n in range(len(looks) - 4) if all(look[0] > 5 for look in looks[n : n + 4])]
    return looks[busy[0] + EDGE : busy[-1] + 4 - EDGE] if busy else []


def main() -> None:
    """Probe, compare, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--workers", type=int, default=15)
    parser.add_argument("--folder", default=None, help="keeps data and runs; temporary without")
    parser.add_argument("--gpu", type=int, default=0, help="number that nvidia-smi has for it")
    parser.add_argument("--out", type=Path, default=None, help="file for the figures, as JSON")
    arguments = parser.parse_args()
    results.require_gpus(1)
    with nullcontext(arguments.folder) if arguments.folder else TemporaryDirectory() as name:
        process = watched(arguments.gpu)
        try:
            record = probed(Path(name), arguments)
        finally:
            process.terminate()
        lines, _ = process.communicate()
    looks = working(lines.splitlines())
    percent, power_w, memory_mib = (statistics.mean(column) for column in zip(*looks, strict=True))
    memory = max(look[2] for look in looks)
    train = next(phase for phase in record["phases"] if phase["phase"] == "train")
    rows = {
        "utilization": (record["gpu_utilization"], percent / 100),
        "power [W]": (record["gpu_power_w"], power_w),
        "memory [GiB]": (train["gpu_gb"], memory / 1024),
    }
    steps = record["timed_steps"]
    print(f"{torch.cuda.get_device_name()}, {steps} timed steps, {len(looks)} looks")
    for what, (ours, theirs) in rows.items():
        print(f"  {what:14} record {ours:8.2f}   nvidia-smi {theirs:8.2f}   {ours / theirs:.3f}")
    print(f"  memory: the peak of torch in the record, {memory_mib:.0f} MiB with the context there")
    results.save(arguments.out, "telemetry", rows)


if __name__ == "__main__":
    main()
