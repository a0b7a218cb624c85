"""A node's memory by what it is for, as a table against the limit of the job."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from launcher.records import Phase

PHASES: dict[Phase, str] = {
    "start": "at the start",
    "train": "while training",
    "switch": "when validation begins",
    "validate": "while validating",
    "checkpoint": "while saving",
    "other": "between the phases",
}
"""How a phase is called in a sentence."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One purpose."""

    what: str
    gb: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a node needs at its fullest moment [GB of 2**30 bytes]."""

    rows: tuple[Row, ...]
    """Purposes; their sum is `peak_gb`."""
    phase: Phase
    """When that is."""
    margin: float
    """What is added for what was not seen, as a share."""
    basis: str
    """What was measured, and what is assumed."""
    guessed_gb: float = 0.0
    """Part of it that nobody measured, and that is assumed to be large."""
    is_lower_bound: bool = False
    """Whether all that was measured ran out of memory, so that more may be needed."""

    @property
    def peak_gb(self) -> float:
        """All rows together."""
        return sum(row.gb for row in self.rows)

    @property
    def margin_gb(self) -> float:
        """What is added to it."""
        return self.peak_gb * self.margin

    @property
    def with_margin_gb(self) -> float:
        """What a job should ask for."""
        return self.peak_gb + self.margin_gb

    def fits(self, limit_gb: float) -> bool | None:
        """Whether it fits below a limit; None where that hangs on what nobody measured."""
        if self.with_margin_gb <= limit_gb:
            return None if self.is_lower_bound else True
        known_gb = (self.peak_gb - self.guessed_gb) * (1 + self.margin)
        return None if known_gb <= limit_gb else False


def table(budget: Budget, limit_gb: float | None = None) -> Table:
    """The budget of a node, with its total, and the job's limit where that is known."""
    drawn = Table(
        title=Text(f"memory of a node {PHASES[budget.phase]}", style="bold"),
        title_justify="left",
        caption=Text(budget.basis, style="dim"),
        caption_justify="left",
        box=None,
        pad_edge=False,
        header_style="dim",
    )
    drawn.add_column("what")
    drawn.add_column("GB", justify="right")
    drawn.add_column("note")
    for row in budget.rows:
        drawn.add_row(Text(row.what), _gb(row.gb), Text(row.note, style="dim"))
    drawn.add_row(Text("margin"), _gb(budget.margin_gb), Text(f"{budget.margin:.0%}", style="dim"))
    drawn.add_section()
    drawn.add_row(Text("needed", style="bold"), _gb(budget.with_margin_gb), "")
    if limit_gb is not None:
        drawn.add_row(Text("limit of the job"), _gb(limit_gb), _verdict(budget, limit_gb))
    return drawn


def _verdict(budget: Budget, limit_gb: float) -> Text:
    fits = budget.fits(limit_gb)
    if fits is None:
        return Text("unknown", style="yellow")
    return Text("fits", style="green") if fits else Text("does not fit", style="red")


def _gb(value: float) -> Text:
    return Text(f"{value:.2f}")
