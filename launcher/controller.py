"""One run on this machine: `python -m launcher.controller BATCH`, what slurmd is on a cluster.

Starts the ranks, tells them in time that their time is up, ends them when it is, keeps them to
their memory, ends all when one fails, concludes, and starts them again where the policy says so.
It outlives the command that started it, and no rank outlives it.
"""

from __future__ import annotations

import functools
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

import psutil

from launcher import beats, confine, descent, files, store
from launcher.concluding import conclude, rewrite
from launcher.gathering import MARK
from launcher.guard import told
from launcher.job import Attempt
from launcher.life import Life, LocalControl
from launcher.records import Adjustments
from launcher.scheduler.local import SPLIT, STOP_WAIT_S
from launcher.stopping import EXIT_STOPPED
from launcher.world import JOB_ID, PORT, RANK, RESTARTS

POLL_S = 0.05
"""Time between two looks at the ranks [s]."""
KILL_WAIT_S = 10.0
"""From SIGTERM at the time limit to SIGKILL [s]."""
PEER_GRACE_S = 5.0
"""How long the peers of a rank that failed have to say their own last words [s]."""
INTERRUPTED = "SIGTERM came and nobody had cancelled the run: its command was interrupted"
LEAVE_GRACE_S = 45.0
"""How long the peers of a rank that stopped as it was asked to have to follow [s]."""


