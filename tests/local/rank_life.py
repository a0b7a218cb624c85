"""One rank of one life of a small training: `python -m tests.local.rank_life RUN_DIR [STEP]`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from launcher import stopping
from launcher.callbacks import agreement
from launcher.context import RunContext
from tests.local.trainings import Crossed, Model, Setting, StopAt, live

MODELS = {"plain": Model, "crossed": Crossed}
SETTING = Setting(
    model=MODELS[os.environ.get("LIFE_MODEL", "plain")],
    samples=64,
    batch_size=4,
    trainer={"max_epochs": 3, "accumulate_grad_batches": 2},
)


def main() -> None:
    """Run until the end, or until a stop; rank 2 alone is asked to stop."""
    run_dir, rank = Path(sys.argv[1]), int(os.environ["LAUNCHER_RANK"])
    stop = StopAt(int(sys.argv[2])) if len(sys.argv) > 2 and rank == 2 else None
    stopping.install()
    agreement.ASK_EVERY_S = 0.0  # each step, so that a stop comes where it is asked for
    accelerator = os.environ.get("LIFE_ACCELERATOR", "cpu")
    world = {"rank": rank, "local_rank": rank, "ranks_per_node": 4, "accelerator": accelerator}
    context = RunContext(run_dir=run_dir, key="key", name="n", attempt="a", **world)
    arguments = context.trainer_arguments()
    for name in ("default_root_dir", "enable_progress_bar", "enable_model_summary"):
        arguments.pop(name)
    arguments |= {"use_distributed_sampler": True, "deterministic": True}
    end = live(SETTING, run_dir, stop, trainer_arguments=arguments, **world)
    (run_dir / f"end{rank}.json").write_text(json.dumps([end.digest, end.step, end.notes]))


if __name__ == "__main__":
    main()
