"""Rules: what starts the ranks, and which GPUs they see. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.scripts.case import Case, Run
from launcher.scripts.findings import ScriptFinding, error, warning
from launcher.scripts.rules.ranks import TASKS


def torchrun_on_one_node(case: Case) -> Iterator[ScriptFinding]:
    """Torchrun starts the ranks of the node on which it runs."""
    for run in case.runs:
        if run.launch.spawner != "torchrun":
            continue
        nodes, tasks = case.asked.nodes, run.step.tasks_per_node
        if not run.is_spread and nodes is not None and nodes > 1:
            yield error(
                "torchrun-without-srun",
                run.launch.line,
                f"torchrun without srun runs on the first of {nodes} nodes"
                f" (`{case.said(run, 'nodes')}`); the others stay empty",
                f"srun --ntasks-per-node=1 torchrun --nnodes={nodes} ...",
            )
        elif run.is_spread and tasks is not None and tasks > 1:
            yield error(
                "torchrun-per-task",
                case.line(run, *TASKS),
                f"`{case.said(run, *TASKS)}` starts torchrun {tasks} times on each node, and each"
                " starts a rank per GPU",
                "#SBATCH --ntasks-per-node=1, or srun python without torchrun",
            )


def gpu_binding(case: Case) -> Iterator[ScriptFinding]:
    """Ranks of a node must see each other's GPUs."""
    for run in case.runs:
        tasks = run.step.tasks_per_node
        if run.launch.spawner != "none" or not run.is_spread or tasks is None or tasks < 2:
            continue
        bind = run.said("gpu-bind") or (
            case.script.directives.written("gpu-bind") if case.has("gpu-bind") else ""
        )
        names = ("gpus-per-task", "ntasks-per-gpu")
        per_task = next((n for n in names if case.has(n) or run.said(n)), None)
        if "none" in bind or not (bind or per_task):
            continue
        said = bind or case.said(run, per_task or "")
        yield error(
            "gpu-binding",
            case.line(run, "gpu-bind", *names),
            f"`{said}` shows each of {tasks} ranks one GPU only: NCCL cannot reach the peers'"
            f" GPUs, and Lightning looks for {tasks}",
            f"#SBATCH {case.gpu_option(run.step.gpus_per_node or tasks)}, or --gpu-bind=none"
            " beside it",
        )


def idle_gpus_of_the_batch(case: Case) -> Iterator[ScriptFinding]:
    """One process that is told of one task per node, beside several GPUs."""
    gpus = case.asked.gpus_per_node
    for run in case.runs:
        tells = run.is_spread or run.launch.spawner != "none" or run.devices is not None
        if tells or not gpus or gpus < 2 or case.script.directives.value("ntasks-per-node") != "1":
            continue
        yield warning(
            "devices-unsaid",
            run.launch.line,
            f"`{case.said(run, 'ntasks-per-node')}` beside {gpus} GPUs: Lightning takes all"
            f" {gpus} and refuses the single task",
            f"#SBATCH --ntasks-per-node={gpus}, and srun python {run.launch.program} ...",
        )


def strategy_of_one(case: Case) -> Iterator[ScriptFinding]:
    """A distributed strategy needs more than one rank."""
    for run in case.runs:
        ranks, nodes, gpus = run.ranks_per_node, run.step.nodes, run.step.gpus_per_node
        if not run.is_spread and run.launch.spawner == "none":
            ranks = run.devices or gpus
        if run.strategy.startswith(("ddp", "fsdp")) and ranks == nodes == 1 and gpus in (0, 1):
            yield warning(
                "strategy-of-one",
                run.launch.line,
                f"strategy={run.strategy} with 1 task on 1 GPU"
                f" (`{case.said(run, *TASKS)}`): there is nobody to share with",
                "leave the strategy out, or ask for more GPUs and as many tasks",
            )


def no_gpus(case: Case) -> Iterator[ScriptFinding]:
    """A training on GPUs asks for some."""
    for run in case.runs:
        wants = run.accelerator in ("gpu", "cuda") or (
            run.accelerator == "" and (run.devices is not None or run.strategy.startswith("ddp"))
        )
        if wants and run.step.gpus_per_node == 0 and run.accelerator != "cpu":
            each = run.ranks_per_node or run.devices or 1
            yield error(
                "no-gpus",
                run.launch.line,
                "no --gres, --gpus or --gpus-per-node: the job has no GPU, though it trains with"
                f" `{_wants(run)}`",
                f"#SBATCH --gres=gpu:{each}, or accelerator=cpu",
            )


def _wants(run: Run) -> str:
    for found in (run.launch.argument("accelerator"), run.devices_argument):
        if found is not None:
            return found.written
    return f"strategy={run.strategy}"


RULES = (
    torchrun_on_one_node,
    no_gpus,
    gpu_binding,
    idle_gpus_of_the_batch,
    strategy_of_one,
)
