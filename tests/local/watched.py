"""One rank of a small training on gloo that is watched, and misbehaves if it is told to.

Usage: python watched.py RUN_DIR BEHAVIOUR SETTINGS (JSON of RecoveryConfig and RunContext)
"""

import ctypes
import json
import logging
import os
import sys
import time
from pathlib import Path

from launcher import beats, files, stopping, store, watch
from launcher import context as run_context
from launcher.beats import Alarm
from launcher.context import RunContext
from launcher.records import AttemptRecord
from launcher.settings import RecoveryConfig

STALL_S = 600.0


def stall() -> None:
    time.sleep(STALL_S)


def hold_the_lock() -> None:
    ctypes.PyDLL(None).sleep(int(STALL_S))


def work() -> None:
    until = time.monotonic() + 15
    while time.monotonic() < until:
        [score(scene) for scene in range(100)]


def score(scene: int) -> float:
    return comfort(scene) * max(progress(scene), 0.1)


def comfort(scene: int) -> float:
    return sum(abs(scene - t) for t in range(50)) / 50


def progress(scene: int) -> float:
    total = 0.0
    for t in range(50):
        total += min(t, scene)
    return total


def train(behaviour: str, rank: int) -> None:
    import torch
    import torch.distributed as dist

    if behaviour == "late":
        stall()
    if behaviour == "elsewhere":
        os.environ["MASTER_PORT"] = str(int(os.environ["MASTER_PORT"]) + 1)
    dist.init_process_group("gloo")
    watch.mark("training", 0)
    for step in range(1, 250):
        dist.all_reduce(torch.ones(1))
        time.sleep(0.02)
        if step == 60 and behaviour == "stalls":
            stall()
        if step == 60 and behaviour == "locks":
            hold_the_lock()
        if step == 60 and behaviour == "works":
            work()
        if step == 60 and behaviour == "leaves":
            return
        watch.mark("training", step)
        Path(os.environ["STEPS"]).joinpath(str(rank)).write_text(str(step))


def swallow() -> None:
    watch.mark("training", 0)
    step = 0
    while True:
        try:
            time.sleep(0.02)
            step += 1
            watch.mark("training", step)
            if stopping.requested():
                raise stopping.RunStopped(step)
        except BaseException:
            continue


def save() -> None:
    """Rank 0 writes a checkpoint for longer than the grace, the others wait for it."""
    watch.mark("saving", 1)
    while not stopping.requested():
        time.sleep(0.02)
    time.sleep(12)


def break_off(run_dir: Path) -> None:
    """As a rank sees it whose peers have raised an alarm and left."""
    alarm = Alarm(
        rank=1, time="", outcome="hang", error="rank 1 said so", text="at length", missing=[]
    )
    beats.raise_alarm(run_dir, "001-000", alarm)
    raise RuntimeError("Connection closed by peer")


def obey(context: RunContext) -> None:
    while True:
        time.sleep(0.02)
        context.raise_if_stopping()


def fork_often() -> None:
    watch.mark("training", 0)
    for step in range(60):
        pid = os.fork()
        if pid == 0:
            sys.exit(0)
        os.waitpid(pid, 0)
        time.sleep(0.05)
        watch.mark("training", step)


def main() -> int:
    stopping.install()
    run_dir, behaviour, settings = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    rank = int(os.environ["LAUNCHER_RANK"])
    ends_in_s = settings.pop("ends_in_s", None)
    context = RunContext(
        run_dir=run_dir,
        key="key",
        name="run",
        attempt="001-000",
        rank=rank,
        local_rank=rank,
        ranks_per_node=settings.pop("ranks"),
        recovery=RecoveryConfig(**settings),
        ends_s=None if ends_in_s is None else time.time() + ends_in_s,
    )
    watch.start(context)
    logging.basicConfig(filename=run_dir / f"rank{rank}.log")
    if rank == 0:
        record = AttemptRecord(
            attempt="001-000",
            key="key",
            job_id="1",
            host="host",
            pid=os.getpid(),
            world_size=context.world_size,
            started=files.now(),
        )
        store.write_record(store.attempt_path(run_dir, "001-000"), record)
    run_context.enter(context)
    sys.stdout.write("what the task printed\n")
    try:
        {
            "swallows": swallow,
            "waits": stall,
            "saves": save,
            "breaks": lambda: break_off(run_dir),
            "obeys": lambda: obey(context),
            "forks": fork_often,
        }.get(behaviour, lambda: train(behaviour, rank))()
    except Exception:
        watch.give_way()
        raise
    finally:
        watch.stop()
    if behaviour == "leaves":
        os._exit(0)  # without the farewell of torch, as a task that fell out of its loop
    return 0


if __name__ == "__main__":
    sys.exit(main())
