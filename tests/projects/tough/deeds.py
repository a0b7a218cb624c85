"""What the task may be told to do in one of its lives."""

import json
import os
import signal
import subprocess
import time

from launcher import context, stopping


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


def finish(run, config, start):
    for step in range(start, config.steps):
        save(run, step + 1)


def train(run, config, start):
    """Save as soon as it is told to stop, and go on without an end otherwise."""
    while True:
        time.sleep(0.05)
        if stopping.requested():
            save(run, start + 1)
        run.raise_if_stopping()


def slow(run, config, start):
    time.sleep(8)


def deaf(run, config, start):
    save(run, start + 1)
    time.sleep(3600)


def crash(run, config, start):
    save(run, start + 1)
    os.kill(os.getpid(), signal.SIGKILL)


def crash_early(run, config, start):
    os.kill(os.getpid(), signal.SIGKILL)


def last_rank_crashes(run, config, start):
    if run.rank == run.world_size - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(3600)


def fail(run, config, start):
    raise ValueError("a mistake of the task")


def gpu_memory(run, config, start):
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def host_memory(run, config, start):
    held = [bytearray(os.urandom(1 << 20)) for _ in range(config.mem_mb)]
    time.sleep(2)
    finish(run, config, start)
    del held


def daemon(run, config, start):
    """Start a process that hides from its parent's session, and never end."""
    hidden = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    (run.run_dir / "hidden.pid").write_text(str(hidden.pid))
    deaf(run, config, start)


def save(run, step):
    folder = run.run_dir / "checkpoints" / "resume" / "fit-00"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"step-{step:09d}.ckpt").touch()
    (folder / f"step-{step:09d}.json").write_text(json.dumps({"step": step}))
    context.note(saved_step=step)


def load(run):
    saved = (run.run_dir / "checkpoints").rglob("step-*.json")
    return max((json.loads(path.read_text())["step"] for path in saved), default=0)
