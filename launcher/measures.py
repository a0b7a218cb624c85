"""What earlier attempts took, read back: ranks merged into one measure of each attempt.

Each rank writes `<run>/attempts/<id>.use/<rank>.json` while it lives. So that others find it,
rank 0 leaves a pointer in the folder of the run's profile. The run folder is the truth: a pointer
that leads nowhere is passed over.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from launcher import files, store
from launcher.errors import StoreError
from launcher.records import AttemptRecord, LoaderUse, Outcome, Phase, PhaseUse, Place, RankUse

T = TypeVar("T")
N = TypeVar("N", int, float)
MOST = 50
"""Measures of a profile that are read."""
FULL = 0.98
"""Of its limit: a job that held so much gave file pages back."""
HIDDEN = ".launcher"
"""Folder beside a program that does not say where profiles go."""
_USE = re.compile(r"\d+\.json")
_ATTEMPT = re.compile(r"\d+-\d+")


@dataclass(frozen=True)
class Measure:
    """One attempt of some run: what its ranks took."""

    ranks: list[RankUse]
    """Sorted by rank; at least one, and perhaps not all of them."""
    run_dir: Path
    attempt: str

    @property
    def _first(self) -> RankUse:
        return self.ranks[0]

    @property
    def place(self) -> Place:
        """Where it ran."""
        return self._first.place

    @property
    def is_on_gpu(self) -> bool:
        """Whether it computed on GPUs, pretended ones not counted."""
        return self._first.gpu_name is not None or self.place.accelerator == "gpu"

    @property
    def world_size(self) -> int:
        """Training processes in all, those included that never wrote anything."""
        return self._first.world_size

    @property
    def num_nodes(self) -> int:
        """Nodes."""
        return self._first.num_nodes

    @property
    def ranks_per_node(self) -> int:
        """Training processes on each node."""
        return self._first.ranks_per_node

    @property
    def cpus_per_rank(self) -> int:
        """CPU cores of each rank."""
        return self._first.cpus_per_rank

    @property
    def mem_gb(self) -> float | None:
        """Limit of the job on each node [GB]."""
        return self._first.mem_gb

    @property
    def gpu_name(self) -> str | None:
        """What the GPU calls itself; None on CPU."""
        return self._first.gpu_name

    @property
    def gpu_type(self) -> str | None:
        """Type of its GPUs as the site says it, else as the GPU calls itself."""
        return self.place.gpu_type or self.gpu_name

    @property
    def is_probe(self) -> bool:
        """Whether it only measured."""
        return self._first.is_probe

    @property
    def is_complete(self) -> bool:
        """Whether all ranks wrote what they took."""
        return len(self.ranks) == self.world_size

    @property
    def time(self) -> str:
        """When its ranks last wrote, ISO 8601."""
        return max(rank.time for rank in self.ranks)

    @cached_property
    def outcome(self) -> Outcome | None:
        """Why it ended; None while it lives, or where nobody concluded it.

        A verdict outranks the word of the ranks: one that is killed cannot say why.
        """
        try:
            verdict = store.verdict(self.run_dir, self.attempt)
        except StoreError:
            return None  # a damaged record of another room is no reason to lose the figures
        if verdict is not None:
            return verdict.outcome
        life = self._life
        return (life.outcome if life is not None else None) or self._first.outcome

    @cached_property
    def _life(self) -> AttemptRecord | None:
        """The attempt's own record, where it can be read."""
        try:
            return store.attempt(self.run_dir, self.attempt)
        except StoreError:
            return None

    @cached_property
    def missed_gb(self) -> float:
        """By how much the job on the first node once held more than at any look at it [GB].

        Looks fall between moments such as a step of the optimizer. The kernel notes the highest
        one, but with file pages: of a job that they filled to its limit it tells nothing.
        """
        seen = _most(self._first.phases, lambda use: use.node_with_cache_gb)
        peak_gb = self._life.mem_peak_gb if self._life is not None else None
        if seen is None or peak_gb is None:
            return 0.0
        is_full = self.mem_gb is not None and peak_gb >= FULL * self.mem_gb
        return 0.0 if is_full else max(peak_gb - seen, 0.0)

    @property
    def timed_steps(self) -> int:
        """Optimizer steps behind `step_s`, `data_wait_share` and `samples_per_s`."""
        return min(rank.timed_steps for rank in self.ranks)

    @property
    def step_s(self) -> float | None:
        """Mean time of an optimizer step [s], of the slowest rank."""
        return _most(self.ranks, lambda rank: rank.step_s)

    @property
    def samples_per_s(self) -> float | None:
        """Samples per second of all ranks together, as the slowest rank counts them."""
        known = [rank.samples_per_s for rank in self.ranks if rank.samples_per_s is not None]
        return min(known, default=None)

    @property
    def data_wait_share(self) -> float | None:
        """Part of a step in which the rank waited for its loader that waited longest."""
        return _most(self.ranks, lambda rank: rank.data_wait_share)

    @property
    def gpu_utilization(self) -> float | None:
        """Mean over the ranks, from 0 to 1."""
        return _mean(self.ranks, lambda rank: rank.gpu_utilization)

    @property
    def gpu_power_w(self) -> float | None:
        """Mean power of a GPU [W], over the ranks."""
        return _mean(self.ranks, lambda rank: rank.gpu_power_w)

    @property
    def total_steps(self) -> int | None:
        """Optimizer steps of the whole training."""
        return self._first.total_steps

    @property
    def batch_size(self) -> int | None:
        """Samples of an optimizer step over all ranks."""
        return self._first.batch_size

    @property
    def micro_batch_size(self) -> int | None:
        """Samples that a rank holds at once."""
        return _most(self.ranks, lambda rank: rank.micro_batch_size)

    @property
    def overlaps(self) -> bool | None:
        """Whether workers for training lived on while it validated."""
        known = [rank.overlaps for rank in self.ranks if rank.overlaps is not None]
        return any(known) if known else None

    @property
    def validation_s(self) -> float | None:
        """Mean time of a validation [s]."""
        return _most(self.ranks, lambda rank: rank.validation_s)

    @property
    def validation_batches(self) -> float | None:
        """Mean number of batches that each rank took in a validation."""
        return _most(self.ranks, lambda rank: rank.validation_batches)

    @property
    def checkpoint_s(self) -> float | None:
        """Time that a resume checkpoint took until it was on disk [s]."""
        return _most(self.ranks, lambda rank: rank.checkpoint_s)

    @property
    def start_s(self) -> float | None:
        """From the start of the process to the first optimizer step [s]."""
        return _most(self.ranks, lambda rank: rank.start_s)

    @property
    def hosts(self) -> list[str]:
        """Nodes, in the order of their ranks."""
        return list(dict.fromkeys(rank.host for rank in self.ranks))

    @property
    def loaders(self) -> list[LoaderUse]:
        """Dataloaders of one rank; of all alike."""
        return self._first.loaders

    def loader(self, stage: str) -> LoaderUse | None:
        """Its first dataloader for `train` or `validate`."""
        return next((loader for loader in self.loaders if loader.stage == stage), None)

    def node_ranks(self, host: str) -> list[RankUse]:
        """Ranks on a node."""
        return [rank for rank in self.ranks if rank.host == host]

    def phases(self, phase: Phase) -> list[PhaseUse]:
        """What each rank that was in a phase took in it."""
        return [use for rank in self.ranks for use in rank.phases if use.phase == phase]

    def node_gb(self, phase: Phase | None = None) -> float | None:
        """Most memory of a node, of the fullest one, without file pages [GB]; None if unknown."""
        found = [use for rank in self.ranks for use in rank.phases if phase in (None, use.phase)]
        return _most(found, lambda use: use.node_gb)

    def processes_gb(self, phase: Phase | None = None) -> float | None:
        """Most that ranks and workers of a node held together [GB]; None if nobody looked.

        Less than `node_gb` by what the kernel and other processes of the job take.
        """
        sums = [
            sum(
                max(
                    (u.rank_gb + u.workers_gb for u in rank.phases if phase in (None, u.phase)),
                    default=0.0,
                )
                for rank in self.node_ranks(host)
            )
            for host in self.hosts
        ]
        return max(sums) or None

    def gpu_gb(self) -> float | None:
        """Most memory that torch allocated on a GPU [GB]."""
        found = [use for rank in self.ranks for use in rank.phases]
        return _most(found, lambda use: use.gpu_gb)


