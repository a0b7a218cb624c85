"""One training of four ranks on a real SLURM with NCCL, on nodes of four, two and one GPU.

python -m tests.slurm pack slurm.tar.xz                    # on a Debian machine with SLURM
python benchmarks/gpu/slurm.py --archive slurm.tar.xz --out slurm.json    # on a bare GPU host

For each kind of node a cluster is started (tests/slurm), tests/projects/chaos is submitted with
`resources.gpus=4`, and each rank says which card it trains on. Nothing else is said about shape.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]

import results  # noqa: E402

from tests.slurm import Lab, LabOptions, carrying, temporary_lab, why_not  # noqa: E402

GPUS = 4
GPU_TYPE = "h200"


def submitted(lab: Lab, arguments: Any) -> dict[str, Any]:
    """Train on this cluster; what came of it."""
    folder = lab.make_folder("chaos")
    shutil.copytree(REPOSITORY / "tests" / "projects" / "chaos", folder, dirs_exist_ok=True)
    lab.run(["chown", "-R", "researcher:", folder], as_user=False)
    cores = lab.options.cpus_per_node // lab.options.gpus_per_node
    words = [
        "hydra/launcher=slurm", "hydra.sweep.dir=outputs/s", "hydra.launcher.wait=true",
        f"hydra.launcher.resources.gpus={GPUS}",
        f"hydra.launcher.resources.cpus_per_rank={cores}",
        f"hydra.launcher.resources.mem_gb={4 * lab.options.gpus_per_node}",
        "hydra.launcher.resources.timeout_min=10",
        "hydra.launcher.cluster.partition=gpu",
        f"hydra.launcher.cluster.gpu_type={GPU_TYPE}",
        f"hydra.launcher.cluster.gpus_per_node={lab.options.gpus_per_node}",
        f"hydra.launcher.cluster.accelerator={arguments.accelerator}",
        "step_ms=0",
    ]  # fmt: skip
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        **{name: value for name, value in os.environ.items() if name.startswith("NCCL_")},
    }
    began = time.monotonic()
    done = lab.run(
        [sys.executable, "app.py", "-m", *words],
        cwd=folder,
        env=environment,
        timeout_s=240,
        check=False,
    )
    run_dir = folder / "outputs" / "s" / "0"
    return {
        "seconds": round(time.monotonic() - began, 1),
        "exit": done.returncode,
        "cards": lines_of(run_dir / "cards.jsonl"),
        "jobs": [f"{row['id']} {row['state']}" for row in lab.squeue()],
        "sha256": result_of(run_dir),
        "said": ""
        if done.returncode == 0
        else f"{done.stdout}{done.stderr}{logs(run_dir)}"[-4000:],
    }


def lines_of(path: Path) -> list[dict[str, Any]]:
    """What ranks wrote, in their order."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return sorted(lines, key=lambda line: int(line["rank"]))


def result_of(run_dir: Path) -> str:
    """Digest of the state at the end."""
    path = run_dir / "result.json"
    return str(json.loads(path.read_text())["sha256"]) if path.exists() else ""


def logs(run_dir: Path) -> str:
    """Ends of what the job printed."""
    found = sorted(run_dir.parent.glob(".submitit/*_log.*"))
    return "".join(f"\n--- {path.name}\n{path.read_text()[-1500:]}" for path in found)


def row_of(per_node: int, arguments: Any) -> dict[str, Any]:
    """Start a cluster of such nodes, train, stop it."""
    options = LabOptions(
        nodes=GPUS // per_node,
        gpus_per_node=per_node,
        real_gpus=arguments.accelerator == "gpu",
        gpu_type=GPU_TYPE,
        cpus_per_node=max(len(os.sched_getaffinity(0)) // GPUS, 1) * per_node,
        real_memory_mb=32_000 * per_node,
        accounting=False,
    )
    with temporary_lab(options) as lab:
        row = submitted(lab, arguments)
    cards = row["cards"]
    hosts = [card["host"] for card in cards]
    own = {card["card"] for card in cards} if arguments.accelerator == "gpu" else set(range(GPUS))
    is_right = row["exit"] == 0 and len(cards) == GPUS and len(own) == GPUS
    is_right = is_right and sorted(set(hosts)) == list(options.node_names)
    return {
        "shape": f"{options.nodes} x {per_node}",
        "green": is_right and bool(row["sha256"]),
        **row,
    }


def main() -> None:
    """Submit all shapes, print a line each, and fail if one is red."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, default=None, help="unpacked if SLURM is not here")
    parser.add_argument("--accelerator", default="gpu")
    parser.add_argument("--out", type=Path, default=None, help="file for the rows, as JSON")
    arguments = parser.parse_args()
    if arguments.accelerator == "gpu":
        results.require_gpus(4)
    options = LabOptions(accounting=False)
    if arguments.archive is not None and why_not(options) is not None:
        carrying.unpack(arguments.archive)
    if reason := why_not(options):
        raise SystemExit(reason)
    rows = [row_of(per_node, arguments) for per_node in (4, 2, 1)]
    for row in rows:
        places = ", ".join(f"{c['rank']}: {c['host']} {c['card'][:8]}" for c in row["cards"])
        print("green" if row["green"] else "RED  ", row["shape"], f"{row['seconds']} s", places,
              row["sha256"][:12], row["said"], sep="  ")  # fmt: skip
    results.save(arguments.out, "slurm", rows)
    sys.exit(not all(row["green"] for row in rows))


if __name__ == "__main__":
    main()
