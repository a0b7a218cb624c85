"""A lab with a choice of partitions, and how good estimates of starts are there."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.slurm import Lab, LabOptions, jobs, temporary_lab
from tests.slurm.sweeps import copy_project, job_id, launch, start
from tests.slurm.waiting import wait_until

PARTITIONS = {"busy": ("gl001", "gl002"), "free": ("gl003", "gl004")}
OPTIONS = LabOptions(
    accounting=False,
    extra_conf=tuple(
        f"PartitionName={name} Nodes={','.join(nodes)} PriorityTier=10 MaxTime=60 State=UP"
        for name, nodes in PARTITIONS.items()
    ),
)
_SITE = """\
# @package hydra.launcher
cluster:
  name: lab
  partition: auto
  accelerator: cpu
  partitions:
    busy: {gpu_type: l40s, gpus_per_node: 4, cpus_per_node: 8, num_nodes: 2, max_time_min: 60}
    free: {gpu_type: l40s, gpus_per_node: 4, cpus_per_node: 8, num_nodes: 2, max_time_min: 60}
resources:
  timeout_min: 1
  mem_gb: 1
"""
_LIMIT_S = 60
_LOOK_S = 0.2
_STAGGER_S = 4
"""Between two jobs of the load, so that they end one after the other."""


@contextmanager
def lab_with_a_choice() -> Iterator[Lab]:
    """Four nodes, two in each of two partitions."""
    with temporary_lab(OPTIONS) as lab:
        yield lab


def project_of_site(lab: Lab, name: str) -> Path:
    """The plain project with a profile of the lab, which leaves the partition open."""
    folder = copy_project(lab, name)
    config = (folder / "conf" / "config.yaml").read_text()
    lab.run(["tee", folder / "conf" / "config.yaml"], input=f"{config}defaults: [_self_, site]\n")
    lab.run(["tee", folder / "conf" / "site.yaml"], input=_SITE)
    return folder


def occupy(lab: Lab, partition: str, gpus: int, minutes: int, *more: str) -> str:
    """Take GPUs of one node to the very end of a time limit; returns the job's id once it runs."""
    job = lab.sbatch(
        f"sleep {minutes * 60}",
        f"--partition={partition}",
        f"--gres=gpu:l40s:{gpus}",
        f"--time={minutes}",
        "--output=/dev/null",
        *more,
    )
    wait_until(
        lambda: any(row["state"] == "RUNNING" for row in jobs.select(lab.squeue(), {job})),
        f"job {job} runs",
        30,
    )
    return job


def plan(lab: Lab, folder: Path, *overrides: str) -> list[dict[str, Any]]:
    """Options of one kind of run, as `launch plan --json` lists them."""
    said = launch(lab, folder, "plan", "--program", "app.py", "--json", *overrides)
    assert said.returncode == 0, said.stderr
    (found,) = json.loads(said.stdout)
    options: list[dict[str, Any]] = found["options"]
    return options


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One submission, and when it was thought to start, in seconds since the epoch."""

    partition: str
    gpus: int
    job: str
    asked_s: float
    ours_s: float
    schedulers_s: tuple[float, ...]
    """`sbatch --test-only` of a bare script of that shape, again and again while ours is made."""
    queues_s: float | None
    """`squeue --start` soon after it was sent, where it says so while the job waits."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The same, and when it did start."""

    asked: Asked
    true_s: float

    @property
    def waited_s(self) -> float:
        return self.true_s - self.asked.asked_s

    @property
    def our_error_s(self) -> float:
        return abs(self.asked.ours_s - self.true_s)

    @property
    def schedulers_error_s(self) -> float:
        """The largest one: it jumps as jobs come and go, and we asked at one of those moments."""
        return max(abs(said_s - self.true_s) for said_s in self.asked.schedulers_s)

    @property
    def queues_error_s(self) -> float | None:
        return None if self.asked.queues_s is None else abs(self.asked.queues_s - self.true_s)


