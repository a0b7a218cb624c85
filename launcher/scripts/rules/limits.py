"""Rules: what the partition and its nodes do not have. They need a profile of the site. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from launcher.errors import nearest
from launcher.scripts.asked import UNLIMITED
from launcher.scripts.case import GPU_OPTIONS, Case
from launcher.scripts.findings import ScriptFinding, error, note, warning


def partition(case: Case) -> Iterator[ScriptFinding]:
    """The partition is one of the site's."""
    directives = case.script.directives
    if case.cluster is None or not case.cluster.partitions:
        return
    for name in (directives.value("partition") or "").split(","):
        if name and name not in case.cluster.partitions:
            match = nearest(name, case.cluster.partitions)
            yield error(
                "partition",
                directives.line("partition"),
                f"--partition={name} is not in the profile `{case.cluster.name}`, which lists"
                f" {', '.join(case.cluster.partitions)}",
                f"#SBATCH --partition={match}" if match else "one of those",
            )


def gpus(case: Case) -> Iterator[ScriptFinding]:
    """A node has that many GPUs of that type."""
    directives, node = case.script.directives, case.node
    asked, kind = case.asked.gpus_per_node, case.asked.gpu_type
    if node is None or not asked:
        return
    line, said = directives.line(*GPU_OPTIONS), directives.written(*GPU_OPTIONS)
    if node.gpus_per_node is not None and asked > node.gpus_per_node:
        most = node.gpus_per_node
        yield error(
            "gpus-over-node",
            line,
            f"`{said}` asks for {asked} GPUs per node, {_where(case)} has {most}",
            f"#SBATCH --nodes={-(-asked * (case.asked.nodes or 1) // most)} {case.gpu_option(most)}"
            f" --ntasks-per-node={most}"
            if most
            else "another partition",
        )
    if kind is not None and node.gpu_type is not None and kind.lower() != node.gpu_type.lower():
        yield error(
            "gpu-type",
            line,
            f"`{said}` asks for {kind}, {_where(case)} has {node.gpu_type}",
            f"#SBATCH {case.gpu_option(asked, node.gpu_type)}",
        )


def _where(case: Case) -> str:
    assert case.node is not None
    return f"a node of {case.node.partition}" if case.node.partition else "a node"


def cpus(case: Case) -> Iterator[ScriptFinding]:
    """A node has that many CPUs."""
    each, tasks = case.asked.cpus_per_task, case.asked.tasks_per_node
    most = case.node.cpus_per_node if case.node else None
    if each is None or tasks is None or most is None or each * tasks <= most:
        return
    said = case.script.directives.written("cpus-per-task", "cpus-per-gpu", "ntasks-per-node")
    yield error(
        "cpus-over-node",
        case.script.directives.line("cpus-per-task", "cpus-per-gpu", "ntasks-per-node"),
        f"`{said}` x {tasks} tasks = {each * tasks} CPUs per node, {_where(case)} has {most}",
        f"#SBATCH --cpus-per-task={max(most // tasks, 1)}",
    )


def memory(case: Case) -> Iterator[ScriptFinding]:
    """A node has that much memory."""
    given_gb, most_gb = case.asked.mem_gb, case.node_gb()
    if given_gb is None or most_gb is None or given_gb <= most_gb:
        return
    names = ("mem", "mem-per-cpu", "mem-per-gpu")
    yield error(
        "memory-over-node",
        case.script.directives.line(*names),
        f"`{case.script.directives.written(*names)}` asks for {given_gb:g} GB per node,"
        f" {_where(case)} has {most_gb:g} GB",
        f"#SBATCH --mem={most_gb:g}G",
    )


def nodes(case: Case) -> Iterator[ScriptFinding]:
    """The partition has that many nodes, and gives them to one job."""
    asked = case.asked.nodes
    if case.node is None or asked is None:
        return
    limits = [one for one in (case.node.max_nodes, case.node.num_nodes) if one is not None]
    if limits and asked > min(limits):
        yield error(
            "nodes-over-partition",
            case.script.directives.line("nodes", "ntasks", "gpus"),
            f"`{case.script.directives.written('nodes', 'ntasks', 'gpus')}` asks for {asked} nodes,"
            f" a job of {case.node.partition} gets at most {min(limits)}",
            f"#SBATCH --nodes={min(limits)}",
        )
    total, most = case.asked.gpus, case.node.max_gpus
    if total is not None and most is not None and total > most:
        yield error(
            "gpus-over-partition",
            case.script.directives.line(*GPU_OPTIONS),
            f"{asked} nodes x `{case.script.directives.written(*GPU_OPTIONS)}` = {total} GPUs,"
            f" {case.node.partition} gives at most {most} to one job or user",
            f"at most {most} GPUs",
        )


