"""From override sets to wanted runs: composed, validated, keyed and named. Nothing is written."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from launcher import identity, recovery, resolvers
from launcher.errors import ConfigError
from launcher.hydra_config import editable, pickled, shared_store, without_hydra
from launcher.settings import StudyLauncherConf
from launcher.sweeping import SweepConfigs
from launcher.topology import Shape, shape_of


@dataclass(frozen=True, kw_only=True)
class WantedRun:
    """A run that the command asks for, with the config its job will see."""

    key: str
    name: str
    overrides: tuple[str, ...]
    run_dir: Path
    pickle: bytes
    """The config, which takes ten times the room while it is not pickled."""
    settings: StudyLauncherConf
    shape: Shape
    requires: dict[str, WantedRun] = field(default_factory=dict)

    @property
    def config(self) -> DictConfig:
        """The composed config, unpickled afresh."""
        config: DictConfig = pickle.loads(self.pickle)
        return config


class Composer:
    """Composes runs as the sweep of one Hydra command."""

    def __init__(self, hydra_context: HydraContext, master: DictConfig) -> None:
        self._configs = SweepConfigs(hydra_context.config_loader, master)
        self._sweep_dir = Path(str(master.hydra.sweep.dir)).absolute()
        self._required: dict[str, WantedRun] = {}

    @property
    def study_dir(self) -> Path:
        """Folder of the study."""
        return self._sweep_dir

    def runs(self, job_overrides: Sequence[Sequence[str]], first_number: int) -> list[WantedRun]:
        """The wanted runs in order; runs they require hang below them, each only once.

        Raises:
            ConfigError: a value is wrong, or two runs have the same folder.
        """
        names = identity.short_names([list(overrides) for overrides in job_overrides])
        with shared_store():
            wanted = [
                self._run(list(overrides), name, first_number + i)
                for i, (overrides, name) in enumerate(zip(job_overrides, names, strict=True))
            ]
        _refuse_collisions(wanted)
        return wanted

    def _run(self, overrides: list[str], name: str, number: int) -> WantedRun:
        config = self._compose(overrides, number)
        key = resolvers.key_of(config)
        run_dir = self._sweep_dir / str(config.hydra.sweep.subdir)
        return self._wanted(config, key, overrides, name, run_dir, chain=())

    def _require(
        self, overrides: list[str], label: str, extra: list[str], chain: tuple[str, ...]
    ) -> WantedRun:
        """The run that `extra` overrides turn a run into; `chain` are the keys that led here."""
        changed = {_key_of(override) for override in extra}
        theirs = [*(o for o in overrides if _key_of(o) not in changed), *extra]
        config = self._compose(theirs, 0)
        key = resolvers.key_of(config)
        if key in chain:
            raise ConfigError(
                f"`requires.{label}` makes a run wait for itself: {' '.join(theirs)}",
                hint=f"let the required run require less, e.g. with requires.{label}=null",
            )
        if key not in self._required:
            run_dir = Path(_settings(config).shared_dir).resolve() / key
            name = f"{label} {key[:6]}"
            self._required[key] = self._wanted(config, key, theirs, name, run_dir, chain=chain)
        return self._required[key]

    def _compose(self, overrides: list[str], number: int) -> DictConfig:
        config = self._configs.compose(overrides)
        with editable(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
            # Frozen as text: a job's own overrides would name another study.
            config.hydra.sweep.dir = str(self._sweep_dir)
        # ${hydra:...} inside a config reads the config that is current, as it will in the job.
        # Assigned, because set_config would copy it.
        HydraConfig.instance().cfg = config  # type: ignore[assignment]
        return config

    def _wanted(
        self,
        config: DictConfig,
        key: str,
        overrides: list[str],
        name: str,
        run_dir: Path,
        *,
        chain: tuple[str, ...],
    ) -> WantedRun:
        settings = _settings(config)
        for validate in settings.validate:
            load_function(validate)(without_hydra(config))
        with editable(config):
            config.hydra.sweep.dir = str(run_dir.parent)
            config.hydra.sweep.subdir = run_dir.name
        return WantedRun(
            key=key,
            name=name,
            overrides=tuple(overrides),
            run_dir=run_dir,
            pickle=pickled(config),
            settings=settings,
            shape=shape_of(settings.resources, settings.cluster),
            requires={
                label: self._require(overrides, label, list(extra), (*chain, key))
                for label, extra in settings.requires.items()
                if extra is not None
            },
        )


def _key_of(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _settings(config: DictConfig) -> StudyLauncherConf:
    settings = OmegaConf.to_object(config.hydra.launcher)
    if not isinstance(settings, StudyLauncherConf):
        raise ConfigError("`hydra.launcher` is not one of ours: hydra/launcher=slurm|local|debug")
    _check_stock_shape_keys(settings)
    recovery.check(settings.recovery)
    recovery.check_keys(settings.recovery, lambda key: _has(config, key))
    return settings


def _has(config: DictConfig, key: str) -> bool:
    absent = object()
    found = OmegaConf.select(config, key, default=absent, throw_on_resolution_failure=False)
    return found is not absent


def _check_stock_shape_keys(settings: StudyLauncherConf) -> None:
    """The stock launcher's keys for a shape are accepted only where they agree with ours."""
    shape = shape_of(settings.resources, settings.cluster)
    pairs: list[tuple[str, Any, Any]] = [
        ("nodes", settings.nodes, shape.nodes),
        ("tasks_per_node", settings.tasks_per_node, shape.ranks_per_node),
        ("gpus_per_node", settings.gpus_per_node, shape.gpus_per_node),
        ("cpus_per_task", settings.cpus_per_task, shape.cpus_per_rank),
        ("timeout_min", settings.timeout_min, shape.timeout_min),
        ("mem_gb", settings.mem_gb, shape.mem_gb),
    ]
    for name, stock, ours in pairs:
        if stock is not None and stock != ours:
            raise ConfigError(
                f"`hydra.launcher.{name}={stock}` contradicts the shape, which says {ours}",
                hint="set the shape as a whole under resources.* (hydra.launcher.resources.*)",
            )


def _refuse_collisions(runs: Sequence[WantedRun]) -> None:
    keys: dict[str, WantedRun] = {}
    folders: dict[Path, WantedRun] = {}
    for run in runs:
        same = keys.setdefault(run.key, run)
        if same is not run:
            raise ConfigError(
                f"runs {_pair(same, run)} are the same run ({run.key})",
                hint="drop one of them, or sweep something that changes the science; what does"
                " not is listed in hydra.launcher.key_exclude",
            )
        near = folders.setdefault(run.run_dir, run)
        if near is not run:
            raise ConfigError(
                f"runs {_pair(near, run)} have the same folder `{run.run_dir}`",
                hint="let hydra.sweep.subdir differ, e.g. ${hydra.job.num} or ${run_key:}",
            )


def _pair(first: WantedRun, second: WantedRun) -> str:
    return f"`{' '.join(first.overrides)}` and `{' '.join(second.overrides)}`"


def load_function(path: str) -> Callable[..., Any]:
    """Import `module:name`.

    Raises:
        ConfigError: there is no such module or function.
    """
    module, _, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"`{path}` cannot be imported: {error}", hint="write it as package.module:function"
        ) from error
    return function  # type: ignore[no-any-return]
