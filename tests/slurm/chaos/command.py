"""`python -m tests.slurm chaos`: the matrix, or a part of it."""

import argparse
import sys
import time

from rich.console import Console

from tests.slurm import LabError

from .faults import BY_NAME
from .judge import problems
from .launchers import OURS
from .matrix import cases, impossible, run_matrix
from .table import red, render


def run(parsed: argparse.Namespace) -> int:
    """Run what was chosen; 1 if any cell is red."""
    console = Console(width=None if sys.stdout.isatty() else 180)
    if parsed.list:
        for fault in BY_NAME.values():
            console.print(f"{fault.name:<24} {fault.about}", highlight=False)
        return 0
    if unknown := sorted(set(parsed.only) - BY_NAME.keys()):
        raise LabError(f"no such fault: {', '.join(unknown)}", hint="--list names them")
    counts = (parsed.ranks,) if parsed.ranks else (1, 4)
    wanted = cases([OURS], names=parsed.only, ranks=counts, third=parsed.third)
    began_s = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[{time.monotonic() - began_s:5.0f} s] {text}", markup=False)

    results = run_matrix(wanted, say, parsed.parallel)
    cannot = [] if parsed.third else impossible(names=parsed.only, ranks=counts)
    console.print(render(wanted, results, cannot))
    for case, result in zip(wanted, results, strict=True):
        if result.evidence and (parsed.evidence or problems(case.fault, result)):
            console.print(f"{case}:", *result.evidence, sep="\n  ", markup=False)
        if problems(case.fault, result):
            console.print(result.log, markup=False, highlight=False)
    count = red(wanted, results)
    console.print(f"{len(wanted)} cells, {count} red, {time.monotonic() - began_s:.0f} s")
    return int(count > 0)
