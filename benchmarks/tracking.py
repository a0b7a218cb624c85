"""What tracking costs a training: W&B offline, and online with a server in trouble, against none.

python benchmarks/tracking.py [--rounds 5]

The same small training (steps that sleep, then learn) in the debug launcher, one kind after the
other in each round, so that a slow minute of the machine meets all of them. The time is that of
`Trainer.fit`; what a run waits at its end for W&B is shown beside it.
"""

from __future__ import annotations

import argparse
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from tests.wandb_server import serving  # noqa: E402

LOG_EVERY = 10
"""Optimizer steps from row to row, as in conf/."""
NOWHERE = "http://127.0.0.1:9"
KINDS = ("none", "csv", "offline", "500", "hangs", "refused")


def train(folder: Path, kind: str, url: str, steps: int, step_s: float) -> tuple[float, float]:
    """Seconds of the training, and of the whole command."""
    shutil.copytree(REPOSITORY / "tests" / "projects" / "tracked", folder)
    modes = {"none": "disabled", "csv": "disabled", "offline": "offline"}
    command = [
        sys.executable, "app.py", "-m", "hydra/launcher=debug", "hydra.sweep.dir=outputs/s",
        f"steps={steps}", f"step_s={step_s}", "save_every=50", f"log_every={LOG_EVERY}",
        f"tracking.csv={'false' if kind == 'none' else 'true'}",
        f"tracking.wandb.mode={modes.get(kind, 'online')}",
    ]  # fmt: skip
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    variables = {"WANDB_API_KEY": "5ec2e7" * 6 + "5ec2", "WANDB_BASE_URL": url, "PYTHONPATH": path}
    environment = {**os.environ, **variables, "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    took_s = time.monotonic() - began
    (returned,) = folder.glob("outputs/s/0/attempts/*.returned.pkl")
    return float(pickle.loads(returned.read_bytes()).return_value["s"]), took_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--step-s", type=float, default=0.03)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    arguments = parser.parse_args()
    kinds = list(dict.fromkeys(["none", *arguments.kinds]))
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as name, serving() as server:
        for number in range(arguments.rounds):
            for kind in kinds[number % len(kinds) :] + kinds[: number % len(kinds)]:
                if kind in ("500", "hangs"):
                    server.mood = kind
                url = server.url if kind in ("500", "hangs") else NOWHERE
                folder = Path(name) / f"{kind}-{number}"
                found[kind].append(train(folder, kind, url, arguments.steps, arguments.step_s))
                print(number, kind, *(f"{s:.2f}" for s in found[kind][-1]), file=sys.stderr)
    for kind, times in found.items():
        ratios = [mine[0] / none[0] for mine, none in zip(times, found["none"], strict=True)]
        whole = statistics.median(time_s for _, time_s in times)
        span = f"{min(ratios):.3f} to {max(ratios):.3f}"
        print(f"{kind:8} training {statistics.median(ratios):.3f} of none ({span}),"
              f" whole command {whole:.1f} s")  # fmt: skip


if __name__ == "__main__":
    main()
