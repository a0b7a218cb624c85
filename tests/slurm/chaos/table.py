"""The matrix as a table."""

from collections.abc import Sequence
from itertools import groupby

from rich.table import Table
from rich.text import Text

from .faults import Fault
from .judge import problems
from .matrix import Case
from .run import Result


def render(
    wanted: Sequence[Case],
    results: Sequence[Result],
    impossible: Sequence[tuple[Fault, int, str]] = (),
) -> Table:
    """One row per case, and one for each that cannot be."""
    table = Table(title="chaos: what each fault does to a run")
    for name in ("fault", "ranks", "attempts", "steps lost", "bit-identical", "outcome", "SLURM"):
        table.add_column(name, justify="right" if name in _NUMBERS else "left")
    table.add_column("verdict", overflow="fold")
    for case, result in zip(wanted, results, strict=True):
        wrong = problems(case.fault, result)
        verdict = Text(f"RED {'; '.join(wrong)}", "red") if wrong else Text("ok", "green")
        table.add_row(
            case.fault.name,
            str(case.ranks),
            str(len(result.journal.lives)),
            str(result.journal.steps_lost),
            _identical(result),
            _outcomes(result.outcomes),
            result.state,
            verdict,
        )
    for fault, ranks, why in impossible:
        table.add_row(fault.name, str(ranks), *["-"] * 5, f"not applicable: {why}")
    return table


def red(wanted: Sequence[Case], results: Sequence[Result]) -> int:
    """How many cells are red."""
    pairs = zip(wanted, results, strict=True)
    return sum(bool(problems(case.fault, result)) for case, result in pairs)


_NUMBERS = {"ranks", "attempts", "steps lost"}


def _identical(result: Result) -> str:
    return {True: "yes", False: "NO", None: "-"}[result.is_identical]


def _outcomes(words: Sequence[str]) -> str:
    runs = [(word, len(list(same))) for word, same in groupby(words)]
    return " → ".join(f"{count} x {word}" if count > 1 else word for word, count in runs) or "-"
