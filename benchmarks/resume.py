"""How long a restarted run takes to its first new optimizer step: `python benchmarks/resume.py`.

A tiny training is run once with checkpoints on the way. Then its second life is started several
times from the middle, in a process that has done all imports: the time from our entry point to the
end of the first new step, less one ordinary step, must stay below 2 s. What
passes before the task is called, and the processor time of all, are shown apart.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 2.0
RESUME_AT = 200
LIVES = 5


def life(batch: str) -> None:
    """Be one second life, and print when its steps were done."""
    import experiments.tasks
    import experiments.training
    import launcher.job
    from launcher import context, start
    from launcher.callbacks.safe_points import SafePoints

    ends: list[float] = []
    cpu: list[float] = []
    entered: list[float] = []
    original, enter = SafePoints.on_train_batch_end, context.enter

    def on_train_batch_end(self: Any, trainer: Any, *args: Any, **kwargs: Any) -> None:
        original(self, trainer, *args, **kwargs)
        ends.append(time.perf_counter())
        cpu.append(time.process_time())
        if len(ends) == 21:
            found = {
                "first_s": ends[0] - began,
                "cpu_s": cpu[0] - cpu_began,
                "launcher_s": entered[0] - began,
                "step_s": statistics.median(b - a for a, b in pairwise(ends)),
                "resumed": context.notes()["resumed_step"],
            }
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()
            os._exit(0)

    def entering(running: Any) -> None:
        entered.append(time.perf_counter())
        enter(running)

    SafePoints.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign]
    context.enter = entering
    del experiments, launcher  # imported so that it is not timed
    sys.argv = ["start", batch]
    began, cpu_began = time.perf_counter(), time.process_time()
    start.main()


def measure(study: Path) -> dict[str, float]:
    """One second life; the checkpoints after the middle are gone."""
    batch = next(path for path in (study / ".submitit").rglob("*.pkl"))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "LAUNCHER_RANK": "0",
        "LAUNCHER_WORLD_SIZE": "1",
        "LAUNCHER_JOB_ID": "benchmark",
        "LAUNCHER_RESTARTS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, "--life", str(batch)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Run, cut back, restart, report."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "train.py", f"paths.output_dir={folder}"]
        command += ["recovery.checkpoint_every_steps=100", "recovery.keep_checkpoints=20"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        study = next(Path(folder).glob("single-*"))
        for path in study.glob("*/checkpoints/resume/fit-00/step-*"):
            if int(path.stem.removeprefix("step-")) > RESUME_AT:
                path.unlink()
        lives = [measure(study) for _ in range(LIVES)]
    assert all(life["resumed"] <= RESUME_AT for life in lives)
    net = sorted(life["first_s"] - life["step_s"] for life in lives)
    ours = sorted(life["launcher_s"] for life in lives)
    print(
        f"resumed at step {lives[0]['resumed']:.0f}, {LIVES} lives, ordinary step"
        f" {statistics.median(life['step_s'] for life in lives) * 1e3:.0f} ms\n"
        f"entry point to first new step, less one step: {statistics.median(net):.2f} s"
        f" ({net[0]:.2f} to {net[-1]:.2f}), limit {LIMIT_S:.0f} s\n"
        f"of it before the task is called: {statistics.median(ours):.2f} s; processor time"
        f" {statistics.median(life['cpu_s'] for life in lives):.2f} s"
    )
    return 0 if statistics.median(net) < LIMIT_S else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--life"]:
        life(sys.argv[2])
    else:
        sys.exit(main())
