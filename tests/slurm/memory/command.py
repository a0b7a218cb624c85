"""`python -m tests.slurm memory`: predicted against measured memory, case by case."""

import argparse
import sys
import time

from rich.console import Console

from tests.slurm import LabError, LabOptions, temporary_lab

from .cases import CALIBRATIONS, CASES, by_name
from .experiment import median_error, run, table

MEMORY_MB = 10_000
"""Of the lab's node. What all jobs at once may hold in truth."""


def run_command(parsed: argparse.Namespace) -> int:
    """Run what was chosen; 1 if a run that was predicted to fit did not, or the other way."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    if parsed.list:
        for case in CASES:
            console.print(case.name)
        return 0
    cases = by_name(CASES, parsed.only)
    if not cases:
        raise LabError(f"no such case: {', '.join(parsed.only)}", hint="--list names them")
    began_s = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[{time.monotonic() - began_s:5.0f} s] {text}", markup=False)

    with temporary_lab(LabOptions(nodes=1, real_memory_mb=MEMORY_MB, accounting=False)) as lab:
        results = run(
            lab,
            CALIBRATIONS[:1] if parsed.one else CALIBRATIONS,
            cases,
            below=[] if parsed.above else cases,
            say=say,
        )
    console.print(table(results))
    wrong = [
        taken
        for result in results
        for taken, expected in ((result.above, "completed"), (result.below, "host_oom"))
        if taken is not None and taken.outcome != expected
    ]
    for taken in wrong:
        console.print(f"--- {taken.case.name}\n{taken.log}", markup=False)
    console.print(
        f"{len(results)} cases, median error {median_error(results):.1%},"
        f" {len(wrong)} ended otherwise than predicted, {time.monotonic() - began_s:.0f} s"
    )
    return int(bool(wrong))
