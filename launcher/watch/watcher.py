"""The thread that looks at its own rank, and ends it when the attempt cannot go on.

It touches no file before something is wrong, so it goes on where a shared file system hangs.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from launcher import beats, files, stopping
from launcher.beats import Alarm
from launcher.context import RunContext
from launcher.errors import StoreError
from launcher.records import Outcome
from launcher.settings import RecoveryConfig
from launcher.watch import deadlines, diagnosis, ending, process
from launcher.watch.diagnosis import Finding, Roll
from launcher.watch.fuse import Fuse
from launcher.watch.heart import JOIN_WITHIN_S, Heart
from launcher.watch.movement import Movement
from launcher.watch.pace import Mark, Pace
from launcher.world import World, node_name

log = logging.getLogger("launcher.watch")

LOOK_S = 1.0
"""Time between two looks at this rank [s]."""
LATE_S = 10.0
"""A look that comes so late was not possible before: the process was stopped, or Python locked.
What it missed is no silence."""
FUSE_S = 5.0
"""How long after the deadline the fuse goes off, where Python did not get to act [s]."""
PATIENCE = 4.0
"""While a rank is seen to work, silence may last so much longer before it is a hang."""


def started_tasks(world: World) -> int:
    """Ranks that were really started; SLURM's word on the step outranks that on the job."""
    step = os.environ.get("SLURM_STEP_NUM_TASKS") if world.scheduler == "slurm" else None
    return int(step) if step else world.world_size


