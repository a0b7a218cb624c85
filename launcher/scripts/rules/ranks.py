"""Rules: tasks, GPUs and the Trainer's devices are one number, said in several places. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.scripts.case import GPU_OPTIONS, Case, Run
from launcher.scripts.findings import ScriptFinding, error, warning

TASKS = ("ntasks-per-node", "ntasks", "ntasks-per-gpu")
"""Options that say how many tasks there are."""


def no_srun(case: Case) -> Iterator[ScriptFinding]:
    """A script runs once, on the first node, whatever number of tasks was asked for."""
    tasks = case.asked.ntasks
    for run in case.runs:
        if run.is_spread or run.launch.spawner != "none" or tasks is None or tasks < 2:
            continue
        said = case.script.directives.written("ntasks", "ntasks-per-node", "nodes")
        find = error if case.asked.gpus_per_node != 0 else warning
        yield find(
            "no-srun",
            run.launch.line,
            f"python without srun is 1 process on the first node, but `{said}` asks for {tasks}:"
            f" 1/{tasks} clients joined, then the store's timeout",
            f"srun python {run.launch.program} ...",
        )


def trainer_nodes(case: Case) -> Iterator[ScriptFinding]:
    """The Trainer, or torchrun, is told of as many nodes as there are."""
    for run in case.runs:
        nodes = run.step.nodes
        said = run.num_nodes_argument
        told = [] if said is None else [(said.written, run.num_nodes)]
        spawned = run.spawned("nnodes")
        told += [] if spawned is None else [(f"--nnodes={spawned}", spawned)]
        for written, num_nodes in told:
            if nodes is not None and num_nodes is not None and num_nodes != nodes:
                waits = (
                    "waits for nodes that never come" if num_nodes > nodes else "leaves some out"
                )
                yield error(
                    "trainer-nodes",
                    case.line(run, "nodes"),
                    f"`{case.said(run, 'nodes')}` gives {nodes} nodes, but `{written}`"
                    f" counts {num_nodes}: the group {waits}",
                    f"#SBATCH --nodes={num_nodes}, or {_with(written, nodes)}",
                )


def _with(written: str, value: int) -> str:
    """An argument with another value."""
    return written[: max(written.rfind("="), written.rfind(" ")) + 1] + str(value)


def trainer_devices(case: Case) -> Iterator[ScriptFinding]:
    """The Trainer uses one device per task of a node."""
    for run in case.runs:
        devices, argument = run.devices, run.devices_argument
        if devices is None or argument is None or run.launch.spawner not in ("none", "torchrun"):
            continue
        if run.launch.spawner == "torchrun":
            each, said = run.spawned("nproc_per_node"), "--nproc_per_node"
        elif run.is_spread or case.has("ntasks-per-node"):
            each, said = run.step.tasks_per_node, case.said(run, *TASKS)
        else:
            continue
        if each is None or each == devices:
            continue
        nodes = run.num_nodes or run.step.nodes or 1
        yield error(
            "trainer-devices",
            case.line(run, *TASKS),
            f"`{said}` starts {each} task{'s' * (each > 1)} per node, but the Trainer wants"
            f" {devices} devices x {nodes} nodes (`{argument.written}`):"
            f" {each * nodes} of {devices * nodes} ranks",
            _tasks_and_gpus(run, devices),
        )


def tasks_product(case: Case) -> Iterator[ScriptFinding]:
    """--ntasks is nodes x tasks per node, or is not said."""
    directives = case.script.directives
    tasks, nodes, each = (directives.get(n) for n in ("ntasks", "nodes", "ntasks-per-node"))
    if tasks is None or nodes is None or each is None:
        return
    if not (tasks.value.isdigit() and nodes.value.isdigit() and each.value.isdigit()):
        return
    product = int(nodes.value) * int(each.value)
    if int(tasks.value) != product:
        yield error(
            "tasks-product",
            tasks.line,
            f"`{tasks.written}` is not `{nodes.written}` x `{each.written}` = {product}:"
            " Lightning does not notice, and ranks are missing",
            f"leave --ntasks out, or #SBATCH --ntasks={product}",
        )


def gpus_per_rank(case: Case) -> Iterator[ScriptFinding]:
    """Each rank has one GPU, each GPU one rank."""
    for run in case.runs:
        gpus, ranks = run.step.gpus_per_node, run.ranks_per_node
        if not gpus or ranks is None or ranks == gpus:
            continue
        told = case.said(run, *TASKS) if run.is_spread else _told(run)
        if ranks > gpus:
            yield error(
                "ranks-over-gpus",
                case.line(run, *GPU_OPTIONS),
                f"{ranks} ranks per node (`{told}`) but {gpus} GPU{'s' * (gpus > 1)}"
                f" (`{case.said(run, *GPU_OPTIONS)}`): the group hangs at MEMBER: 1/{ranks}",
                _tasks_and_gpus(run, ranks),
            )
        elif not run.launch.is_background:
            yield error(
                "gpus-over-ranks",
                case.line(run, *TASKS),
                f"{ranks} rank{'s' * (ranks > 1)} per node (`{told}`) but {gpus} GPUs"
                f" (`{case.said(run, *GPU_OPTIONS)}`): {gpus - ranks} stay idle, or Lightning"
                f" waits for {gpus} ranks",
                _tasks_and_gpus(run, gpus),
            )


def _told(run: Run) -> str:
    """What says the number of ranks where srun does not."""
    if run.launch.spawner == "torchrun":
        return f"--nproc_per_node={run.spawned('nproc_per_node')}"
    return run.devices_argument.written if run.devices_argument else ""


def _tasks_and_gpus(run: Run, each: int) -> str:
    kind = f"{run.step.gpu_type}:" if run.step.gpu_type else ""
    tasks = 1 if run.launch.spawner == "torchrun" else each
    return f"#SBATCH --ntasks-per-node={tasks} --gres=gpu:{kind}{each}"


def tasks_per_node_missing(case: Case) -> Iterator[ScriptFinding]:
    """Lightning reads SLURM_NTASKS_PER_NODE, which is set only where it was asked for."""
    for run in case.runs:
        tasks = run.step.ntasks
        is_said = case.has("ntasks") or run.said("ntasks")
        if not (run.launch.starter == "srun" and run.launch.spawner == "none" and is_said):
            continue
        if case.has("ntasks-per-node") or run.said("ntasks-per-node") or not tasks or tasks < 2:
            continue
        each = run.step.tasks_per_node
        yield error(
            "tasks-per-node-missing",
            case.line(run, "ntasks"),
            f"`{case.said(run, 'ntasks')}` without --ntasks-per-node: Lightning raises"
            " RuntimeError, and SLURM spreads the tasks as it likes",
            f"#SBATCH --nodes={run.step.nodes} --ntasks-per-node={each}"
            if run.step.nodes
            else "#SBATCH --nodes=... --ntasks-per-node=...",
        )


RULES = (
    no_srun,
    trainer_devices,
    trainer_nodes,
    tasks_product,
    gpus_per_rank,
    tasks_per_node_missing,
)
