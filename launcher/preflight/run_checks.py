"""Checks of what a run asks for against what it needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from launcher.errors import LauncherError
from launcher.preflight.findings import Finding, Subject, check, distinct, ok

if TYPE_CHECKING:
    from launcher.compose import WantedRun

_NEWEST = 5
"""Measures of which one slow file system says something about the next run."""
_SIGNAL_LATE_S = 60.0
"""SLURM may send the signal of `--signal` so much earlier than asked; never later."""


def _value(run: WantedRun, key: str) -> Any:
    return OmegaConf.select(run.config, key, throw_on_resolution_failure=False)


def by_profile(run: WantedRun) -> object:
    """Runs of which one answers for all."""
    return run.profile_dir, run.shape, run.settings.cluster.partition, run.planned_with


@check
def workers(subject: Subject) -> Iterator[Finding]:
    """Dataloader workers have CPUs to run on."""
    for run in distinct(subject.runs, by_profile):
        keys = run.settings.config_keys
        count = _value(run, keys.num_workers)
        cpus = run.shape.cpus_per_rank
        if not isinstance(count, int):
            continue
        if count > cpus:
            yield Finding(
                check="workers",
                level="warning",
                runs=run.name,
                reason=f"{count} dataloader workers and the rank itself share {cpus} CPUs",
                hint=f"resources.cpus_per_rank={count + 1}, or {keys.num_workers}={cpus}",
            )
        else:
            yield ok("workers", f"{count} workers on {cpus} CPUs of each rank")


@check
def signal_lead(subject: Subject) -> Iterator[Finding]:
    """Between the signal and the time limit there is time for a step and a checkpoint."""
    for run in distinct(subject.runs, by_profile):
        lead_s = min(run.settings.signal_delay_s, run.shape.timeout_min * 60 // 2)
        alike = [one for one in subject.measures(run) if one.is_on_gpu == run.is_on_gpu]
        measured = [
            (rank.checkpoint_s, rank.step_s or 0.0)
            for one in alike[:_NEWEST]
            for rank in one.ranks
            if rank.checkpoint_s
        ]
        if subject.site is None or run.settings.recovery.max_attempts <= 1:
            continue
        if not measured:
            yield Finding(
                check="signal_lead",
                level="unknown",
                runs=run.name,
                reason=f"{lead_s} s before the time limit the run is told to save; how long that"
                " takes was never measured",
                hint="`launch probe` measures a checkpoint",
            )
            continue
        needed_s = max(saved_s + step_s for saved_s, step_s in measured)
        if needed_s > lead_s:
            wanted_s = round(2 * needed_s + _SIGNAL_LATE_S)
            hint = f"hydra.launcher.signal_delay_s={wanted_s}"
            if lead_s < run.settings.signal_delay_s:  # half of the time limit is the most
                hint = f"resources.timeout_min={-(-wanted_s // 30)} and {hint}"
            yield Finding(
                check="signal_lead",
                level="warning",
                runs=run.name,
                reason=f"a step and a checkpoint took {needed_s:.0f} s, the signal comes {lead_s} s"
                " before the time limit: the last checkpoint may not be on disk in time",
                hint=hint,
            )
        else:
            yield ok("signal_lead", f"{lead_s} s for a step and a checkpoint of {needed_s:.1f} s")


@check
def scheduler(subject: Subject) -> Iterator[Finding]:
    """`sbatch --test-only` takes each kind of job; of local runs, this machine is large enough."""
    if subject.test_only is None:
        return
    try:
        subject.test_only()
    except LauncherError as error:
        yield Finding(check="scheduler", level="error", reason=error.message, hint=error.hint or "")
    else:
        asked = "this machine holds" if subject.site is None else "`sbatch --test-only` takes"
        yield ok("scheduler", f"{asked} the jobs")
