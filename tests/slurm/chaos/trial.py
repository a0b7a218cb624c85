"""One run of the chaos project on a lab: start it, watch it, see how it ended."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.programs import REPOSITORY
from tests.slurm import Lab, LabError, jobs, sweeps
from tests.slurm.entering import KILL_ALL
from tests.slurm.waiting import wait_until

from .journal import Journal
from .launchers import Launcher, Shape

PROJECT = REPOSITORY / "tests" / "projects" / "chaos"
SUBMIT_TIMEOUT_S = 120.0
START_TIMEOUT_S = 120.0
POLL_S = 0.1
LOOK_S = 1.0
"""Between two questions to slurmctld."""
QUIET_S = 4.0
"""A job that has ended so long ago does not come back by itself."""
LEAVE_TIMEOUT_S = 25.0


@dataclass(kw_only=True)
class Trial:
    """A run, from its command to its end."""

    lab: Lab
    launcher: Launcher
    shape: Shape
    name: str
    overrides: tuple[str, ...] = ()
    tags: tuple[str, ...] = ("a",)
    """One run for each; more than one make an array, and the first is the one disturbed."""
    undo: list[Callable[[], object]] = field(default_factory=list)
    """Called at the end, last first."""
    _command: "subprocess.Popen[str] | None" = None
    _job_id: str = ""

    @property
    def folder(self) -> Path:
        """The copy of the project."""
        return self.lab.home / self.name

    @property
    def run_dir(self) -> Path:
        """Folder of the run that is disturbed."""
        return self.folder / "outputs" / "sweep" / "0"

    @property
    def neighbour_dirs(self) -> list[Path]:
        """Folders of the other elements of its array."""
        return [self.run_dir.parent / str(i) for i in range(1, len(self.tags))]

    @property
    def job_id(self) -> str:
        """Job id as scontrol takes it, of the element where it is an array."""
        return self._job_id

    def journal(self) -> Journal:
        """What the run wrote so far."""
        return Journal.of(self.run_dir)

    def start(self) -> None:
        """Issue the command and return when the job is in the queue."""
        self.lab.make_folder(self.name)
        self.lab.run(["cp", "-r", f"{PROJECT}/.", self.folder])
        command = [
            sys.executable, "app.py", "-m", "hydra.sweep.dir=outputs/sweep",
            "hydra.sweep.subdir=${hydra.job.num}", f"hydra.launcher.name={self.name}",
            f"tag={','.join(self.tags)}", *self.launcher.ask_for(self.shape), *self.overrides,
        ]  # fmt: skip
        with (self.folder / "command.log").open("w") as log:
            self._command = self.lab.popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(self._is_sent, f"`{self.name}` is submitted", SUBMIT_TIMEOUT_S, interval_s=0.3)

    def _is_sent(self) -> bool:
        assert self._command is not None
        code = self._command.poll()
        if code not in (None, 0):
            raise LabError(f"the command ended with {code}", where=self.said())
        if self.launcher.is_ours and code is None:
            return False
        if self.launcher.is_ours:
            self._job_id = sweeps.job_id(self.run_dir)
            return True
        rows = [row for row in self.lab.squeue() if row["name"] == self.name]
        if len(rows) < len(self.tags):
            return False
        self._job_id = min(row["id"] for row in rows)
        return True

    def said(self) -> str:
        """The end of what the command printed."""
        return (self.folder / "command.log").read_text()[-3000:]

    def log_tails(self) -> str:
        """The end of each log of the run."""
        logs = [*self.run_dir.rglob("*.log"), *self.run_dir.parent.glob(".submitit/**/*.*")]
        readable = sorted(path for path in logs if path.suffix in (".log", ".out", ".err"))
        tails = [f"--- {path}\n{path.read_text(errors='replace')[-3000:]}" for path in readable]
        return "\n".join([f"--- command\n{self.said()}", *tails])

    def state(self) -> str:
        """State of the job, as squeue says."""
        rows = jobs.select(self.lab.squeue(), {self._job_id})
        return rows[0]["state"] if rows else "gone"

    def raw_id(self) -> str:
        """The number that its processes know as SLURM_JOB_ID."""
        rows = jobs.select(self.lab.squeue(), {self._job_id})
        return rows[0]["raw_id"] if rows else self._job_id

    def wait_for_step(self, count: int, life: int = 1, timeout_s: float = START_TIMEOUT_S) -> str:
        """Return the name of a life once it has executed so many steps.

        Raises:
            LabError: The job ended before, or it takes too long.
        """
        looked_s = time.monotonic()

        def is_reached() -> bool:
            nonlocal looked_s
            journal = self.journal()
            if len(lives := journal.lives) >= life:
                return len(journal.steps_of(lives[life - 1])) >= count
            if time.monotonic() - looked_s > 5:
                looked_s = time.monotonic()
                if jobs.is_terminal(state := self.state()):
                    raise LabError(f"the job is {state} before its life {life} began")
            return False

        what = f"`{self.name}` does {count} steps in life {life}"
        wait_until(is_reached, what, timeout_s, interval_s=POLL_S)
        return self.journal().lives[life - 1]

    def wait_for_life(self, life: int, timeout_s: float = START_TIMEOUT_S) -> str:
        """Return the name of a life once its ranks have started."""
        return self.wait_for_step(0, life, timeout_s)

    def wait_for_state(self, *states: str, timeout_s: float = 60.0) -> None:
        """Return when squeue says one of the states."""
        what = f"`{self.name}` is {' or '.join(states)}"
        wait_until(lambda: self.state() in states, what, timeout_s, interval_s=LOOK_S)

    def wait_for_end(self, timeout_s: float) -> bool:
        """Wait until the job has ended and stays so; whether it did in time."""
        deadline = time.monotonic() + timeout_s
        ended_s: float | None = None
        while time.monotonic() < deadline:
            is_over = all(jobs.is_terminal(state) for state in self._states())
            ended_s = (ended_s or time.monotonic()) if is_over else None
            if ended_s is not None and time.monotonic() - ended_s >= QUIET_S:
                return True
            time.sleep(LOOK_S)
        return False

    def _states(self) -> list[str]:
        base = self._job_id.partition("_")[0]
        return [row["state"] for row in self.lab.squeue() if row["base_id"] == base]

    def cancel(self) -> None:
        """Cancel all of it, as root."""
        self.lab.ask(["scancel", self._job_id.partition("_")[0]])

    def left_behind(self) -> str:
        """Processes of the job that are still there when they should not be; empty if none."""
        pattern = f"^SLURM_JOB_ID={self.raw_id()}$"
        script = f"grep -lsz '{pattern}' /proc/[0-9]*/environ | cut -d/ -f3 | xargs -r ps -fp"
        deadline = time.monotonic() + LEAVE_TIMEOUT_S
        while left := self.lab.run(["sh", "-c", script], as_user=False, check=False).stdout:
            if time.monotonic() > deadline:
                return left
            time.sleep(LOOK_S)
        return ""

    def close(self) -> None:
        """End the command and the job, and undo what the fault did to the cluster."""
        for step in reversed(self.undo):
            step()
        if self._job_id and not all(jobs.is_terminal(state) for state in self._states()):
            self.cancel()
            self.wait_for_end(LEAVE_TIMEOUT_S + QUIET_S)
        if self._command is not None and self._command.poll() is None:
            self._command.send_signal(KILL_ALL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._command.wait(LEAVE_TIMEOUT_S)
