"""Faults of a training on the GPUs of this machine, with NCCL, and what comes of each: one table.

python benchmarks/gpu/recovery.py --out recovery.json

Each case is a run of tests/projects/chaos under hydra/launcher=local, one rank a GPU, which goes on
by itself; at its end model, EMA, optimizer and schedule are compared to the bit with those of a run
that nothing disturbed. The last case is `train.py` on a GPU that has room for a few samples only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import results

REPOSITORY = Path(__file__).resolve().parents[2]
STEP = 25
"""At which faults are done, of 60."""
WITHIN_S = 400.0
Deed = Callable[[Path], None]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault: how it is done, and what its outcome is to be called."""

    name: str
    outcome: str
    overrides: tuple[str, ...] = ()
    deed: Deed | None = None
    """What is done to the run in this folder when it comes to STEP."""


def ranks(run_dir: Path) -> dict[int, int]:
    """Rank -> process id, of the latest life."""
    lines = (run_dir / "ranks.jsonl").read_text().splitlines()
    return {line["rank"]: line["pid"] for line in map(json.loads, lines)}


def steps(run_dir: Path) -> list[dict[str, Any]]:
    """Steps that were done, in the order in which they were."""
    path = run_dir / "steps.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def ask_all(run_dir: Path) -> None:
    """As a preemption does: the signal goes to all ranks."""
    for process in ranks(run_dir).values():
        os.kill(process, signal.SIGUSR1)


def kill_last(run_dir: Path) -> None:
    """The last rank ends without a word; the others wait for it in NCCL."""
    found = ranks(run_dir)
    os.kill(found[max(found)], signal.SIGKILL)


def cases(last_rank: int) -> list[Case]:
    """All faults that a machine of one node can have."""
    soon = ("hydra.launcher.recovery.hang_min_s=15", "hydra.launcher.recovery.hang_factor=10")
    limit = ("hydra.launcher.resources.timeout_min=1", "hydra.launcher.signal_delay_s=30")
    hang = ("fault=hang_after", f"fault.rank={last_rank}", f"fault.step={STEP}", *soon)
    return [
        Case(name="undisturbed", outcome="completed"),
        Case(name="walltime", outcome="walltime", overrides=(*limit, "step_ms=900")),
        Case(name="preemption", outcome="preempted", deed=ask_all),
        Case(name=f"kill -9 of rank {last_rank}", outcome="crash", deed=kill_last),
        Case(name=f"rank {last_rank} hangs in C", outcome="hang", overrides=hang),
    ]


def run(case: Case, folder: Path, arguments: Any) -> dict[str, Any]:
    """One case from its start to its end; what came of it."""
    shutil.copytree(REPOSITORY / "tests" / "projects" / "chaos", folder)
    command = [
        sys.executable, "app.py", "-m", "hydra/launcher=local", "hydra.sweep.dir=outputs/s",
        f"hydra.launcher.resources.gpus_per_node={arguments.gpus}",
        f"hydra.launcher.cluster.accelerator={arguments.accelerator}",
        "hydra.launcher.recovery.checkpoint_every_steps=10", *case.overrides,
    ]  # fmt: skip
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    with open(folder / "said.txt", "wb") as said:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=said, stderr=said, stdin=subprocess.DEVNULL
        )
        run_dir = folder / "outputs" / "s" / "0"
        while case.deed is not None and process.poll() is None:
            if any(line["step"] >= STEP for line in steps(run_dir)):
                case.deed(run_dir)
                break
            time.sleep(0.05)
        code = process.wait(WITHIN_S)
    return told(case, run_dir, code, (folder / "said.txt").read_text())


def told(case: Case, run_dir: Path, code: int, said: str) -> dict[str, Any]:
    """The row of a case."""
    verdicts = [json.loads(p.read_text()) for p in sorted(run_dir.glob("attempts/*.verdict.json"))]
    result = run_dir / "result.json"
    lines = steps(run_dir)
    pauses = [b["time"] - a["time"] for a, b in pairwise(lines)]
    return {
        "fault": case.name,
        "exit": code,
        "outcomes": [verdict["outcome"] for verdict in verdicts],
        "wanted": [] if case.outcome == "completed" else [case.outcome],
        "evidence": [verdict["evidence"][0] for verdict in verdicts],
        "steps done twice": len(lines) - len({line["step"] for line in lines}),
        "longest pause [s]": round(max(pauses, default=0.0), 1),
        "sha256": json.loads(result.read_text())["sha256"] if result.exists() else "",
        "said": "" if code == 0 and result.exists() else said[-3000:],
    }


