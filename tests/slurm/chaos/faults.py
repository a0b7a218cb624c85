"""The catalogue of faults: how each is done, and what has to come of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tests.slurm import LabOptions

from . import inject
from .launchers import PERIOD_STEPS, Shape
from .trial import Trial

End = Literal["completes", "cancelled", "stops"]

BASE = LabOptions()
NO_GRACE = LabOptions(grace_time_s=0)
SIGNAL = LabOptions(preempt_user_signal=True)
SIGNAL_NO_GRACE = LabOptions(preempt_user_signal=True, grace_time_s=0)

_SHAPE = Shape(ranks=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Fault:
    """What goes wrong, once the run is on its way."""

    name: str
    about: str
    do: Callable[[Trial], None]
    outcomes: frozenset[str]
    """Names that our launcher may give to the lives that it ended; empty if it ends none."""

    end: End = "completes"
    most_lost: int = PERIOD_STEPS
    """Steps that may have to be done again, for each life that the fault ended."""

    lab: LabOptions = BASE
    is_alone: bool = False
    """It disturbs the whole cluster, so no other case may run there meanwhile."""

    is_bound: bool = True
    """Whether the run is bound to nodes of its own; one that needs another node is not."""

    tags: tuple[str, ...] = ("a",)
    overrides: tuple[str, ...] = ()
    """Of the project; they must not change the training."""

    science: tuple[str, ...] = ()
    """Of the project, and they do: the undisturbed run has them too."""

    ours: tuple[str, ...] = ()
    """Settings of our launcher."""

    shape: Shape = _SHAPE
    """What the run asks for; ranks and nodes are those of the case."""

    mem_mb: dict[int, int] = field(default_factory=dict)
    """By ranks: memory of each node."""

    timeout_s: float = 150.0
    """From the fault to the end."""

    cannot_happen: dict[int, str] = field(default_factory=dict)
    """By ranks: why it cannot happen to so many."""

    in_third: frozenset[int] = frozenset()
    """Rank counts with which it runs by default."""


def _steps_take(ms: int) -> tuple[str, ...]:
    return (f"step_ms={ms}",)


_OOM_MB = {1: 900, 4: 1400}
"""Memory of each node in the cases that run out of it.

