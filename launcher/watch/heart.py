"""The thread that gives signs of life, and hears the alarm of other ranks.

It alone touches the shared file system in normal times: where that hangs, this thread hangs.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque

from launcher import beats, stopping
from launcher.beats import Alarm, Beat
from launcher.context import RunContext
from launcher.errors import StoreError
from launcher.memory import oom_kills
from launcher.settings import RecoveryConfig
from launcher.watch import process
from launcher.watch.movement import Movement
from launcher.watch.pace import Mark
from launcher.world import node_name

log = logging.getLogger("launcher.watch")

JOIN_WITHIN_S = 10.0
"""How long the end of a task may wait for a file system [s]."""
CALL_AFTER = 0.8
"""Part of the time for the rendezvous after which rank 0 is called: all may have come by then."""


def interval_s(world_size: int, recovery: RecoveryConfig) -> float:
    """Time between two beats [s]: 20 writes per second of a job, and six within each deadline."""
    deadline_s = min(recovery.rendezvous_timeout_s, recovery.hang_min_s)
    return max(0.2, min(max(5.0, world_size / 20), deadline_s / 6))


class Heart:
    """Writes the beats of one rank."""

    def __init__(self, context: RunContext, marks: deque[Mark], movement: Movement) -> None:
        recovery = context.recovery or RecoveryConfig()
        self.interval_s = interval_s(context.world_size, recovery)
        self.joining_s: float | None = None
        """Since when this rank waits in the rendezvous; the watcher says so."""
        self.must_find_all = context.world_size > 1
        """Whether ranks that give no sign of life are looked for; until the ranks have met."""
        self.unseen: set[int] = set()
        """Ranks that gave no sign of life within the time for the rendezvous."""
        self.heard: Alarm | None = None
        """Alarm of another rank."""
        self._context = context
        self._marks = marks
        self._movement = movement
        self._timeout_s = recovery.rendezvous_timeout_s
        self._look_for_all_s = time.monotonic() + self._timeout_s
        self._connection: str | None = None
        self._phase = ("", "")
        self._wake = threading.Event()
        self._is_finished = False
        self._has_complained = False
        self._thread = threading.Thread(target=self._run, name="launcher-beats", daemon=True)

    def start(self) -> None:
        """Beat from now on."""
        self._thread.start()

    def hurry(self) -> None:
        """Beat soon, because something changed that others wait for."""
        self._wake.set()

    def finish(self) -> None:
        """The last beat says that this rank left."""
        self._is_finished = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_WITHIN_S)
        self.beat(beats.LEFT)

    def _run(self) -> None:
        while True:
            self._wake.wait(self.interval_s)
            self._wake.clear()
            if self._is_finished:
                return
            self._call_rank_0()
            self.beat()
            self.heard = beats.find_alarm(self._context.run_dir, self._context.attempt)
            if self.must_find_all and time.monotonic() > self._look_for_all_s:
                self._find_all()

    def _call_rank_0(self) -> None:
        """Find out, once and late in a rendezvous, whether rank 0 can be reached from here."""
        joining_s, address = self.joining_s, os.environ.get("MASTER_ADDR")
        if self._context.rank == 0 or joining_s is None or not address or self._connection:
            return
        if time.monotonic() - joining_s > CALL_AFTER * self._timeout_s:
            port = os.environ.get("MASTER_PORT", "0")
            result = process.connect(address, int(port))
            self._connection = f"{address}:{port} {result}"

    def _find_all(self) -> None:
        seen = beats.ranks(self._context.run_dir, self._context.attempt)
        self.unseen = set(range(self._context.world_size)) - seen
        self.must_find_all = bool(self.unseen)

    def beat(self, phase: str | None = None) -> None:
        """Write one beat, in the phase that the marks say unless another is given."""
        context = self._context
        shown = phase or self._shown_phase()
        if shown != self._phase[0]:
            self._phase = (shown, beats.now())
        request = stopping.requested()
        beat = Beat(
            rank=context.rank,
            host=node_name(),
            pid=os.getpid(),
            interval_s=self.interval_s,
            time=beats.now(),
            phase=shown,
            since=self._phase[1],
            step=self._marks[-1][1],
            at="" if phase else process.place(),
            busy=self._movement.share,
            connection=self._connection,
            oom_kills=oom_kills() if context.local_rank == 0 else None,
            signal=request.signal if request else None,
        )
        try:
            beats.write(context.run_dir, context.attempt, beat)
        except StoreError as error:
            # A full disk ends the task where it needs the disk, not where it is only watched.
            self._complain(f"no sign of life can be written: {error.message}")

    def _shown_phase(self) -> str:
        phase = self._marks[-1][0]
        if phase in ("starting", "rendezvous"):
            return "starting" if self.joining_s is None else "rendezvous"
        return phase

    def _complain(self, text: str) -> None:
        if not self._has_complained:
            self._has_complained = True
            log.warning("%s", text)
