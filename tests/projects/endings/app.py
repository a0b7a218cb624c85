"""A task that ends in the ways that tasks end, without Lightning and torch."""

import os
import signal
import time
from pathlib import Path

import hydra

import launcher

STEP_S = 0.2


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    context = launcher.current()
    done = context.run_dir / f"steps-{context.rank}"
    misbehaves = context.rank == config.rank and life(context) < config.lives
    is_deaf = misbehaves and config.how == "deaf"
    first = int(done.read_text()) if done.exists() else 0
    (context.run_dir / f"began-{context.attempt}-{context.rank}").write_text(str(first))
    if misbehaves and config.how != "work":
        misbehave(config)
    for step in range(first, config.steps):
        time.sleep(STEP_S)
        done.write_text(str(step + 1))
        if not is_deaf:
            context.raise_if_stopping()
    while config.gate and not Path(config.gate).exists():
        time.sleep(STEP_S)
        if not is_deaf:
            context.raise_if_stopping()
    return {"steps": config.steps, "first": first}


def life(context):
    return int(context.attempt.partition("-")[2])


def misbehave(config):
    if config.how == "error":
        raise ValueError("the task is wrong")
    if config.how == "kill":
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    if config.how == "oom":
        held = bytearray(config.mb << 20)
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(1)


if __name__ == "__main__":
    main()
