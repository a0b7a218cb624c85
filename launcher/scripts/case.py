"""A script beside the node that it asks for: what the rules look at. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from launcher.scripts.asked import Asked, asked_by, number
from launcher.scripts.launches import Argument, Launch
from launcher.scripts.reading import Script
from launcher.settings import ClusterConfig
from launcher.sites.dialect import Dialect

_DEVICES = ("devices", "num_devices")
_NODES = ("num_nodes", "nnodes", "num_machines")
GPU_OPTIONS = ("gres", "gpus-per-node", "gpus", "gpus-per-task", "ntasks-per-gpu")
"""Options that say how many GPUs there are."""
_STEP_OPTIONS = {"nodes", "ntasks", "ntasks-per-node", "cpus-per-task", "cpus-per-gpu", "mem"}
_STEP_OPTIONS |= {"gpus-per-socket", *GPU_OPTIONS}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one process was seen to take."""

    rank_gb: float
    """Host memory of a rank without its workers [GB]."""
    worker_gb: float
    """Memory that one dataloader worker has for itself [GB]."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One launch, with what its step gets of the job."""

    launch: Launch
    step: Asked
    own: dict[str, str]
    """Options that srun says itself."""

    def said(self, *names: str) -> str:
        """The first of these options that srun says itself, as it is written; else empty."""
        found = (one for name in names for one in self.launch.options if one.name == name)
        return next((f"srun {one.written}" for one in found), "")

    @property
    def is_spread(self) -> bool:
        """Whether each task of the step runs it."""
        return self.launch.starter != "batch"

    @property
    def ranks_per_node(self) -> int | None:
        """Training processes on a node, where the script settles it."""
        if self.launch.spawner == "torchrun":
            each = self.spawned("nproc_per_node")
            tasks = self.step.tasks_per_node if self.is_spread else 1
            return None if each is None or tasks is None else each * tasks
        if self.launch.spawner != "none":
            return None
        return self.step.tasks_per_node if self.is_spread else self.devices

    @property
    def devices(self) -> int | None:
        """Devices per node that the Trainer is told to use."""
        found = self.devices_argument
        return None if found is None else _devices(found.value)

    @property
    def devices_argument(self) -> Argument | None:
        """The argument that says so."""
        return self._trainers(*_DEVICES) or self._trainers("gpus", "gpus_per_node")

    @property
    def num_nodes(self) -> int | None:
        """Nodes that the Trainer is told of."""
        found = self.num_nodes_argument
        return None if found is None else number(found.value)

    @property
    def num_nodes_argument(self) -> Argument | None:
        """The argument that says so."""
        return self._trainers(*_NODES)

    def _trainers(self, *names: str) -> Argument | None:
        found = [
            one
            for one in self.launch.arguments
            if one.name in names and one.key.split(".")[0] not in ("resources", "hydra", "cluster")
        ]
        return found[-1] if found else None

    def spawned(self, name: str) -> int | None:
        """A number among the options of torchrun."""
        found = [one for one in self.launch.spawner_arguments if one.name == name]
        return number(found[-1].value) if found else None

    @property
    def workers_argument(self) -> Argument | None:
        """The argument that says how many dataloader workers a rank has."""
        return self.launch.argument("num_workers", "n_workers", "workers")

    @property
    def workers(self) -> int | None:
        """Dataloader workers of each rank while it trains."""
        found = self.workers_argument
        return None if found is None else number(found.value)

    @property
    def val_workers(self) -> int | None:
        """Those of its validation loader."""
        found = self.launch.argument("val_num_workers", "num_val_workers", "val_workers")
        return self.workers if found is None else number(found.value)

    @property
    def has_persistent_workers(self) -> bool:
        """Whether workers of the training loader live on while it validates."""
        found = self.launch.argument("persistent_workers")
        return found is not None and found.value.lower() in ("true", "1", "yes")

    @property
    def strategy(self) -> str:
        """Lightning's strategy; empty where nobody says one."""
        found = self.launch.argument("strategy")
        return "" if found is None else found.value.lower()

    @property
    def accelerator(self) -> str:
        """Lightning's accelerator; empty where nobody says one."""
        found = self.launch.argument("accelerator")
        return "" if found is None else found.value.lower()


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a rule may look at."""

    script: Script
    runs: tuple[Run, ...]
    node: ClusterConfig | None
    """The profile of the partition that the script names; None where no profile is given."""
    cluster: ClusterConfig | None
    measured: Measured | None

    @property
    def asked(self) -> Asked:
        """What the job asks for."""
        return self.script.asked

    def has(self, *names: str) -> bool:
        """Whether one of these directives is there."""
        return any(self.script.directives.get(name) is not None for name in names)

    def said(self, run: Run, *names: str) -> str:
        """The first of these options as srun or a directive says it."""
        return run.said(*names) or self.script.directives.written(*names)

    def line(self, run: Run, *names: str) -> int:
        """Where that is said, else the line of the command."""
        if run.said(*names):
            return run.launch.line
        return self.script.directives.line(*names) or run.launch.line

    def gpu_option(self, count: int, gpu_type: str = "") -> str:
        """The option that asks for GPUs of each node, in the words of the site."""
        words = self.cluster.dialect.gpus if self.cluster else None
        return Dialect(gpus=words).gpu_option(gpu_type, count)

    def takes_all_gpus(self) -> bool:
        """Whether nobody else can use a GPU of the nodes; False where their size is unknown."""
        all_gpus = self.node.gpus_per_node if self.node else None
        return bool(all_gpus) and self.asked.gpus_per_node == all_gpus

    def node_gb(self) -> float | None:
        """Memory of a node [GB], where it is known."""
        return self.node.mem_gb_per_node if self.node else None


def runs_of(script: Script) -> Iterator[Run]:
    """Each training, with its step: what srun does not say itself is the job's."""
    job = {one.name: one.value for one in script.directives.listed}
    for launch in script.launches:
        own = {one.name: one.value for one in launch.options if not one.problem}
        step = {name: value for name, value in own.items() if name in _STEP_OPTIONS}
        merged = {**{key: job[key] for key in job if key in _STEP_OPTIONS}, **step}
        replaced = {"ntasks-per-node"} if "ntasks" in step else set()
        replaced |= set(GPU_OPTIONS) if set(GPU_OPTIONS) & set(step) else set()
        merged = {name: value for name, value in merged.items() if name not in replaced - set(step)}
        yield Run(launch=launch, step=_tasks(asked_by(merged), script, launch), own=own)


def _tasks(step: Asked, script: Script, launch: Launch) -> Asked:
    nodes = step.nodes or script.asked.nodes
    if launch.mpi_tasks is not None and nodes:
        per_node = -(-launch.mpi_tasks // nodes)
        return Asked(**{**step.__dict__, "ntasks": launch.mpi_tasks, "tasks_per_node": per_node})
    return step


def _devices(text: str) -> int | None:
    """Devices in `4`, `[0,1]` or `0,1`; None for `auto` and `-1`, which take all."""
    listed = text.strip().strip("[]")
    if re.fullmatch(r"\d+(,\s*\d+)+,?", listed):
        return len([part for part in listed.split(",") if part.strip()])
    return 1 if text.strip().startswith("[") and listed.isdigit() else number(text)
