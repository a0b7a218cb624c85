"""Calibrates, predicts, and runs each case just above and clearly below its prediction."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table

from launcher.estimates.memory import Budget
from tests.slurm import Lab

from .bench import Bench, Taken, predict
from .cases import Case

BELOW = 0.85
"""Of a prediction: so much is predicted not to fit, however the margin is used."""
CALIBRATION_GB = 5.0
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Result:
    """One case: what was predicted, what it took, and how it ended with less."""

    case: Case
    budget: Budget
    above: Taken
    """With the prediction and its margin as the limit."""
    below: Taken | None
    """With less than was predicted; None where that was not run."""

    @property
    def error(self) -> float | None:
        """Of the prediction, as a share of what was measured; None if that was not."""
        measured_gb = self.above.peak_gb
        return self.budget.peak_gb / measured_gb - 1 if measured_gb else None


def run(
    lab: Lab,
    calibrations: Sequence[Case],
    cases: Sequence[Case],
    *,
    below: Sequence[Case],
    say: Say = lambda _: None,
) -> list[Result]:
    """Predict `cases` from `calibrations`, then run all of them.

    Args:
        lab: Where; its memory says how many of them go at once.
        calibrations: Runs that are measured first.
        cases: What is predicted; none of them is among the measured.
        below: Those of them that also run with less than predicted.
        say: Told what begins.
    """
    bench = Bench(lab)
    say(f"{len(calibrations)} calibrations")
    for taken in bench.run([c.within(CALIBRATION_GB) for c in calibrations], "calibrate", "known"):
        if taken.outcome != "completed":
            raise AssertionError(f"{taken.case.name} is {taken.outcome}\n{taken.log}")
    model = bench.model("known")
    budgets = {case.name: predict(model, case) for case in cases}
    too_small = [case.within(BELOW * budgets[case.name].peak_gb) for case in below]
    if too_small and not bench.is_refused(too_small, "refused", "known"):
        raise AssertionError("runs that do not fit were not refused")
    # Where nothing is remembered, nothing is refused before it is sent.
    say(f"{len(cases)} runs just above what is predicted")
    above = bench.run(
        [case.within(budgets[case.name].with_margin_gb) for case in cases], "above", "unknown"
    )
    say(f"{len(below)} runs below what is predicted")
    killed = bench.run(too_small, "below", "unseen") if too_small else []
    died = {case.name: taken for case, taken in zip(below, killed, strict=True)}
    return [
        Result(case=case, budget=budgets[case.name], above=taken, below=died.get(case.name))
        for case, taken in zip(cases, above, strict=True)
    ]


def median_error(results: Sequence[Result]) -> float:
    """Median of the errors without their sign, as a share."""
    return statistics.median(abs(r.error) for r in results if r.error is not None)


def table(results: Sequence[Result]) -> Table:
    """One row per case."""
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("ranks x train + val workers", "phase"):
        drawn.add_column(name)
    for name in ("predicted", "measured", "error", "limit", "then", "less", "then"):
        drawn.add_column(name, justify="right")
    for result in results:
        below = result.below
        drawn.add_row(
            result.case.name,
            result.budget.phase,
            f"{result.budget.peak_gb:.2f}",
            "?" if result.above.peak_gb is None else f"{result.above.peak_gb:.2f}",
            "?" if result.error is None else f"{result.error:+.1%}",
            f"{result.budget.with_margin_gb:.2f}",
            result.above.outcome,
            f"{BELOW * result.budget.peak_gb:.2f}" if below else "",
            below.outcome if below else "",
        )
    return drawn