def time(case: Case) -> Iterator[ScriptFinding]:
    """A time limit is said, means what it looks like, and is allowed."""
    directives, asked = case.script.directives, case.asked.time_min
    written, line = directives.written("time"), directives.line("time")
    most = case.node.max_time_min if case.node else None
    if not case.has("time"):
        yield warning(
            "no-time",
            None,
            "no --time: the partition's default ends the job, often after an hour or less",
            f"#SBATCH --time={_written_time(most)}" if most else "#SBATCH --time=24:00:00",
        )
        return
    value = directives.value("time") or ""
    if most is not None and (value.lower() in UNLIMITED or (asked or 0) > most):
        yield error(
            "time-over-partition",
            line,
            f"`{written}` is longer than the {_written_time(most)} of {case.node.partition}"  # type: ignore[union-attr]
            ": the job waits for ever (sbatch may accept it)",
            f"#SBATCH --time={_written_time(most)}",
        )
    if re.fullmatch(r"\d+:\d\d", value) and asked is not None:
        yield warning(
            "time-format",
            line,
            f"`{written}` is {asked} minutes, not hours: two numbers are minutes and seconds",
            f"#SBATCH --time={value}:00 for hours",
        )


def _written_time(minutes: int | None) -> str:
    days, rest = divmod(minutes or 0, 1440)
    return f"{days}-{rest // 60:02d}:{rest % 60:02d}:00"


def array(case: Case) -> Iterator[ScriptFinding]:
    """Elements of an array do different things, write different files, and are not too many."""
    directives = case.script.directives
    value, line = directives.value("array"), directives.line("array")
    if value is None:
        return
    highest = max((int(one) for one in re.findall(r"\d+", value.partition("%")[0])), default=0)
    most = case.cluster.max_array_size if case.cluster else None
    if most is not None and highest >= most:
        yield error(
            "array-size",
            line,
            f"--array={value} goes up to {highest}, the site allows up to {most - 1}"
            " (MaxArraySize)",
            "several arrays; python train.py -m splits them itself",
        )
    output = directives.value("output")
    if output is not None and not re.search(r"%[0-9]*[aAjJ]", output):
        yield error(
            "array-output",
            directives.line("output"),
            f"--output={output}: all elements of --array={value} write the same file",
            "#SBATCH --output=%x-%A_%a.out",
        )
    text = " ".join(word for one in case.script.commands for word in one.words)
    if case.script.commands and "SLURM_ARRAY_TASK" not in text:
        yield warning(
            "array-index",
            line,
            f"--array={value}, but SLURM_ARRAY_TASK_ID is not used in the script: unless a program"
            " reads it, all elements do the same",
            "python train.py -m key=value1,value2",
        )


def unchecked(case: Case) -> Iterator[ScriptFinding]:
    """Say what could not be looked at."""
    if case.cluster is None:
        yield note(
            "no-profile",
            "node sizes and limits of the partition were not checked: no profile is given",
            "--cluster NAME, of conf/cluster/",
        )
    elif case.node is None:
        said = case.script.directives.written("partition")
        yield note(
            "no-node",
            f"node sizes were not checked: the profile `{case.cluster.name}` does not describe the"
            f" nodes of `{said}`",
        )
    if not case.runs:
        yield note(
            "no-training",
            "no command that starts Python was found: tasks and GPUs were not compared with it",
        )
    for run in case.runs:
        if not run.launch.program:
            yield note(
                "not-read",
                f"what line {run.launch.line} starts could not be looked into: the Trainer's"
                " arguments were not checked",
            )
        elif run.launch.spawner in ("accelerate", "deepspeed"):
            yield note(
                "not-read",
                f"{run.launch.spawner} in line {run.launch.line} starts ranks by a configuration"
                " of its own, which was not checked",
            )


RULES = (partition, gpus, cpus, memory, nodes, time, array, unchecked)
