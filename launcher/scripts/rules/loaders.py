"""Rules: host memory and CPUs of a node, which ranks and dataloader workers share. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.scripts.case import Case, Run
from launcher.scripts.findings import ScriptFinding, error, warning

CRAMPED_GB = 4.0
"""Below this a process is cramped [GB]: Python with torch takes about 1 GB before it has read a
sample, and batches of camera images several. Only counts where nothing was measured."""
ROOMY_GB = 16.0
"""With less than this for each process [GB], persistent workers are not taken on trust."""


def _processes(run: Run) -> tuple[int, int] | None:
    """Ranks of a node, and its loader processes when validation starts; None if unknown.

    The training loader's workers are still there when those of the validation loader start.
    """
    ranks, workers, val_workers = run.ranks_per_node, run.workers, run.val_workers
    if ranks is None and run.launch.spawner == "none" and run.step.gpus_per_node in (0, 1):
        ranks = 1
    if not ranks or workers is None or val_workers is None:
        return None
    return ranks, ranks * (workers + val_workers)


def _given_gb(case: Case) -> float | None:
    return case.node_gb() if case.asked.is_all_memory else case.asked.mem_gb


def _of_node(case: Case, given_gb: float) -> str:
    """`256 GB`, and where it is known and matters how much of the node that is."""
    node_gb = case.node_gb()
    if node_gb is not None and case.takes_all_gpus() and given_gb < 0.9 * node_gb:
        return f"{given_gb:g} of {node_gb:g} GB"
    return f"{given_gb:g} GB"


def _memory_instead(case: Case, run: Run) -> str:
    node_gb = case.node_gb()
    is_left = node_gb is not None and case.takes_all_gpus()
    more = f"#SBATCH --mem={node_gb:g}G" if is_left else "a larger --mem"
    fewer = f"num_workers={max((run.workers or 1) // 4, 1)}"
    return f"{more} with {fewer} and persistent_workers=false; launch probe measures both"


def measured_budget(case: Case) -> Iterator[ScriptFinding]:
    """What a measurement says must fit."""
    for run in case.runs:
        counted, given_gb, measured = _processes(run), _given_gb(case), case.measured
        if counted is None or given_gb is None or measured is None:
            continue
        ranks, loaders = counted
        needs_gb = ranks * measured.rank_gb + loaders * measured.worker_gb
        if needs_gb > given_gb:
            yield error(
                "memory-budget",
                case.line(run, "mem", "mem-per-cpu", "mem-per-gpu"),
                f"{ranks} ranks x {measured.rank_gb:g} GB + {loaders} loader processes x"
                f" {measured.worker_gb:g} GB = {needs_gb:g} GB on each node, but"
                f" `{_memory_written(case)}` gives {_of_node(case, given_gb)}",
                _memory_instead(case, run),
            )


def _memory_written(case: Case) -> str:
    return case.script.directives.written("mem", "mem-per-cpu", "mem-per-gpu")


def _workers_written(run: Run) -> str:
    return run.workers_argument.written if run.workers_argument else ""


def cramped_loaders(case: Case) -> Iterator[ScriptFinding]:
    """Workers multiply with ranks, and again when validation starts."""
    for run in case.runs:
        counted, given_gb = _processes(run), _given_gb(case)
        if counted is None or given_gb is None or case.measured is not None or not counted[1]:
            continue
        ranks, loaders = counted
        each_gb = given_gb / (ranks + loaders)
        if each_gb < CRAMPED_GB:
            yield error(
                "cramped-loaders",
                case.line(run, "mem", "mem-per-cpu", "mem-per-gpu"),
                f"{ranks} ranks x {run.workers} workers, for training and validation: {loaders}"
                f" loader processes beside the ranks share {_of_node(case, given_gb)} of each node"
                f" (`{_memory_written(case)}`, `{_workers_written(run)}`), {each_gb:.1f} GB each",
                _memory_instead(case, run),
            )


def persistent_loaders(case: Case) -> Iterator[ScriptFinding]:
    """Persistent workers of training live beside those of validation for good."""
    for run in case.runs:
        counted, given_gb = _processes(run), _given_gb(case)
        if counted is None or given_gb is None or case.measured is not None:
            continue
        ranks, loaders = counted
        each_gb = given_gb / (ranks + loaders)
        leaves_memory = " of " in _of_node(case, given_gb)
        if not run.has_persistent_workers or not loaders or not run.val_workers:
            continue
        if each_gb >= ROOMY_GB and not leaves_memory:
            continue
        # On a whole node there is no more memory to ask for.
        is_whole = case.takes_all_gpus() and not leaves_memory
        find = warning if is_whole or each_gb >= ROOMY_GB else error
        yield find(
            "persistent-workers",
            run.launch.line,
            f"validation starts {ranks * (run.val_workers or 0)} workers beside"
            f" {ranks * (run.workers or 0)} persistent training workers: {loaders} loader processes"
            f" and {ranks} ranks of each node share {_of_node(case, given_gb)}"
            f" (`{_memory_written(case)}`)"
            + (", though all its GPUs are taken" if leaves_memory else ""),
            f"{_memory_instead(case, run)}; save within the epoch: a kill here costs all of it",
        )


def memory_left(case: Case) -> Iterator[ScriptFinding]:
    """Where a job takes all GPUs of a node, nobody else can use its memory."""
    given_gb, node_gb = case.asked.mem_gb, case.node_gb()
    if node_gb is None or not case.takes_all_gpus() or case.asked.is_all_memory:
        return
    if given_gb is None:
        yield warning(
            "memory-left",
            None,
            "no --mem: the site's default holds, though all"
            f" {case.asked.gpus_per_node} GPUs of a node with {node_gb:g} GB are taken",
            f"#SBATCH --mem={node_gb:g}G",
        )
    elif given_gb < 0.9 * node_gb:
        yield warning(
            "memory-left",
            case.script.directives.line("mem", "mem-per-cpu", "mem-per-gpu"),
            f"`{_memory_written(case)}`: {given_gb:g} of {node_gb:g} GB, though all"
            f" {case.asked.gpus_per_node} GPUs are taken: nobody can use the rest",
            f"#SBATCH --mem={node_gb:g}G",
        )


def workers_over_cpus(case: Case) -> Iterator[ScriptFinding]:
    """Workers of a rank share the CPUs of its task."""
    for run in case.runs:
        counted, cpus = _processes(run), run.step.cpus_per_task
        tasks, workers = run.step.tasks_per_node, run.workers
        if counted is None or cpus is None or not tasks or not workers:
            continue
        each = cpus * tasks // counted[0]
        if workers > each:
            needed = -(-workers * counted[0] // tasks)
            yield error(
                "workers-over-cpus",
                case.line(run, "cpus-per-task", "cpus-per-gpu"),
                f"`{_workers_written(run)}` of each rank share {each} CPU{'s' * (each != 1)}"
                f" (`{case.said(run, 'cpus-per-task', 'cpus-per-gpu')}`): the GPU waits for data",
                f"#SBATCH --cpus-per-task={needed}, or num_workers={max(each, 1)}",
            )


def all_memory_of_a_shared_node(case: Case) -> Iterator[ScriptFinding]:
    """--mem=0 keeps others away from the GPUs that the job does not use."""
    all_gpus = case.node.gpus_per_node if case.node else None
    gpus = case.asked.gpus_per_node
    if case.asked.is_all_memory and all_gpus and gpus and gpus < all_gpus:
        yield warning(
            "all-memory",
            case.script.directives.line("mem"),
            f"`{_memory_written(case)}` takes the memory of a whole node for {gpus} of its"
            f" {all_gpus} GPUs: nobody can use the others, and the job waits for an empty node",
            f"#SBATCH --mem={int((case.node_gb() or 0) * gpus / all_gpus)}G"
            if case.node_gb()
            else "the share of the node's memory that goes with the GPUs",
        )


def exclusive(case: Case) -> Iterator[ScriptFinding]:
    """--exclusive takes nodes and CPUs; GPUs and memory are still what was asked for."""
    if not case.has("exclusive"):
        return
    line = case.script.directives.line("exclusive")
    all_gpus = case.node.gpus_per_node if case.node else None
    gpus = case.asked.gpus_per_node
    if all_gpus and gpus is not None and gpus < all_gpus:
        yield warning(
            "exclusive",
            line,
            f"--exclusive takes whole nodes of {all_gpus} GPUs, but the job gets {gpus} of them",
            f"#SBATCH --gres=gpu:{all_gpus}, or no --exclusive",
        )
    if not case.asked.is_all_memory and not memory_is_all(case):
        yield warning(
            "exclusive",
            line,
            f"--exclusive takes the nodes, not their memory: `{_memory_written(case)}` holds",
            "#SBATCH --mem=0",
        )


def memory_is_all(case: Case) -> bool:
    """Whether what is asked for is about what a node has, or nobody knows."""
    given_gb, node_gb = case.asked.mem_gb, case.node_gb()
    return given_gb is not None and (node_gb is None or given_gb >= 0.9 * node_gb)


RULES = (
    measured_budget,
    cramped_loaders,
    persistent_loaders,
    workers_over_cpus,
    memory_left,
    all_memory_of_a_shared_node,
    exclusive,
)