@dataclass(kw_only=True)
class Controller:
    """The lives of one sending of a run, one after the other."""

    batch: Path
    """What the ranks read; their logs are written beside it."""
    attempt: Attempt
    splits_stderr: bool = False
    stops: int = 0
    """How often this process was told to end the run: once politely, twice at once."""
    guard: int = 0
    limit: confine.Limit = field(default_factory=confine.NoLimit)
    _oom: str | None = None
    """How it is known that the last life held too much memory, if it did."""

    def run(self) -> int:
        """Live until the run has completed, failed or was stopped; 0 if it has completed."""
        signal.signal(signal.SIGTERM, self._note_stop)
        for number in (signal.SIGINT, signal.SIGHUP):  # of a terminal: not ours to follow
            signal.signal(number, signal.SIG_IGN)
        descent.adopt_orphans()
        self.guard = descent.leave_no_heirs(
            JOB_ID, functools.partial(confine.remove_all, f"job_{os.getpid()}????")
        )
        restart = 0
        while not self.stops:
            life = self._live(restart)
            if not any(life.exits.values()):
                return 0
            if not self._goes_on(life):
                return 1
            restart += 1
        return 1

    def _note_stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.stops += 1

    def _goes_on(self, life: Life) -> bool:
        """Conclude a life that did not complete; whether another one follows."""
        run_dir, name = Path(self.attempt.run_dir), self._name(life)
        life.has_begun = bool(beats.read(run_dir, name))
        timeout_min = self.attempt.shape.timeout_min
        control = LocalControl(life=life, timeout_min=timeout_min, mem_gb=self._mem_gb())
        seen = life.seen(timeout_min, self._oom)
        verdict = conclude(run_dir, name, by="controller", control=control, seen=seen)
        if verdict is not None and life.stopped_by == INTERRUPTED:
            verdict = rewrite(run_dir, verdict, note="the same command goes on with it")
        if verdict is not None:
            self._say(f"launcher controller: {told(verdict)}", [0])
        return control.is_requeued

    def _name(self, life: Life) -> str:
        return f"{self.attempt.number:03d}-{life.restart:03d}"

    def _say(self, text: str, ranks: Iterable[int]) -> None:
        """Write a line into the logs of ranks."""
        for rank in ranks:
            with self._log(rank, "out") as log:
                log.write(f"{text}\n".encode())

    def _live(self, restart: int) -> Life:
        life = Life(restart=restart, ends_s=time.time() + self._limit_s)
        self.limit = confine.limit(self._mem_gb(), f"job_{os.getpid()}{restart:04d}")
        ranks = range(self.attempt.shape.ranks_per_node)
        self._say(f"{MARK} {self._name(life)}, process {os.getpid()}, {files.now()}", ranks)
        try:
            for rank in ranks:
                life.ranks[self._start_rank(rank, life)] = rank
            while life.ranks:
                self._tell(life)
                if time.monotonic() >= life.kill_at_s:
                    self._note_exits(life, descent.kill_below([self.guard]))
                    break
                self.limit.look(self._below)
                time.sleep(POLL_S)
                self._note_exits(life, descent.reap())
            return life
        finally:
            # Workers and tools of the ranks end with them, as below slurmd.
            descent.kill_below([self.guard])
            self._oom = self.limit.how() if self.limit.kills() else None
            self.limit.close()

    @property
    def _limit_s(self) -> float:
        return self.attempt.shape.timeout_min * 60.0

    def _mem_gb(self) -> float | None:
        sent = store.submission(self.attempt.run_dir)
        changes = Adjustments() if sent is None else store.adjustments(self.attempt.run_dir, sent)
        return changes.mem_gb or self.attempt.shape.mem_gb

    def _start_rank(self, rank: int, life: Life) -> int:
        own = os.getpid()
        environment = {
            **os.environ,
            RANK: str(rank),
            RESTARTS: str(life.restart),
            JOB_ID: str(own),
            PORT: str(life.port),
            "LAUNCHER_WORLD_SIZE": str(self.attempt.shape.ranks_per_node),
            "LAUNCHER_END_TIME": str(life.ends_s),
        }

        def prepare() -> None:
            descent.die_with_parent(own)
            self.limit.admit()

        with self._log(rank, "out") as out, self._log(rank, "err") as err:
            process = subprocess.Popen(
                [sys.executable, "-u", "-m", "launcher.start", str(self.batch)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err if self.splits_stderr else subprocess.STDOUT,
                preexec_fn=prepare,  # safe: this process has one thread
            )
        process.returncode = 0  # `descent.reap` waits for it, with the orphans
        return process.pid

    def _log(self, rank: int, kind: str) -> IO[bytes]:
        if kind == "err" and not self.splits_stderr:
            return open(os.devnull, "wb")
        return open(self.batch.with_name(f"{os.getpid()}_{rank}_log.{kind}"), "ab")

    def _tell(self, life: Life) -> None:
        """Send the ranks what it is time for."""
        left_s = life.ends_s - time.time()
        if left_s <= self.attempt.lead_s and not life.asked:
            self._ask(life, signal.SIGUSR2)
        if left_s <= 0 and "SIGTERM" not in life.asked:
            life.is_over = True
            self._ask(life, signal.SIGTERM)
            life.kill_within(KILL_WAIT_S)
        if self.stops:
            life.stopped_by = life.stopped_by or self._why_stop()
        if self.stops and "SIGTERM" not in life.asked:
            self._ask(life, signal.SIGTERM)
            life.kill_within(STOP_WAIT_S)
        if self.stops > 1:
            life.kill_within(0.0)

    def _why_stop(self) -> str:
        marker = store.cancelled(self.attempt.run_dir)
        if marker is not None and marker.number == self.attempt.number:
            return "SIGTERM came, as from `launch cancel`"
        return INTERRUPTED

    def _ask(self, life: Life, number: signal.Signals) -> None:
        life.asked.append(number.name)
        for process in life.ranks:
            os.kill(process, number)  # not reaped yet, so it is still that process

    def _note_exits(self, life: Life, ended: dict[int, int]) -> None:
        for process, code in ended.items():
            rank = life.ranks.pop(process, None)
            if rank is None:
                continue  # a worker that its rank left behind
            life.exits[rank] = code
            if code == EXIT_STOPPED:
                life.kill_within(LEAVE_GRACE_S)
            elif code:
                life.kill_within(PEER_GRACE_S)

    def _below(self) -> list[psutil.Process]:
        return descent.below([self.guard])


def main() -> int:
    """Control the run whose attempt is in the batch."""
    batch = Path(sys.argv[1])
    attempts = pickle.loads(batch.read_bytes())
    return Controller(batch=batch, attempt=attempts[0], splits_stderr=SPLIT in sys.argv).run()


if __name__ == "__main__":
    sys.exit(main())