def out_of_gpu_memory(folder: Path, arguments: Any) -> dict[str, Any]:
    """`train.py` where a few GB are free; its micro-batch is halved until it fits."""
    free, _ = torch.cuda.mem_get_info(0)
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    held = torch.empty(free - int(arguments.room_gb * 2**30), dtype=torch.uint8, device="cuda:0")
    command = [
        sys.executable, "train.py", "-m", "hydra/launcher=local", "scale=paper",
        "backbone=transfuser", "head=transfuser", "trainer.precision=bf16-mixed",
        "data.synthetic.num_logs=12", "data.synthetic.frames_per_log=24", "resources.gpus=1",
        "trainer.batch_size=64", "trainer.max_steps=6", "resources.mem_gb=48",
        "data.decode=scaled", "data.num_workers=6", f"paths.data_dir={folder}/data",
        f"paths.output_dir={folder}/outputs", "hydra.launcher.study=oom",
        "hydra.launcher.page=null",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": first},
        capture_output=True,
        text=True,
        check=False,
    )
    del held
    run_dirs = sorted(folder.glob("outputs/oom/*/attempts"))
    verdicts = [
        json.loads(path.read_text())
        for attempts in run_dirs
        for path in sorted(attempts.glob("*.verdict.json"))
    ]
    halved = [verdict["adjustments"]["config"] for verdict in verdicts]
    return {
        "fault": f"{arguments.room_gb:g} GB of GPU memory for 64 windows",
        "exit": done.returncode,
        "outcomes": [verdict["outcome"] for verdict in verdicts],
        "wanted": ["gpu_oom"],
        "evidence": [json.dumps(config) for config in halved],
        "said": "" if done.returncode == 0 and verdicts else (done.stdout + done.stderr)[-3000:],
    }


def main() -> None:
    """Do all, print the table, and fail if a cell is red."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=max(torch.cuda.device_count(), 1))
    parser.add_argument("--accelerator", default="gpu")
    parser.add_argument("--room-gb", type=float, default=6.0, help="of the last case")
    parser.add_argument("--only", choices=("faults", "memory"), default=None)
    parser.add_argument("--parallel", type=int, default=5)
    parser.add_argument("--out", type=Path, default=None, help="file for the rows, as JSON")
    arguments = parser.parse_args()
    if arguments.accelerator == "gpu":
        results.require_gpus(arguments.gpus, "see --accelerator cpu")
    with tempfile.TemporaryDirectory() as name:
        wanted = cases(arguments.gpus - 1) if arguments.only != "memory" else []
        with ThreadPoolExecutor(arguments.parallel) as pool:
            pairs = enumerate(wanted)
            started = [pool.submit(run, case, Path(name) / str(n), arguments) for n, case in pairs]
            rows = [one.result() for one in started]
        if arguments.only != "faults":
            rows.append(out_of_gpu_memory(Path(name) / "oom", arguments))
    expected = rows[0].get("sha256", "")
    rows = [{"green": not is_red(row, expected), **row} for row in rows]
    red = [row for row in rows if not row["green"]]
    for row in rows:
        print("green" if row["green"] else "RED  ", *(f"{k}={v}" for k, v in row.items()), sep="  ")
    results.save(arguments.out, "recovery", rows)
    print(f"{len(rows)} cases, {len(red)} red")
    sys.exit(bool(red))


def is_red(row: dict[str, Any], expected: str) -> bool:
    """Whether it ended otherwise than it has to."""
    is_same = row.get("sha256", expected) == expected
    is_silent = row.get("sha256") == ""
    is_other = set(row["outcomes"]) != set(row["wanted"]) or is_silent or not is_same
    return bool(row["exit"]) or is_other


if __name__ == "__main__":
    main()
