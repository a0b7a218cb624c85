"""Weak and strong scaling of a training on the GPUs of this machine, by the launcher's own probes.

python benchmarks/gpu/scaling.py --out scaling.json

Each shape is a probe (`launch probe`): a few dozen optimizer steps of a model at paper size with
JPEG files of 1080 x 1920 on disk, in bfloat16, with the loaders, DDP and telemetry of a real run.
Each GPU comes with its share of the machine's cores, as in a job of SLURM, and with no others.
Weak: `--per-gpu` windows on each GPU. Strong: so many in all. `--decode once` decodes the files
when the first shape asks for them; the other ways are those of `data.decode`, at each visit, with
a dataloader process for each core but one. `visited` keeps them from their first visit on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import results

MODELS = {
    "transfuser": ("backbone=transfuser", "head=transfuser", "trainer.precision=bf16-mixed"),
    "vith_frozen": (
        *("backbone=ijepa_vith14", "head=mlp", "finetune=frozen"),
        *("features=online", "trainer.precision=bf16-true"),
    ),
    "vith_last4": (
        *("backbone=ijepa_vith14", "head=mlp", "finetune=last_n"),
        *("finetune.blocks=4", "features=online", "trainer.precision=bf16-true"),
    ),
}
NAMES = {
    "transfuser": "TransFuser",
    "vith_frozen": "frozen ViT-H/14 and MLP head",
    "vith_last4": "ViT-H/14, last 4 blocks tuned, and MLP head",
}
WAYS = {
    "once": "images decoded once",
    "visited": "images kept from their first visit",
    "scaled": "JPEG decoded at each visit",
    "full": "JPEG decoded in full at each visit",
    "gpu": "JPEG decoded on the GPU",
}
DATA = ("data.synthetic.num_logs=48", "data.synthetic.frames_per_log=24")
FEW = ("data.decode=scaled", "data.num_workers=8")


def launch(folder: Path, *words: str, cores: set[int] | None = None) -> str:
    """Call `launch` in a folder, on these cores or all; what it prints on stdout."""
    allowed = os.sched_getaffinity(0)
    command = [sys.executable, "-c", "from launcher.cli import main; main()", *words]
    os.sched_setaffinity(0, cores or allowed)  # inherited
    try:
        done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, check=False)
    finally:
        os.sched_setaffinity(0, allowed)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}")
    return done.stdout


def probe(folder: Path, kind: str, gpus: int, batch_size: int, arguments: Any) -> None:
    """Probe one shape, beside the data that all of them share."""
    cores = sorted(os.sched_getaffinity(0))
    share = len(cores) // max(arguments.most, 1)
    ways = {
        "once": (*FEW, "data.cache_decoded=true"),
        "visited": (*FEW, f"data.decoded_dir={folder}/visited"),
    }
    each_visit = (f"data.decode={arguments.decode}", f"data.num_workers={share - 1}")
    launch(
        arguments.project,
        "probe",
        *MODELS[arguments.model],
        *DATA,
        f"scale={arguments.scale}",
        f"paths.data_dir={folder}/data",
        f"paths.output_dir={folder}/{kind}",
        f"resources.gpus={gpus}",
        f"resources.cpus_per_rank={share}",
        f"resources.mem_gb={arguments.mem_gb}",
        *ways.get(arguments.decode, each_visit),
        f"trainer.batch_size={batch_size}",
        f"trainer.max_micro_batch_size={arguments.per_gpu}",
        f"hydra.launcher.study={kind}",
        f"--steps={arguments.steps}",
        *arguments.overrides,
        cores=set(cores[: share * max(gpus, 1)]),
    )


def random_weights() -> Path:
    """A file of a ViT-H/14 as I-JEPA has published one, but with random weights."""
    from experiments import fitting
    from experiments.models import IJepaPretraining, official_checkpoint
    from experiments.settings import BackboneConfig

    path = Path(tempfile.gettempdir(), "random-vith14.pth.tar")
    if not path.exists():
        encoder = IJepaPretraining(BackboneConfig(name="ijepa", depth=32), image_hw=(224, 224))
        fitting.save(path, official_checkpoint(encoder))
    return path


def main() -> None:
    """Probe all shapes, print and save what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", default="", help="numbers to try, like 1,2,4; all powers of two")
    parser.add_argument("--kinds", default="weak,strong")
    parser.add_argument("--model", default="transfuser", choices=MODELS)
    parser.add_argument("--per-gpu", type=int, default=64, help="windows, or all of them if strong")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--scale", default="paper")
    parser.add_argument("--decode", default="once", choices=WAYS)
    parser.add_argument("--mem-gb", type=float, default=64, help="host memory to ask for")
    parser.add_argument("--out", type=Path, default=None, help="file for the figures, as JSON")
    parser.add_argument("--folder", default=None, help="keeps data and runs; temporary without")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    arguments.project = Path(__file__).resolve().parents[2]
    there = torch.cuda.device_count()
    wanted = arguments.gpus or ",".join(str(n) for n in (1, 2, 4, 8) if n <= there)
    if not wanted:
        results.require_gpus(1, "`--gpus 0 --scale tiny` tries a probe on the CPU")
    counts = [int(word) for word in wanted.split(",")]
    results.require_gpus(max(counts))
    arguments.most = max(counts)
    if arguments.model.startswith("vith"):
        arguments.overrides.append(f"backbone.weights={random_weights()}")
    temporary = tempfile.TemporaryDirectory()
    with nullcontext(arguments.folder) if arguments.folder else temporary as name:
        found = {kind: measured(Path(name), kind, counts, arguments)
                 for kind in arguments.kinds.split(",")}  # fmt: skip
    subject = f"{NAMES[arguments.model]}, {WAYS[arguments.decode]}"
    results.save(arguments.out, "scaling", {"subject": subject, "kinds": found})


def measured(folder: Path, kind: str, counts: list[int], arguments: Any) -> list[dict[str, Any]]:
    """Figures of all shapes of one kind, printed as they come."""
    for gpus in counts:
        ranks = max(gpus, 1) if kind == "weak" else 1
        probe(folder, kind, gpus, arguments.per_gpu * ranks, arguments)
    print(kind)
    print(launch(arguments.project, "scaling", f"--root={folder}/{kind}", "--all"), flush=True)
    text = launch(arguments.project, "scaling", f"--root={folder}/{kind}", "--json")
    rows: list[dict[str, Any]] = json.loads(text)
    return rows


if __name__ == "__main__":
    main()
