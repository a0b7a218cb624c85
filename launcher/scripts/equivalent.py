"""The command that asks for what a script was meant to ask for. Pure."""

from __future__ import annotations

import math

from launcher.scripts.case import Case


def equivalent(case: Case) -> str:
    """`python train.py resources.gpus=16 ...`: ranks, tasks and devices follow from it."""
    asked = case.asked
    run = case.runs[-1] if case.runs else None
    nodes = (run.num_nodes if run else None) or asked.nodes or 1
    told = (run.devices or run.spawned("nproc_per_node")) if run else None
    gpus = asked.gpus_per_node or 0
    is_cpu = gpus == 0 and (run is None or run.accelerator == "cpu" or told is None)
    each = 0 if is_cpu else told or max(gpus, asked.tasks_per_node or 1)
    words = ["python train.py hydra/launcher=slurm", f"resources.gpus={nodes * each}"]
    cpus = (asked.cpus_per_task or 1) * (asked.tasks_per_node or 1) // max(each, 1)
    if cpus > 1:
        words.append(f"resources.cpus_per_rank={cpus}")
    mem_gb = case.node_gb() if case.takes_all_gpus() else asked.mem_gb
    if mem_gb:
        words.append(f"resources.mem_gb={math.floor(mem_gb)}")
    if asked.time_min:
        words.append(f"resources.timeout_min={asked.time_min}")
    words.append(f"cluster={case.cluster.name if case.cluster else 'NAME'}")
    partition = case.script.directives.value("partition")
    if partition and (case.cluster is None or case.cluster.partitions):
        words.append(f"cluster.partition={partition}")
    return " ".join(words)