A rank needs about 490 MB, its dataloader workers 40 MB each, the fault 600 MB; the next rung of
the ladder, 1.5 times as much, is enough.
"""

_HANGS = (
    "hydra.launcher.recovery.rendezvous_timeout_s=25",
    "hydra.launcher.recovery.hang_min_s=10",
)

_PREEMPTED = frozenset({"preempted"})

FAULTS = (
    Fault(
        name="walltime",
        about="the time limit of 1 min, several times",
        do=inject.wait_for_the_limit,
        outcomes=frozenset({"walltime"}),
        most_lost=0,
        overrides=_steps_take(850),
        shape=Shape(ranks=1, timeout_min=1, lead_s=5),
        timeout_s=400,
    ),
    Fault(
        name="preempt-grace",
        about="a job of a higher tier takes the node; SIGTERM, 10 s of grace",
        do=inject.preempt,
        outcomes=_PREEMPTED,
        most_lost=0,
        shape=Shape(ranks=1, partition="preempt"),
        in_third=frozenset({4}),
    ),
    Fault(
        name="preempt-no-grace",
        about="a job of a higher tier takes the node; no grace",
        do=inject.preempt,
        outcomes=_PREEMPTED,
        lab=NO_GRACE,
        shape=Shape(ranks=1, partition="preempt"),
    ),
    Fault(
        name="preempt-signal-grace",
        about="a job of a higher tier takes the node; USR2, 10 s of grace",
        do=inject.preempt,
        outcomes=_PREEMPTED,
        most_lost=0,
        lab=SIGNAL,
        shape=Shape(ranks=1, partition="preempt"),
    ),
    Fault(
        name="preempt-signal-no-grace",
        about="a job of a higher tier takes the node; USR2, no grace",
        do=inject.preempt,
        outcomes=_PREEMPTED,
        lab=SIGNAL_NO_GRACE,
        shape=Shape(ranks=1, partition="preempt"),
    ),
    Fault(
        name="node-down",
        about="a node loses its power",
        do=inject.cut_power,
        outcomes=frozenset({"node_failure"}),
        is_alone=True,
        is_bound=False,
        in_third=frozenset({4}),
    ),
    Fault(
        name="slurmd-killed",
        about="slurmd of a node dies, its jobs live on; SLURM gives the node up",
        do=inject.kill_slurmd,
        outcomes=frozenset({"node_failure"}),
        is_alone=True,
        is_bound=False,
        # So slow that the run has not ended by itself when SLURM gives the node up.
        overrides=_steps_take(1200),
    ),
    Fault(
        name="slurmd-restarted",
        about="slurmd of a node dies and comes back before SLURM gives the node up",
        do=inject.restart_slurmd,
        outcomes=frozenset(),
        most_lost=0,
        is_alone=True,
        overrides=_steps_take(300),
    ),
    Fault(
        name="scancel",
        about="somebody cancels the job with scancel",
        do=inject.scancel,
        outcomes=frozenset({"cancelled"}),
        end="cancelled",
        timeout_s=60,
        in_third=frozenset({1}),
    ),
    Fault(
        name="oom-rank",
        about="a rank takes more memory than the job has",
        do=inject.wait_for_step_15,
        outcomes=frozenset({"host_oom"}),
        overrides=("fault=memory_rank", "fault.mb=600"),
        mem_mb=_OOM_MB,
        in_third=frozenset({1}),
    ),
    Fault(
        name="oom-worker",
        about="dataloader workers take more memory than the job has when validation starts",
        do=inject.wait_for_step_15,
        outcomes=frozenset({"host_oom"}),
        science=("data.num_workers=1",),
        overrides=("fault=memory_worker", "fault.mb=600"),
        mem_mb=_OOM_MB,
    ),
    Fault(
        name="kill-one",
        about="kill -9 of the last rank",
        do=inject.kill_one,
        outcomes=frozenset({"crash"}),
        in_third=frozenset({1}),
    ),
    Fault(
        name="kill-all",
        about="kill -9 of all ranks",
        do=inject.kill_all,
        outcomes=frozenset({"crash"}),
    ),
    Fault(
        name="hang-before",
        about="the last rank never comes to the rendezvous",
        do=inject.wait_for_start,
        outcomes=frozenset({"rendezvous"}),
        cannot_happen={1: "one rank has no rendezvous: it waits for nobody"},
        most_lost=0,
        is_bound=False,
        is_alone=True,
        overrides=("fault=hang_before",),
        ours=_HANGS,
        timeout_s=180,
    ),
    Fault(
        name="hang-after",
        about="the last rank locks itself up in C code after step 15",
        do=inject.wait_for_step_15,
        outcomes=frozenset({"hang"}),
        is_bound=False,
        is_alone=True,
        overrides=("fault=hang_after",),
        ours=_HANGS,
        timeout_s=180,
        in_third=frozenset({1}),
    ),
    Fault(
        name="slurmctld-restarted",
        about="slurmctld dies and comes back after 3 s",
        do=inject.restart_slurmctld,
        outcomes=frozenset(),
        most_lost=0,
        is_alone=True,
        overrides=_steps_take(300),
    ),
    Fault(
        name="accounting-down",
        about="slurmdbd dies, then kill -9 of the last rank",
        do=inject.kill_one_without_accounting,
        outcomes=frozenset({"crash"}),
        is_alone=True,
    ),
    Fault(
        name="disk-full",
        about="no room for the second checkpoint",
        do=inject.fill_disk,
        outcomes=frozenset({"disk_full"}),
        end="stops",
        overrides=(
            "model.hidden=320",
            "+hydra.launcher.additional_parameters.hold=true",
        ),
        timeout_s=90,
    ),
    Fault(
        name="ckpt-truncated",
        about="the newest checkpoint is cut short between two lives",
        do=inject.truncate_checkpoint,
        outcomes=_PREEMPTED,
        in_third=frozenset({1}),
    ),
    Fault(
        name="ckpt-bit-flipped",
        about="one bit of the newest checkpoint flips between two lives",
        do=inject.flip_bit_of_checkpoint,
        outcomes=_PREEMPTED,
    ),
    Fault(
        name="requeue-storm",
        about="scontrol requeue, 10 times in a row",
        do=inject.storm,
        outcomes=_PREEMPTED,
        most_lost=0,
        overrides=_steps_take(500),
        timeout_s=200,
    ),
    Fault(
        name="array-element",
        about="kill -9 of the last rank of one array element; the other element goes on",
        do=inject.kill_one,
        outcomes=frozenset({"crash"}),
        tags=("a", "b"),
    ),
)
BY_NAME = {fault.name: fault for fault in FAULTS}