class Watcher:
    """Watches one rank from `begin` to `finish`."""

    def __init__(self, context: RunContext, marks: deque[Mark]) -> None:
        self._context = context
        self._marks = marks
        self._world = World.of_this_process()
        self._recovery = context.recovery or RecoveryConfig()
        self._pace = Pace()
        self._movement = Movement()
        self._heart = Heart(context, marks, self._movement)
        self._fuse = Fuse(beats.stacks_path(context.run_dir, context.attempt, context.rank))
        self._started_s = self._looked_s = self._awake_s = time.monotonic()
        self._has_joined = context.world_size == 1
        self._roll_seen: tuple[Roll, float] | None = None
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name="launcher-watch", daemon=True)

    def begin(self) -> None:
        """Give the first sign of life, check what can be checked at once, start the threads."""
        self._heart.beat()
        if (finding := self._at_once()) is not None:
            self._end("rendezvous", finding)
        self._heart.start()
        self._thread.start()

    def finish(self) -> None:
        """Stop watching."""
        self._finished.set()
        self._thread.join(JOIN_WITHIN_S)
        self._fuse.remove()
        self._heart.finish()

    def give_way(self) -> None:
        """Return at once if there is no alarm, else let the watch end this process."""
        alarm = beats.find_alarm(self._context.run_dir, self._context.attempt)
        if alarm is not None and self._thread.is_alive():
            self._heart.heard = alarm
            self._thread.join(ending.AT_LATEST_S)

    def _at_once(self) -> Finding | None:
        wanted = self._context.world_size
        if (started := started_tasks(self._world)) != wanted:
            return diagnosis.mismatch(started, wanted)
        host = os.environ.get("MASTER_ADDR")
        if wanted == 1 or not host:
            return None
        reason = process.resolve(host)
        return None if reason is None else diagnosis.unresolved(host, reason)

    def _run(self) -> None:
        try:
            while not self._finished.wait(LOOK_S):
                self._look(time.monotonic())
        except Exception as error:
            # A fault of the watch must not end a training that does well.
            self._fuse.disarm()
            log.exception("this rank is not watched any more: %s", error)

    def _look(self, now_s: float) -> None:
        marks = list(self._marks)
        self._pace.learn(marks)
        self._movement.see(marks[-1][2], process.position())
        if now_s - self._looked_s > LATE_S:
            self._awake_s = now_s
        self._looked_s = now_s
        if (alarm := self._heart.heard) is not None:
            self._act(alarm)
        self._look_at_stop(marks[-1], now_s)
        self._look_at_rendezvous(marks[-1], now_s)
        self._look_at_progress(marks[-1], now_s)

    def _look_at_stop(self, mark: Mark, now_s: float) -> None:
        phase, step, _ = mark
        ends_s = self._context.ends_s
        if ends_s is not None:
            ends_s += now_s - time.time()
            usual_s = self._pace.usual_s("training")
            lead_s = self._context.lead_s
            if now_s >= deadlines.time_request_s(self._started_s, ends_s, lead_s, usual_s):
                stopping.request("TIME")
        request = stopping.requested()
        if request is None:
            return
        grace_s = self._recovery.stop_grace_s
        deadline_s = deadlines.stop_deadline_s(request.received_s, phase, grace_s, ends_s)
        if deadline_s is None or now_s <= deadline_s:
            return
        if not self._is_saved_by_another(request.received_s, ends_s, now_s):
            waited_s = now_s - request.received_s
            at = process.place()
            self._end(None, diagnosis.overdue(request.signal, waited_s, phase, step, at))

    def _is_saved_by_another(self, received_s: float, ends_s: float | None, now_s: float) -> bool:
        """Whether another rank writes the checkpoint that this one waits for."""
        grace_s = self._recovery.stop_grace_s
        deadline_s = deadlines.stop_deadline_s(received_s, "saving", grace_s, ends_s)
        if deadline_s is not None and now_s > deadline_s:
            return False
        roll = self._recent_roll(now_s - received_s, now_s)
        return any(roll.beats[rank].phase == "saving" for rank in roll.alive)

    def _look_at_rendezvous(self, mark: Mark, now_s: float) -> None:
        if self._has_joined:
            return
        self._has_joined = process.has_joined()
        if self._has_joined:
            self._heart.joining_s = None
            self._heart.must_find_all = False
            return
        if mark[0] != "rendezvous" and not process.is_joining():
            self._heart.joining_s = None
        elif self._heart.joining_s is None:
            self._heart.joining_s = now_s
            self._heart.hurry()
        joining_s = self._heart.joining_s
        timeout_s = self._recovery.rendezvous_timeout_s
        waits = joining_s is not None and now_s - max(joining_s, self._awake_s) > timeout_s
        if waits or self._heart.unseen:
            self._end("rendezvous", self._why_no_rendezvous)

    def _look_at_progress(self, mark: Mark, now_s: float) -> None:
        phase, _, marked_s = mark
        limit_s = self._pace.limit_s(phase, self._recovery)
        if limit_s is None:
            self._fuse.disarm()
            return
        silence_s = now_s - max(marked_s, self._awake_s)
        if silence_s > limit_s and not self._may_wait(silence_s, limit_s, now_s):
            self._end("hang", partial(self._why_no_progress, mark, silence_s))
        self._fuse.arm(max(limit_s - silence_s, limit_s / 2) + FUSE_S)

    def _may_wait(self, silence_s: float, limit_s: float, now_s: float) -> bool:
        """Whether some rank works, so that the others wait for it with reason."""
        return silence_s <= PATIENCE * limit_s and bool(self._recent_roll(silence_s, now_s).busy)

    def _recent_roll(self, waited_s: float, now_s: float) -> Roll:
        """What the ranks show, read as often as it changes."""
        if self._roll_seen is None or now_s - self._roll_seen[1] > self._heart.interval_s:
            self._roll_seen = (self._roll(waited_s), now_s)
        return self._roll_seen[0]

    # What is done when the attempt cannot go on.

    def _why_no_rendezvous(self) -> Finding:
        roll = self._roll(self._recovery.rendezvous_timeout_s)
        return diagnosis.rendezvous(
            roll,
            timeout_s=self._recovery.rendezvous_timeout_s,
            folder=str(self._context.run_dir),
        )

    def _why_no_progress(self, mark: Mark, silence_s: float) -> Finding:
        phase, step, _ = mark
        return diagnosis.hang(
            self._roll(silence_s),
            silence_s=silence_s,
            usual_s=self._pace.usual_s(phase),
            phase=phase,
            step=step,
        )

    def _roll(self, waited_s: float) -> Roll:
        context = self._context
        self._heart.beat()
        found = beats.read(context.run_dir, context.attempt)
        is_one_node = len(self._world.hostnames) == 1
        return Roll(
            nodes=[node_name()] if is_one_node else self._world.hostnames,
            ranks_per_node=context.ranks_per_node,
            world_size=context.world_size,
            beats=found,
            ages_s={rank: files.seconds_since(beat.time) for rank, beat in found.items()},
            silent_after_s=max(waited_s / 2, 3 * self._heart.interval_s),
        )

    def _end(self, outcome: Outcome | None, why: Finding | Callable[[], Finding]) -> None:
        """Raise the alarm for all ranks, and act on the one that was first."""
        self._fuse.disarm()
        ending.at_latest()  # before anything that a file system can keep from ending
        finding = why() if callable(why) else why
        context = self._context
        alarm = Alarm(
            rank=context.rank,
            time=beats.now(),
            outcome=outcome,
            error=finding.error,
            text=finding.text,
            missing=finding.missing,
        )
        try:
            alarm = beats.raise_alarm(context.run_dir, context.attempt, alarm)
        except StoreError as error:
            ending.say(str(error))
        self._act(alarm)

    def _act(self, alarm: Alarm) -> None:
        self._fuse.disarm()
        ending.at_latest()
        context = self._context
        roll = self._roll(0.0)
        title = f"{roll.name(context.rank)}, process {os.getpid()}, {beats.now()}: {alarm.error}"
        ending.do_all(
            partial(ending.keep, context, alarm, self._world.job_id),
            partial(self._fuse.dump, title),
        )
        is_first = context.rank == min(roll.alive, default=context.rank)
        ending.say(alarm.text if is_first else f"{alarm.error} (rank {alarm.rank} noticed)")
        # Rank 0 counts even if it has yet to start: its log is the one that people read.
        others = {0, *roll.silent, *roll.alive} - set(roll.left)
        ending.await_stacks(context, others, 2 * self._heart.interval_s + FUSE_S)
        self._heart.finish()
        ending.leave()
