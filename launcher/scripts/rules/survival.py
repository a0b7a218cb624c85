"""Rules: what a job loses at its time limit, at a preemption, or when one rank dies. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.scripts.case import Case
from launcher.scripts.findings import ScriptFinding, error, warning


def signal(case: Case) -> Iterator[ScriptFinding]:
    """The warning before the time limit reaches somebody who acts on it."""
    directives = case.script.directives
    value, line = directives.value("signal"), directives.line("signal")
    if value is None:
        return
    to_batch = "B" in value.partition(":")[0] and ":" in value
    has_trap = any(one.words[0] == "trap" for one in case.script.commands)
    is_spread = any(run.is_spread for run in case.runs)
    if to_batch and not has_trap:
        yield error(
            "signal-unheard",
            line,
            f"--signal={value} goes to the batch shell alone, and the script has no trap for it:"
            " the training never hears of it",
            f"#SBATCH --signal={value.partition(':')[2]}, which goes to what srun started",
        )
    if not to_batch and case.runs and not is_spread:
        yield error(
            "signal-unheard",
            line,
            f"--signal={value} goes to job steps only, and python without srun is none: the"
            " training never hears of it",
            f"srun python {case.runs[-1].launch.program} ...",
        )
    if case.has("no-requeue"):
        yield error(
            "requeue-forbidden",
            directives.line("no-requeue"),
            f"--no-requeue beside --signal={value}: Lightning saves, asks for a requeue and is"
            " refused",
            "#SBATCH --requeue",
        )
    elif not case.has("requeue"):
        yield warning(
            "no-requeue",
            line,
            f"--signal={value} without --requeue: whether the job may go on afterwards is left to"
            " the site's default",
            "#SBATCH --requeue --open-mode=append",
        )


def requeue(case: Case) -> Iterator[ScriptFinding]:
    """A job that starts again keeps what its first life wrote."""
    directives = case.script.directives
    if case.node is not None and case.node.requeue is False and case.has("requeue"):
        yield warning(
            "requeue-disabled",
            directives.line("requeue"),
            "--requeue: the site does not put jobs back into the queue (JobRequeue=0)",
        )
    mode = directives.value("open-mode") or ""
    if case.has("requeue") and not mode.startswith("a"):
        yield warning(
            "output-overwritten",
            directives.line("requeue"),
            "--requeue without --open-mode=append: the output of the first life is overwritten"
            " where the site truncates (JobFileAppend=0, the default)",
            "#SBATCH --open-mode=append",
        )
    partition = directives.value("partition") or ""
    there = case.cluster.partitions.get(partition) if case.cluster else None
    if there is not None and there.is_preemptible and not case.has("requeue"):
        yield warning(
            "preemptible",
            directives.line("partition"),
            f"--partition={partition} is preempted, and the script has no --requeue",
            "#SBATCH --requeue --open-mode=append",
        )


def output(case: Case) -> Iterator[ScriptFinding]:
    """The output has a place, and each job its own."""
    directives = case.script.directives
    value = directives.value("output")
    if value is None:
        yield warning(
            "no-output",
            None,
            "no --output: slurm-<job>.out lands in the folder from which sbatch was called",
            "#SBATCH --output=logs/%x-%j.out (SLURM makes no folder)",
        )
    elif "%" not in value and not case.has("array") and value != "/dev/null":
        yield warning(
            "one-output",
            directives.line("output"),
            f"--output={value} is the same file for each job: the next one overwrites it",
            "#SBATCH --output=logs/%x-%j.out",
        )


def kill_on_bad_exit(case: Case) -> Iterator[ScriptFinding]:
    """When one rank dies, the others wait for it, on GPUs that are paid for."""
    exported = case.script.variables.get("SLURM_KILL_BAD_EXIT", ("0", 0))[0]
    for run in case.runs:
        tasks = run.step.ntasks
        if run.launch.starter != "srun" or tasks is None or tasks < 2:
            continue
        value = run.own.get("kill-on-bad-exit")
        if value in (None, "0") and exported in ("0", ""):
            yield warning(
                "no-kill-on-bad-exit",
                run.launch.line,
                f"srun without --kill-on-bad-exit=1: when one of {tasks} ranks dies the others"
                " wait in NCCL until the time limit",
                "srun --kill-on-bad-exit=1 ...",
            )


def cpus_of_srun(case: Case) -> Iterator[ScriptFinding]:
    """Srun does not always take --cpus-per-task over from the job."""
    if not case.has("cpus-per-task") or case.asked.cpus_per_task == 1:
        return
    if "SRUN_CPUS_PER_TASK" in case.script.variables:
        return
    for run in case.runs:
        if run.launch.starter == "srun" and "cpus-per-task" not in run.own:
            cpus = case.script.directives.value("cpus-per-task")
            yield warning(
                "srun-cpus",
                run.launch.line,
                f"srun does not say --cpus-per-task={cpus} again: SLURM 22.05 to 23.02 forget it,"
                " and all workers of a rank sit on one CPU",
                f"srun --cpus-per-task={cpus} ...",
            )


RULES = (signal, requeue, output, kill_on_bad_exit, cpus_of_srun)
