"""What faults of a cluster cost: the stock launcher against ours, the same faults to both.

python benchmarks/chaos_stock.py [--only NAME ...] [--ranks 1|4] [--launchers NAME ...]

Needs root and SLURM's packages, see tests/slurm. The training, its faults and what they mean are
those of `python -m tests.slurm chaos`. Three columns: hydra-submitit-launcher with what its users
set (max_num_timeout=3, ModelCheckpoint(save_last) every 10 steps), the same with
fit(ckpt_path="last") in the program, and ours.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.slurm.chaos.faults import BY_NAME, Fault
from tests.slurm.chaos.launchers import LAUNCHERS, PERIOD_STEPS
from tests.slurm.chaos.matrix import PARALLEL, Case, cases, impossible, run_matrix
from tests.slurm.chaos.run import Result


def end_of(result: Result) -> str:
    """How a run ended for its user."""
    if result.problem:
        return "not tried: " + result.problem.splitlines()[0][:60]
    if result.has_completed:
        return "completed" if result.is_identical else "completed, other weights"
    return "hangs" if result.state == "hangs" else "lost"


def cost_of(result: Result) -> str:
    """Steps done in vain: those done again, and all of a run that did not complete."""
    if result.has_completed:
        return str(result.journal.steps_lost)
    return f"all {len(result.journal.steps)}"


def cell(case: Case, result: Result) -> str:
    """State of SLURM, end, cost."""
    ended = end_of(result)
    if case.fault.end != "completes" and not result.has_completed:
        ended = f"{case.fault.end}" if result.state != "hangs" else ended
        return f"{ended}\n{result.state}"
    lives = len(result.journal.lives)
    return f"{ended}, {cost_of(result)} steps lost\n{result.state}, {lives} lives"


def render(
    wanted: Sequence[Case],
    results: Sequence[Result],
    impossible: Sequence[tuple[Fault, int, str]],
) -> Table:
    """One row per fault and rank count, one column per launcher."""
    names = list(dict.fromkeys(case.launcher.name for case in wanted))
    table = Table(title="the same faults to each launcher", show_lines=True)
    table.add_column("fault")
    table.add_column("ranks", justify="right")
    for name in names:
        table.add_column(name)
    found = {
        (case.fault.name, case.ranks, case.launcher.name): cell(case, result)
        for case, result in zip(wanted, results, strict=True)
    }
    for fault, ranks in dict.fromkeys((case.fault.name, case.ranks) for case in wanted):
        cells = [found[fault, ranks, name] for name in names]
        table.add_row(f"{fault}\n{BY_NAME[fault].about}", str(ranks), *cells)
    for kind, ranks, why in impossible:
        table.add_row(f"{kind.name}\n{kind.about}", str(ranks), f"not applicable: {why}")
    return table


def machine() -> str:
    """What it ran on, and with what."""
    packages = ("hydra-core", "submitit", "hydra-submitit-launcher", "pytorch-lightning", "torch")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def main() -> int:
    """Print both sides of each fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], choices=list(BY_NAME), metavar="NAME")
    parser.add_argument("--ranks", type=int, choices=(1, 4))
    parser.add_argument("--launchers", nargs="+", default=list(LAUNCHERS), choices=list(LAUNCHERS))
    parser.add_argument("--parallel", type=int, default=PARALLEL, help="cases at once")
    parsed = parser.parse_args()
    launchers = [LAUNCHERS[name] for name in parsed.launchers]
    ranks = (parsed.ranks,) if parsed.ranks else (1, 4)
    wanted = cases(launchers, names=parsed.only, ranks=ranks)
    console = Console(width=None if sys.stdout.isatty() else 160)
    began_s = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[{time.monotonic() - began_s:5.0f} s] {text}", markup=False)

    results = run_matrix(wanted, say, parsed.parallel)
    console.print(render(wanted, results, impossible(names=parsed.only, ranks=ranks)))
    for launcher in launchers:
        console.print(f"{launcher.name}: {launcher.about}", markup=False)
    console.print(
        f"Checkpoints every {PERIOD_STEPS} steps of 60. {machine()}."
        f"\nRepeat: python benchmarks/chaos_stock.py {' '.join(sys.argv[1:])}",
        markup=False,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
