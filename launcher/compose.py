"""From override sets to wanted runs: composed, validated, keyed and named. Nothing is written."""

from __future__ import annotations

import importlib
import itertools
import pickle
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from launcher import halves, identity, recovery, resolvers
from launcher.errors import ConfigError
from launcher.hydra_config import editable, pickled, shared_store, without_hydra
from launcher.partitions import AUTO, folded, placed
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
    profile_dir: Path
    """Where runs that take as much memory and time per step are remembered."""
    requires: dict[str, WantedRun] = field(default_factory=dict)
    planned_with: tuple[Any, ...] = ()
    """Values of `hydra.launcher.config_keys` and of what `memory.needs` reads; runs of one profile
    may differ in them."""
    left_open: Asked | None = None
    """What its config asked for where the launcher chose the place; None where it did not."""
    is_followed: bool = False
    """Whether it belongs to another study, whose command alone sends it."""

    @property
    def config(self) -> DictConfig:
        """The composed config, unpickled afresh."""
        config: DictConfig = pickle.loads(self.pickle)
        return config

    @property
    def accelerator(self) -> str:
        """What it computes on, as a Trainer is told: `gpu` or `cpu`."""
        return "gpu" if self.is_on_gpu else "cpu"

    @property
    def is_on_gpu(self) -> bool:
        """Whether it will compute on GPUs, which a lab only pretends to have."""
        return self.shape.gpus_per_node > 0 and self.settings.cluster.accelerator == "gpu"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What of a place a config says; a choice takes its place."""

    partition: str | None
    gpus: int | None
    nodes: int | None
    gpus_per_node: int | None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Where a run goes that left it to us."""

    partition: str | None
    """None is the site's default."""
    nodes: int
    gpus_per_node: int


Choose = Callable[[DictConfig], Choice]
"""Decides by a composed config."""


class Composer:
    """Composes runs as the sweep of one Hydra command."""

    def __init__(
        self, hydra_context: HydraContext, master: DictConfig, choose: Choose | None = None
    ) -> None:
        """Take a command's config; `choose` decides where `cluster.partition=auto` goes."""
        self._choose = choose
        self._configs = SweepConfigs(hydra_context.config_loader, master)
        self._sweep_dir = Path(str(master.hydra.sweep.dir)).absolute()
        self._required: dict[str, WantedRun] = {}
        self._pinned: dict[str, WantedRun] = {}
        """Runs that stand for requirements by label, while one that follows is composed."""

    @property
    def study_dir(self) -> Path:
        """Folder of the study."""
        return self._sweep_dir

    def runs(
        self,
        job_overrides: Sequence[Sequence[str]],
        first_number: int,
        pinned: Sequence[dict[str, WantedRun]] | None = None,
    ) -> list[WantedRun]:
        """The wanted runs in order; runs they require hang below them, each only once.

        Args:
            job_overrides: Of each run.
            first_number: Hydra's number of the first.
            pinned: Of each run, those that exist and stand for what it requires, by label.

        Raises:
            ConfigError: a value is wrong, or two runs have the same folder.
        """
        names = identity.short_names([list(overrides) for overrides in job_overrides])
        wanted = []
        with shared_store():
            for i, (overrides, name) in enumerate(zip(job_overrides, names, strict=True)):
                self._pinned = dict(pinned[i]) if pinned is not None else {}
                wanted.append(self._run(list(overrides), name, first_number + i))
        if not wanted or wanted[0].settings.action != "probe":  # a probe is no run of the study
            _refuse_collisions(wanted)
        return wanted

    def _run(self, overrides: list[str], name: str, number: int) -> WantedRun:
        config, left_open = self._compose(overrides, number)
        key = resolvers.key_of(config)
        run_dir = self._sweep_dir / str(config.hydra.sweep.subdir)
        run = self._wanted(config, key, overrides, name, run_dir, chain=())
        return replace(run, left_open=left_open)

    def _require(
        self, overrides: list[str], label: str, extra: list[str], chain: tuple[str, ...]
    ) -> WantedRun:
        """The run that `extra` overrides turn a run into; `chain` are the keys that led here."""
        changed = {override_key(override) for override in extra}
        theirs = [*(o for o in overrides if override_key(o) not in changed), *extra]
        config, left_open = self._compose(theirs, 0)
        key = resolvers.key_of(config)
        if key in chain:
            raise ConfigError(
                f"`requires.{label}` makes a run wait for itself: {' '.join(theirs)}",
                hint=f"let the required run require less, e.g. with requires.{label}=null",
            )
        if key not in self._required:
            run_dir = Path(settings_of(config).shared_dir).resolve() / key
            name = f"{label} {key[:6]}"
            run = self._wanted(config, key, theirs, name, run_dir, chain=chain)
            self._required[key] = replace(run, left_open=left_open)
        return self._required[key]

    def _compose(self, overrides: list[str], number: int) -> tuple[DictConfig, Asked | None]:
        config = self._configs.compose(overrides)
        with editable(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
            # Frozen as text: a job's own overrides would name another study.
            config.hydra.sweep.dir = str(self._sweep_dir)
        # ${hydra:...} inside a config reads the config that is current, as it will in the job.
        # Assigned, because set_config would copy it.
        HydraConfig.instance().cfg = config  # type: ignore[assignment]
        if self._choose is None or not _leaves_partition(config):
            return config, None
        return config, _place(config, self._choose(config))

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
        settings = settings_of(config)
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
            planned_with=tuple(
                _value(config, key)
                for key in (*asdict(settings.config_keys).values(), *settings.memory.grows_with)
            ),
            profile_dir=Path(settings.profiles_dir).resolve() / resolvers.profile_of(config),
            requires=self._all_required(settings, overrides, (*chain, key)),
        )

    def _all_required(
        self, settings: StudyLauncherConf, overrides: list[str], chain: tuple[str, ...]
    ) -> dict[str, WantedRun]:
        found: dict[str, WantedRun] = {}
        for declared, overridden in settings.requires.items():
            if overridden is None:
                continue
            for label, extra in _spread(declared, list(overridden)).items():
                pinned = self._pinned.get(label)
                found[label] = pinned or self._require(overrides, label, extra, chain)
        return found


