"""Time to submit a sweep, the stock launcher against ours, in turn on one throw-away SLURM.

python benchmarks/submit.py

Needs root and SLURM's packages, see tests/slurm. All jobs are submitted held, so none starts.
Exit code 1 if a figure misses its limit.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from tests.slurm import Lab, LabOptions, temporary_lab  # noqa: E402
from tests.slurm.layout import USER_ID, USER_NAME  # noqa: E402
from tests.slurm.sweeps import copy_project  # noqa: E402

OPTIONS = LabOptions(extra_conf=("MaxJobCount=50000",))
"""Ended jobs count too until SLURM forgets them."""
SUBMISSION = (
    "hydra.sweep.dir=outputs/sweep",
    "+hydra.launcher.additional_parameters.hold=true",
)
STOCK = ("hydra/launcher=submitit_slurm", *SUBMISSION)
BASIC = ("hydra/launcher=slurm", "hydra.launcher.yes=true", *SUBMISSION)
ONCE = (*BASIC, "hydra/sweeper=study")

POLL_S = 0.25
TIMEOUT_S = 600.0
STILL_BLOCKED_S = 2.0
STATUS_REPEATS = 3
MAX_BASIC_RATIO = 1.1
MAX_ONCE_RATIO = 0.5
MAX_OWN_SHARE_MS = 10.0
MAX_STATUS_CPU_S = {1_000: 2.0, 10_000: 10.0}
"""By the size of the study up to which it holds."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One command: how long until all of its jobs were queued, and until it had returned."""

    queued_s: float
    returned_s: float | None