def _most(items: Sequence[T], figure: Callable[[T], N | None]) -> N | None:
    known = [value for item in items if (value := figure(item)) is not None]
    return max(known, default=None)


def _mean(items: Sequence[T], figure: Callable[[T], float | None]) -> float | None:
    known = [value for item in items if (value := figure(item)) is not None]
    return sum(known) / len(known) if known else None


def use_dir(run_dir: Path, attempt: str) -> Path:
    """Folder of what the ranks of an attempt took."""
    return run_dir / "attempts" / f"{attempt}.use"


def write_use(run_dir: Path, use: RankUse) -> None:
    """Write what a rank took so far; it survives the process, not the machine.

    Raises:
        StoreError: the disk refuses.
    """
    path = use_dir(run_dir, use.attempt) / f"{use.rank}.json"
    store.write_record(path, use, durable=False)


def remember(profile_dir: Path, run_dir: Path, key: str, attempt: str) -> None:
    """Let others that take the same find this attempt.

    Raises:
        StoreError: the disk refuses.
    """
    keep_out_of_git(profile_dir)
    pointer = {"run_dir": os.path.relpath(run_dir, profile_dir), "attempt": attempt}
    content = json.dumps(pointer).encode() + b"\n"
    files.write_bytes(profile_dir / f"{key}-{attempt}.json", content, durable=False)


