"""The thread that looks at the memory of its rank, and writes down what it saw.

It holds Python's lock only between system calls, for well under a millisecond at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from launcher import files, measures
from launcher.context import RunContext
from launcher.errors import StoreError
from launcher.records import Phase, Place, RankUse
from launcher.telemetry import processes
from launcher.telemetry.allowance import Allowance, Pace
from launcher.telemetry.cgroup import JobCgroup
from launcher.telemetry.peaks import Peaks
from launcher.telemetry.rhythm import Rhythm
from launcher.world import node_name

log = logging.getLogger("launcher.telemetry")

NODE_EVERY_S = 0.2
"""Time between two looks at the job's cgroup [s]."""
OFTEN_S = 1.0
"""Time between two cheap looks: at the GPU, and whether processes grew [s]."""
EXPENSIVE_S = 0.05
"""CPU time of a look at all processes from which on only some of the workers are looked at [s]."""
FREE_LOOKS = 2
"""First looks at the processes in each phase, and at more workers than it had before, which are
taken whatever they cost."""
WRITE_EVERY_S = 10.0
WRITES_PER_S = 10.0
"""Of all ranks of a job together; large ones write less often."""
SOON_S = 1.0
"""Memory that grew is written after so long: the next moment may kill us [s]."""
AT_ONCE_S = 0.1
"""A phase that was never there before likewise: workers that start may end it within a second."""
NOTED_WITHIN_S = 1.0
"""How long rank 0 waits until such a phase is on disk, so that a kill in it is known as one [s]."""
GREW = 1.1
"""Factor by which memory has to grow for that."""
REST_S = 0.05
"""A change of phase wakes the thread no more often than this [s]."""
JOIN_WITHIN_S = 10.0
"""How long the end of a task may wait for a file system [s]."""

Facts = Callable[[], dict[str, Any]]
"""Fields of RankUse that the task's side knows; called from the thread."""
GpuLook = Callable[[], tuple[float, float]]
"""Allocated and reserved memory of the GPU [GB]; called from the thread."""


def write_every_s(world_size: int) -> float:
    """Time between two writes of a rank [s]."""
    return max(WRITE_EVERY_S, world_size / WRITES_PER_S)


