"""What is probed: of runs that take the same only one, in a folder and under a key of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from launcher import identity
from launcher.compose import WantedRun
from launcher.errors import at_least
from launcher.hydra_config import editable, pickled
from launcher.measures import Measure
from launcher.records import Outcome
from launcher.settings import ProbeConfig, StudyLauncherConf
from launcher.states import RunStatus
from launcher.topology import Shape

ANSWERS: tuple[Outcome, ...] = ("completed", "walltime", "host_oom", "gpu_oom")
"""Ends of a probe that say what the run takes; others say nothing about it."""
_NOT_OF_A_STEP = ("max_steps", "max_epochs")
"""Of `config_keys` those that say how long a run is, not what a step of it takes."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A run that is tried for a few minutes, and all runs that take what it takes."""

    run: WantedRun
    """With the probe's own key, folder, config and time limit."""
    stands_for: int = 1
    """Runs of the command that would have been probed in the same way."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a probe."""

    probe: Probe
    status: RunStatus
    measure: Measure | None
    """What its ranks took; None where they never came so far as to write it."""

    @property
    def outcome(self) -> Outcome | None:
        """Why it ended."""
        return self.status.outcome


def check(config: ProbeConfig) -> None:
    """Refuse settings of which nothing could be measured.

    Raises:
        ConfigError: a number is too small.
    """
    at_least("hydra.launcher.probe.steps", config.steps, 1)
    at_least("hydra.launcher.probe.val_batches", config.val_batches, 0)
    at_least("hydra.launcher.probe.timeout_min", config.timeout_min, 1)


def probes_of(wanted: Sequence[WantedRun], folder: Path) -> list[Probe]:
    """One probe for all runs that share profile, place, shape, workers and batches.

    Args:
        wanted: Runs as they would be sent.
        folder: Of the study that the probes make up.
    """
    found: dict[str, Probe] = {}
    for run in wanted:
        key = _key(run)
        known = found.get(key)
        found[key] = (
            replace(known, stands_for=known.stands_for + 1)
            if known is not None
            else Probe(run=_as_probe(run, key, folder))
        )
    return list(found.values())


def _key(run: WantedRun) -> str:
    cluster, shape = run.settings.cluster, run.shape
    return identity.digest(
        [
            "probe",
            run.profile_dir.name,
            [cluster.name, cluster.partition, cluster.gpu_type],
            {**asdict(shape), "timeout_min": None},
            _varied(run),
        ]
    )


def _varied(run: WantedRun) -> dict[str, Any]:
    """What changes the measure within a profile: workers and batches."""
    config = run.config
    keys = asdict(run.settings.config_keys)
    counted = [key for name, key in keys.items() if name not in _NOT_OF_A_STEP]
    return {
        key: OmegaConf.select(config, key, throw_on_resolution_failure=False)
        for key in (*counted, *run.settings.memory.grows_with)
    }


def _as_probe(run: WantedRun, key: str, folder: Path) -> WantedRun:
    config = run.config
    with editable(config):
        config.hydra.sweep.dir = str(folder)
        config.hydra.sweep.subdir = key
    return replace(
        run,
        key=key,
        run_dir=folder / key,
        pickle=pickled(config),
        settings=_settings(run.settings),
        shape=_shape(run.shape, run.settings),
    )


def _settings(settings: StudyLauncherConf) -> StudyLauncherConf:
    """One life whatever happens: how it ends is what is asked."""
    once = replace(settings.recovery, max_attempts=1)
    return replace(settings, recovery=once, report=None, page=None, action="probe")


def _shape(shape: Shape, settings: StudyLauncherConf) -> Shape:
    longest = settings.cluster.max_time_min or settings.probe.timeout_min
    return replace(shape, timeout_min=min(settings.probe.timeout_min, longest))