def keep_out_of_git(folder: Path) -> None:
    """Before something is written below a project's own `.launcher`: it is no code.

    Raises:
        StoreError: the disk refuses.
    """
    for hidden in (parent for parent in folder.parents if parent.name == HIDDEN):
        if not (hidden / ".gitignore").exists():
            files.write_bytes(hidden / ".gitignore", b"*\n", durable=False)


def of_attempt(run_dir: Path, attempt: str) -> list[RankUse]:
    """What the ranks of an attempt took, sorted by rank; a damaged file counts as none."""
    folder = use_dir(run_dir, attempt)
    found = []
    for name in _names(folder):
        if not _USE.fullmatch(name):
            continue
        try:
            found.append(store.read_record(folder / name, RankUse))
        except StoreError:
            continue  # the figures of the other ranks stand without it
    return sorted(found, key=lambda use: use.rank)


def of_run(run_dir: Path) -> list[Measure]:
    """Measures of the attempts of a run, oldest first; those that wrote none are left out."""
    names = [name.removesuffix(".use") for name in _names(run_dir / "attempts")]
    attempts = sorted(name for name in names if _ATTEMPT.fullmatch(name))
    found = ((attempt, of_attempt(run_dir, attempt)) for attempt in attempts)
    return [Measure(ranks, run_dir, attempt) for attempt, ranks in found if ranks]


def remembered(profile_dir: Path) -> list[Measure]:
    """Attempts of runs of one profile, newest first, at most 50; empty where none was measured."""
    found: list[Measure] = []
    for pointer in _newest_first(profile_dir):
        measure = _follow(pointer)
        if measure is not None:
            found.append(measure)
        if len(found) == MOST:
            break
    return found


def _follow(pointer: Path) -> Measure | None:
    try:
        said = json.loads(pointer.read_bytes())
        run_dir, attempt = Path(said["run_dir"]), str(said["attempt"])
    except (OSError, ValueError, LookupError, TypeError):
        return None  # half a pointer, or somebody else's file
    if not _ATTEMPT.fullmatch(attempt):
        return None
    run_dir = Path(os.path.normpath(pointer.parent / run_dir))
    # A folder with a number for its name may have become that of another run.
    key = pointer.name.removesuffix(f"-{attempt}.json")
    ranks = [rank for rank in of_attempt(run_dir, attempt) if rank.key == key]
    return Measure(ranks, run_dir, attempt) if ranks else None


def _newest_first(folder: Path) -> Iterator[Path]:
    stamped = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".json") and not entry.name.startswith("."):
                    stamped.append((entry.stat().st_mtime_ns, entry.name))
    except OSError:
        return  # nothing was measured, or it was removed while we looked
    for _, name in sorted(stamped, reverse=True):
        yield folder / name


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are all that is wanted
    except OSError:
        return []