def estimates(lab: Lab, folder: Path, number: int) -> list[Estimate]:
    """Fill all nodes for a minute, submit runs of different size, and see when they start."""
    for partition, nodes in PARTITIONS.items():
        for node in nodes:
            for gpus in (1, 3):
                occupy(lab, partition, gpus, 1, f"--nodelist={node}")
                time.sleep(_STAGGER_S)
    asked = [_submit(lab, folder, index) for index in range(number)]
    wait_until(
        lambda: all(_started_s(lab, one.job) is not None for one in asked),
        "all runs start",
        number * _LIMIT_S,
        interval_s=0.5,
    )
    true = [(one, _started_s(lab, one.job)) for one in asked]
    return [Estimate(asked=one, true_s=true_s) for one, true_s in true if true_s is not None]


def _submit(lab: Lab, folder: Path, index: int) -> Asked:
    """Estimate the start of a run, and send it."""
    partition = tuple(PARTITIONS)[index % 2]
    gpus = (1, 2, 4, 8)[index // 2 % 4]
    overrides = (
        f"x={index}",
        f"hydra.launcher.cluster.partition={partition}",
        f"hydra.launcher.resources.gpus={gpus}",
    )
    asked_s = time.time()
    with ThreadPoolExecutor(max_workers=1) as pool:
        planned = pool.submit(plan, lab, folder, *overrides, "--gpus", str(gpus))
        schedulers_s = [_test_only(lab, partition, gpus)]
        while not planned.done():
            time.sleep(_LOOK_S)
            schedulers_s.append(_test_only(lab, partition, gpus))
    (ours,) = (one["start"] for one in planned.result() if one["partition"] == partition)
    place = f"hydra.sweep.dir=outputs/s{index}"
    sent = start(lab, folder, "app.py", "-m", "hydra/launcher=slurm", place, *overrides)
    assert sent.returncode == 0, sent.stderr
    job = job_id(folder / "outputs" / f"s{index}" / "0")
    return Asked(
        partition=partition,
        gpus=gpus,
        job=job,
        asked_s=asked_s,
        ours_s=datetime.fromisoformat(ours).timestamp(),
        schedulers_s=tuple(schedulers_s),
        queues_s=_queue_says(lab, job),
    )


def _test_only(lab: Lab, partition: str, gpus: int) -> float:
    nodes = max(1, gpus // 4)
    command = ["sbatch", "--test-only", f"--partition={partition}", f"--nodes={nodes}"]
    command += [f"--ntasks-per-node={gpus // nodes}", f"--gres=gpu:l40s:{gpus // nodes}"]
    said = lab.run([*command, "--mem=1G", "--time=1"], input="#!/bin/bash\ntrue\n").stderr
    found = re.search(r"to start at (\S+)", said)
    assert found is not None, said
    return datetime.fromisoformat(found.group(1)).timestamp()


def _queue_says(lab: Lab, job: str) -> float | None:
    """What the backfill scheduler expects, once it has looked at a job that waits."""
    for _ in range(4):
        said = lab.run(["squeue", "--noheader", f"--jobs={job}", "--format=%T %S"]).stdout.split()
        if said[:1] == ["PENDING"] and said[1] != "N/A":
            return datetime.fromisoformat(said[1]).timestamp()
        if said[:1] != ["PENDING"]:
            return None
        time.sleep(1)
    return None


def _started_s(lab: Lab, job: str) -> float | None:
    shown = lab.scontrol("show", "job", job)
    if "JobState=PENDING" in shown:
        return None
    found = re.search(r"StartTime=(\S+)", shown)
    assert found is not None, shown
    return datetime.fromisoformat(found.group(1)).timestamp()


def table(found: Sequence[Estimate]) -> str:
    """Waits and errors in seconds, a line each."""
    lines = [
        "partition  GPUs  waited  our error  sbatch --test-only's error  squeue --start's error"
    ]
    lines += [
        f"{one.asked.partition:<9}  {one.asked.gpus:>4}  {one.waited_s:>6.0f}"
        f"  {one.our_error_s:>9.0f}  {one.schedulers_error_s:>26.0f}"
        f"  {_seconds(one.queues_error_s):>22}"
        for one in found
    ]
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