def _spread(label: str, extra: list[str]) -> dict[str, list[str]]:
    """The requirements that one stands for, by label.

    Overrides that sweep, such as `part=0/2,1/2`, make one of each choice: `label/0`, `label/1`.

    Raises:
        ConfigError: an override sweeps over a range, which has no end of choices.
    """
    if not any(mark in override for override in extra for mark in ",("):
        return {label: extra}  # parsing takes longer than all else here
    choices = []
    for override in OverridesParser.create().parse_overrides(extra):
        if not override.is_sweep_override():
            choices.append([str(override.input_line)])
        elif override.is_discrete_sweep():
            key = override.get_key_element()
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            raise ConfigError(
                f"`requires.{label}` sweeps over all values of a range: {override.input_line}",
                hint="list the values, as in part=0/2,1/2",
            )
    if all(len(of_one) == 1 for of_one in choices):
        return {label: extra}
    points = itertools.product(*choices)
    return {f"{label}/{number}": list(point) for number, point in enumerate(points)}


def _leaves_partition(config: DictConfig) -> bool:
    launcher = config.hydra.launcher
    said = [launcher.get("partition"), (launcher.get("cluster") or {}).get("partition")]
    return next((name for name in said if name is not None), None) == AUTO


def _place(config: DictConfig, choice: Choice) -> Asked:
    """Write a choice where the task and the launcher read it; returns what stood there."""
    resources = config.hydra.launcher.resources
    asked = Asked(
        partition=config.hydra.launcher.cluster.partition,
        gpus=resources.gpus,
        nodes=resources.nodes,
        gpus_per_node=resources.gpus_per_node,
    )
    _write_place(
        config,
        Asked(
            partition=choice.partition,
            gpus=choice.nodes * choice.gpus_per_node,
            nodes=choice.nodes,
            gpus_per_node=choice.gpus_per_node,
        ),
    )
    return asked


def as_asked(run: WantedRun) -> DictConfig:
    """The config of a run as it was before the launcher chose its place."""
    config = run.config
    if run.left_open is not None:
        _write_place(config, run.left_open)
    return config


def _write_place(config: DictConfig, place: Asked) -> None:
    """A reference such as `hydra.launcher.cluster: ${cluster}` leads to the program's own group."""
    with editable(config):
        cluster, resources = config.hydra.launcher.cluster, config.hydra.launcher.resources
        for node in (cluster, resources):
            OmegaConf.set_readonly(node, False)
        config.hydra.launcher.partition = None
        cluster.partition = place.partition
        resources.gpus, resources.nodes = place.gpus, place.nodes
        resources.gpus_per_node = place.gpus_per_node


def override_key(override: str) -> str:
    """Return the key that an override is about."""
    return override.lstrip("+~").partition("=")[0]


def settings_of(config: DictConfig) -> StudyLauncherConf:
    """Return the launcher's settings of a composed config.

    Raises:
        ConfigError: they are not of a launcher of ours, or contradict each other.
    """
    settings = OmegaConf.to_object(config.hydra.launcher)
    if not isinstance(settings, StudyLauncherConf):
        raise ConfigError("`hydra.launcher` is not one of ours: hydra/launcher=slurm|local|debug")
    settings = folded(settings)
    settings.cluster = placed(settings.cluster)
    shape = shape_of(settings.resources, settings.cluster)
    halves.check(settings, shape)
    halves.check_trainer(lambda key: _value(config, key), settings.config_keys, shape)
    recovery.check(settings.recovery)
    recovery.check_keys(settings.recovery, lambda key: _has(config, key))
    return settings


def _has(config: DictConfig, key: str) -> bool:
    return _value(config, key, _ABSENT) is not _ABSENT


_ABSENT = object()


def _value(config: DictConfig, key: str, default: Any = None) -> Any:
    return OmegaConf.select(config, key, default=default, throw_on_resolution_failure=False)


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
