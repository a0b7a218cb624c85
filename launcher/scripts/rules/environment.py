"""Rules: variables and shell around the training. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.scripts.asked import number
from launcher.scripts.case import GPU_OPTIONS, Case
from launcher.scripts.findings import ScriptFinding, error, warning

_PER_RANK = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "SLURM_LOCALID", "GROUP_RANK")
_HERE = ("localhost", "127.0.0.1", "::1", "0.0.0.0")


def master_address(case: Case) -> Iterator[ScriptFinding]:
    """All ranks meet at one node, which each of them must reach."""
    value, line = case.script.variables.get("MASTER_ADDR", ("", 0))
    if value in _HERE and (case.asked.nodes or 1) > 1:
        yield error(
            "master-address",
            line,
            f"MASTER_ADDR={value} is another machine on each of the {case.asked.nodes} nodes:"
            " the nodes never meet",
            'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        )


def master_port(case: Case) -> Iterator[ScriptFinding]:
    """Two jobs may share a node."""
    value, line = case.script.variables.get("MASTER_PORT", ("", 0))
    shares = not case.takes_all_gpus() and not case.has("exclusive")
    if number(value) is not None and shares and case.node is not None:
        yield warning(
            "master-port",
            line,
            f"MASTER_PORT={value} is the same for each job: two of them on one node collide",
            "leave it out (Lightning derives one from the job's id), or"
            " export MASTER_PORT=$((15000 + SLURM_JOB_ID % 10000))",
        )


def rank_variables(case: Case) -> Iterator[ScriptFinding]:
    """A variable of the script is the same for all ranks."""
    for name in _PER_RANK:
        if name in case.script.variables and (case.asked.ntasks or 1) > 1:
            value, line = case.script.variables[name]
            yield error(
                "rank-variable",
                line,
                f"{name}={value} is set once in the script: all {case.asked.ntasks} ranks get the"
                " same one",
                f"leave {name} out: srun and Lightning set it",
            )


def world_size(case: Case) -> Iterator[ScriptFinding]:
    """The number of ranks is what srun starts."""
    value, line = case.script.variables.get("WORLD_SIZE", ("", 0))
    said, tasks = number(value), case.asked.ntasks
    spawns = any(run.launch.spawner != "none" for run in case.runs)
    if said is not None and tasks is not None and said != tasks and not spawns:
        yield error(
            "world-size",
            line,
            f"WORLD_SIZE={said}, but the directives ask for {tasks} tasks",
            "leave WORLD_SIZE out, or export WORLD_SIZE=$SLURM_NTASKS",
        )


def visible_devices(case: Case) -> Iterator[ScriptFinding]:
    """SLURM says which GPUs are the job's."""
    value, line = case.script.variables.get("CUDA_VISIBLE_DEVICES", ("", 0))
    listed = [part for part in value.split(",") if part.strip().isdigit()]
    gpus = case.asked.gpus_per_node
    if listed and gpus is not None and len(listed) != gpus:
        said = case.script.directives.written(*GPU_OPTIONS)
        yield error(
            "visible-devices",
            line,
            f"CUDA_VISIBLE_DEVICES={value} shows {len(listed)} GPUs, but `{said}` gives {gpus}",
            "leave CUDA_VISIBLE_DEVICES out: SLURM sets it",
        )


def job_name(case: Case) -> Iterator[ScriptFinding]:
    """Lightning takes jobs of these names for a terminal."""
    name = case.script.directives.value("job-name")
    if name in ("bash", "interactive") and (case.asked.ntasks or 1) > 1:
        yield error(
            "job-name",
            case.script.directives.line("job-name"),
            f"--job-name={name}: Lightning takes the job for an interactive one, and each of"
            f" {case.asked.ntasks} tasks trains alone",
            "#SBATCH --job-name=train",
        )


def waits_for_background(case: Case) -> Iterator[ScriptFinding]:
    """The job ends with its script, and takes what runs in the background along."""
    last = max((r.launch.line for r in case.runs if r.launch.is_background), default=None)
    if last is None:
        return
    if not any(one.words[0] == "wait" and one.line >= last for one in case.script.commands):
        yield error(
            "no-wait",
            last,
            f"the command in line {last} runs in the background (`&`) and nothing waits for it:"
            " the job ends at once",
            "write `wait` below it",
        )


def srun_options(case: Case) -> Iterator[ScriptFinding]:
    """Srun knows other options than sbatch."""
    for run in case.runs:
        for option in run.launch.options:
            if option.problem:
                yield error(
                    "srun-option", run.launch.line, f"{option.problem}: srun refuses to start"
                )


RULES = (
    srun_options,
    waits_for_background,
    rank_variables,
    world_size,
    visible_devices,
    job_name,
    master_address,
    master_port,
)