class Sampler:
    """Measures one rank from `start` to `finish`."""

    def __init__(self, context: RunContext) -> None:
        now_s = time.monotonic()
        self._context = context
        self._entered: deque[tuple[Phase, float]] = deque()
        self._met: set[Phase] = {"start"}
        self._noted = threading.Event()
        self._peaks = Peaks(now_s - (time.time() - context.began_s))
        self._allowance = Allowance(now_s)
        self._cgroup = JobCgroup.find() if context.local_rank == 0 else None
        self._facts: dict[str, Any] = {}
        self._ask: Facts | None = None
        self._look_at_gpu: GpuLook | None = None
        self._paces = {what: Pace() for what in ("node", "gpu", "growth")}
        self._due_s = {"node": now_s, "gpu": now_s, "growth": now_s, "write": now_s + SOON_S}
        self._rhythm = Rhythm(now_s)
        self._cheap_s = self._family_costs_s = 0.0
        self._each_s = 0.0
        """What a look at one process costs."""
        self._workers: list[int] = []
        self._written_gb = 0.0
        self._wake = threading.Event()
        self._is_finished = False
        self._has_complained = False
        self._thread = threading.Thread(target=self._run, name="launcher-telemetry", daemon=True)

    # ---- called by the task's threads -------------------------------------------------------

    def start(self) -> None:
        """Look from now on; rank 0 leaves a pointer for runs that take the same."""
        self._thread.start()

    def enter(self, phase: Phase) -> None:
        """The rank begins a phase; rank 0 goes on once a phase that is new is written down."""
        is_new = phase not in self._met
        self._met.add(phase)
        self._noted.clear()
        self._entered.append((phase, time.monotonic()))
        self._wake.set()
        if is_new and self._context.rank == 0 and self._thread.is_alive():
            self._noted.wait(NOTED_WITHIN_S)

    def note(self, facts: dict[str, Any]) -> None:
        """Keep fields of the record."""
        self._facts |= facts

    def ask(self, facts: Facts | None, gpu: GpuLook | None) -> None:
        """Who knows more about the rank than the kernel; None when it no longer does."""
        if facts is None and self._ask is not None:
            self._facts |= self._ask()
        self._ask, self._look_at_gpu = facts, gpu

    def finish(self) -> None:
        """Look and write once more, and stop."""
        self._is_finished = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_WITHIN_S)

    @property
    def spent_s(self) -> float:
        """CPU time that looking took so far, without writing [s]."""
        return self._cheap_s + self._allowance.spent_s

    # ---- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._remember()
            while not self._is_finished:
                due_s = min(self._rhythm.due_s, *self._due_s.values())
                self._wake.wait(max(due_s - time.monotonic(), 0.0))
                self._wake.clear()
                self._look(time.monotonic())
                time.sleep(REST_S)
            self._take_phases()
            self._write()
        except Exception as error:
            # What only measures must not end a training that does well.
            log.exception("what this rank takes is not measured any more: %s", error)

    def _remember(self) -> None:
        context = self._context
        if context.rank or context.profile_dir is None:
            return
        try:
            measures.remember(context.profile_dir, context.run_dir, context.key, context.attempt)
        except StoreError as error:
            self._complain(f"later runs will not find what this one takes: {error.message}")

    def _look(self, now_s: float) -> None:
        self._take_phases()
        workers = processes.worker_pids()
        if workers != self._workers:
            self._workers = workers
            self._rhythm.restart(now_s)
        self._take("node", self._look_at_node, now_s)
        self._take("gpu", self._look_at_card, now_s)
        self._take("growth", self._look_at_growth, now_s)
        self._take_family(now_s)
        if self._peaks.highest_gb() > GREW * self._written_gb:
            self._write_soon(now_s)
        if now_s >= self._due_s["write"]:
            self._due_s["write"] = now_s + write_every_s(self._context.world_size)
            self._write()

    def _take_phases(self) -> None:
        while self._entered:
            phase, entered_s = self._entered.popleft()
            changes = self._peaks.changes
            if self._peaks.enter(phase, entered_s):
                self._write_soon(entered_s, AT_ONCE_S if self._context.rank else 0.0)
            if self._peaks.changes != changes:
                self._due_s["node"] = self._due_s["gpu"] = entered_s
                self._rhythm.restart(entered_s)

    def _write_soon(self, now_s: float, pause_s: float = SOON_S) -> None:
        """Not all ranks in the same moment."""
        pause_s += self._context.rank / (5 * WRITES_PER_S)
        self._due_s["write"] = min(self._due_s["write"], now_s + pause_s)

    def _take(self, what: str, look: Callable[[], float], now_s: float) -> None:
        """Look if it is time; `look` returns the pause until the next, longer if it is slow."""
        if now_s >= self._due_s[what]:
            began_s = time.thread_time()
            pause_s = look()
            cost_s = time.thread_time() - began_s
            self._cheap_s += cost_s
            self._due_s[what] = now_s + self._paces[what].pause_s(pause_s, cost_s)

    def _take_family(self, now_s: float) -> None:
        if now_s < self._rhythm.due_s:
            return
        is_free = self._peaks.looks(len(self._workers)) < FREE_LOOKS
        if not self._allowance.can(self._family_costs_s, now_s) and not is_free:
            self._rhythm.due_s = now_s + OFTEN_S
            return
        workers = self._workers
        is_expensive = self._each_s * (1 + len(workers)) > EXPENSIVE_S
        sample = processes.sample(workers) if is_expensive else workers
        began_s = time.thread_time()
        self._peaks.see_family(processes.look(workers, sample))
        self._family_costs_s = time.thread_time() - began_s
        self._each_s = self._family_costs_s / (1 + len(sample))
        self._allowance.spend(self._family_costs_s)
        self._rhythm.due_s = now_s + self._rhythm.looked()

    def _look_at_node(self) -> float:
        held = self._cgroup.look() if self._cgroup is not None else None
        if held is not None:
            self._peaks.see_node(held)
        return NODE_EVERY_S if self._cgroup is not None else OFTEN_S

    def _look_at_growth(self) -> float:
        self._rhythm.see(processes.unfiled(self._workers), time.monotonic())
        return OFTEN_S

    def _look_at_card(self) -> float:
        look = self._look_at_gpu
        if look is not None:
            self._peaks.see_gpu(*look())
        return OFTEN_S

    # ---- what is written --------------------------------------------------------------------

    def _write(self) -> None:
        self._written_gb = self._peaks.highest_gb()
        try:
            measures.write_use(self._context.run_dir, self._record())
        except StoreError as error:
            # A full disk ends the task where it needs the disk, not where it is only measured.
            self._complain(f"what this rank takes cannot be written: {error.message}")
        if not self._entered:
            self._noted.set()

    def _record(self) -> RankUse:
        context = self._context
        asked = self._ask
        facts = {**self._facts, **(asked() if asked is not None else {})}
        limit_gb = self._cgroup.limit_gb() if self._cgroup is not None else None
        return RankUse(
            attempt=context.attempt,
            key=context.key,
            rank=context.rank,
            local_rank=context.local_rank,
            host=node_name(),
            world_size=context.world_size,
            num_nodes=context.num_nodes,
            ranks_per_node=context.ranks_per_node,
            cpus_per_rank=context.cpus_per_rank,
            mem_gb=context.mem_gb if context.mem_gb is not None else limit_gb,
            place=context.place or Place(),
            time=files.now(),
            phases=self._peaks.phases(time.monotonic()),
            is_probe=context.probe is not None,
            **facts,
        )

    def _complain(self, text: str) -> None:
        if not self._has_complained:
            self._has_complained = True
            log.warning("%s", text)