@dataclass(frozen=True, kw_only=True)
class Status:
    """One `launch status`, with all jobs in the queue."""

    cpu_s: float
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was measured some times, with the limit for its median."""

    what: str
    values: Sequence[float]
    limit: float
    unit: str = ""

    def is_missed(self) -> bool:
        """Whether it is above the limit."""
        return statistics.median(self.values) > self.limit

    def __str__(self) -> str:
        value = f"{statistics.median(self.values):.2f}"
        spread = f"({min(self.values):.2f} to {max(self.values):.2f})"
        limit = f"{self.limit:g}"
        verdict = "MISSED" if self.is_missed() else "ok"
        return f"{self.what:<42}{value:>7} {self.unit:<2} {spread:<16} <= {limit:<4}{verdict}"


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def queued(lab: Lab) -> int:
    """Number of jobs in the queue, each array element one."""
    return len(lab.ask(["squeue", "--array", "--noheader", "--format=%i"]).splitlines())


def user_processes(lab: Lab) -> list[str]:
    """What the ordinary user runs inside the lab."""
    command = ["ps", "--no-headers", f"--user={USER_ID}", "--format=pid,args"]
    return lab.run(command, as_user=False, check=False).stdout.splitlines()


def wait_for(
    lab: Lab, process: subprocess.Popen[str], runs: int, *, returns: bool
) -> tuple[float, float | None]:
    """Moments at which all jobs were queued and, if it returns, the command had ended."""
    deadline = time.perf_counter() + TIMEOUT_S
    all_queued = ended = None
    while all_queued is None or (returns and ended is None):
        if time.perf_counter() > deadline:
            raise TimeoutError(f"{queued(lab)} of {runs} jobs queued after {TIMEOUT_S:g} s")
        if all_queued is None and queued(lab) == runs:
            all_queued = time.perf_counter()
        if ended is not None:
            time.sleep(POLL_S)
            continue
        try:
            process.wait(POLL_S)
            ended = time.perf_counter()
        except subprocess.TimeoutExpired:
            continue
        if process.returncode or not returns:
            raise ChildProcessError(f"the command ended with {process.returncode}")
    return all_queued, ended


def end(lab: Lab, process: subprocess.Popen[str]) -> None:
    """End a command that is still there, and with it what it runs inside the lab."""
    if process.poll() is None:
        process.terminate()
        process.wait(TIMEOUT_S)
    deadline = time.monotonic() + STILL_BLOCKED_S
    while (left := user_processes(lab)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    if left:
        raise ChildProcessError(f"left behind: {left}")


def send(lab: Lab, folder: Path, overrides: Sequence[str], runs: int, *, returns: bool) -> Sent:
    """Submit a sweep to an empty queue; leaves its jobs there and no process."""
    assert not queued(lab)
    command = [sys.executable, "app.py", "-m", f"x=range({runs})", *overrides]
    with tempfile.TemporaryFile("w+") as log:
        began = time.perf_counter()
        process = lab.popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            all_queued, ended = wait_for(lab, process, runs, returns=returns)
            if not returns:
                time.sleep(STILL_BLOCKED_S)
                assert process.poll() is None
                assert user_processes(lab)
            elif left := user_processes(lab):
                raise ChildProcessError(f"left behind: {left}")
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-4000:])
            raise
        finally:
            end(lab, process)
    return Sent(queued_s=all_queued - began, returned_s=None if ended is None else ended - began)


def empty_queue(lab: Lab) -> None:
    """Cancel everything and wait until the queue is empty."""
    lab.run(["scancel", f"--user={USER_NAME}"], timeout_s=TIMEOUT_S)
    deadline = time.monotonic() + TIMEOUT_S
    while queued(lab):
        if time.monotonic() > deadline:
            raise TimeoutError("cancelled jobs stay in the queue")
        time.sleep(POLL_S)


def compare(lab: Lab, runs: int, label: str) -> dict[str, Sent]:
    """Submit the same sweep in the three ways, in turn."""
    sent = {}
    for name, overrides in (("stock", STOCK), ("basic", BASIC), ("once", ONCE)):
        folder = copy_project(lab, f"{label}-{name}")
        sent[name] = send(lab, folder, overrides, runs, returns=name != "stock")
        empty_queue(lab)
        say(f"{label}: {name:<6}{describe(sent[name])}")
    return sent


def describe(sent: Sent) -> str:
    """Say it in words."""
    returned = sent.returned_s
    then = "then still blocked" if returned is None else f"returned after {returned:6.2f} s"
    return f"all queued after {sent.queued_s:6.2f} s, {then}"


def status(lab: Lab, runs: int) -> list[Status]:
    """Some `launch status` of a study whose jobs are all in the queue."""
    folder = copy_project(lab, f"status-{runs}")
    sent = send(lab, folder, ONCE, runs, returns=True)
    say(f"status {runs}: study sent, {describe(sent)}")
    looks = [look(lab, folder, runs) for _ in range(STATUS_REPEATS)]
    empty_queue(lab)
    return looks


def look(lab: Lab, folder: Path, runs: int) -> Status:
    """One `launch status`; what it starts, and what enters the lab, count too."""
    before, began = children_cpu_s(), time.perf_counter()
    shown = lab.run([Path(sys.executable).with_name("launch"), "status"], cwd=folder)
    wall_s, cpu_s = time.perf_counter() - began, children_cpu_s() - before
    if f"{runs} pending" not in shown.stdout:
        raise ValueError(f"not {runs} pending: {shown.stdout[-2000:]}")
    say(f"status {runs}: CPU {cpu_s:.2f} s, wall {wall_s:.2f} s")
    return Status(cpu_s=cpu_s, wall_s=wall_s)


def children_cpu_s() -> float:
    """CPU time of all children that have been waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def machine(lab: Lab) -> str:
    """What absolute times are of."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), "?")
    packages = ("hydra-core", "submitit", "hydra-submitit-launcher")
    return ", ".join(
        (
            f"{os.cpu_count()} cores {model}",
            lab.ask(["squeue", "--version"]).strip(),
            f"Python {platform.python_version()}",
            *(f"{name} {version(name)}" for name in packages),
        )
    )


def status_limit(runs: int) -> float:
    """CPU time that a status may take [s]."""
    largest = max(MAX_STATUS_CPU_S.values())
    return next((limit for size, limit in MAX_STATUS_CPU_S.items() if runs <= size), largest)


def own_share_ms(sent: Sent, single: Sent, runs: int) -> float:
    """What each run adds to the time until the prompt is back."""
    assert sent.returned_s is not None
    assert single.returned_s is not None
    return (sent.returned_s - single.returned_s) / runs * 1000


def measure(
    lab: Lab, runs: int, rounds: int, sizes: Sequence[int]
) -> tuple[list[Figure], list[str]]:
    """Everything; figures with limits, ratios first, and lines of absolute times."""
    compare(lab, 1, "first")  # fills the file cache
    single = compare(lab, 1, "single")["once"]
    many = [compare(lab, runs, f"round {number}") for number in range(rounds)]
    figures = [
        Figure(
            what=f"basic sweeper, ours / stock, {runs} runs",
            values=[sent["basic"].queued_s / sent["stock"].queued_s for sent in many],
            limit=MAX_BASIC_RATIO,
        ),
        Figure(
            what=f"study sweeper, ours / stock, {runs} runs",
            values=[sent["once"].queued_s / sent["stock"].queued_s for sent in many],
            limit=MAX_ONCE_RATIO,
        ),
        Figure(
            what="study sweeper, ours, each run *",
            values=[own_share_ms(sent["once"], single, runs) for sent in many],
            limit=MAX_OWN_SHARE_MS,
            unit="ms",
        ),
    ]
    lines = [
        f"stock                 {describe(many[-1]['stock'])}",
        f"ours, basic sweeper   {describe(many[-1]['basic'])}",
        f"ours, study sweeper   {describe(many[-1]['once'])}",
        f"  the same with 1 run {describe(single)}",
    ]
    for size in sizes:
        looks = status(lab, size)
        figures.append(
            Figure(
                what=f"launch status, {size} queued runs, CPU",
                values=[taken.cpu_s for taken in looks],
                limit=status_limit(size),
                unit="s",
            )
        )
        wall_s = statistics.median(taken.wall_s for taken in looks)
        lines.append(f"launch status, {size} runs: {wall_s:.2f} s wall, median")
    return figures, lines


def main() -> int:
    """Print figures beside their limits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000, help="runs of each sweep")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is sent")
    parser.add_argument("--status", default="1000,10000", help="sizes of studies to look at")
    parsed = parser.parse_args()
    if not 1 < parsed.runs < OPTIONS.max_array_size:
        parser.error(f"the stock launcher sends 2 to {OPTIONS.max_array_size - 1} runs at most")
    sizes = [int(size) for size in parsed.status.split(",") if size]
    with temporary_lab(OPTIONS) as lab:
        figures, lines = measure(lab, parsed.runs, parsed.rounds, sizes)
        say("\nmedians, and all from least to most")
        for figure in figures:
            say(str(figure))
        say("* (time until the prompt is back - that of 1 run) / runs; composing is part of it")
        say(f"\nTimes of this machine ({machine(lab)}), last round:")
        say("\n".join(lines))
    return int(any(figure.is_missed() for figure in figures))


if __name__ == "__main__":
    raise SystemExit(main())
