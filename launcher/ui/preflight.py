"""`launch doctor` before a submission: one line per check, and below it what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.padding import Padding
from rich.text import Text

from launcher import ui
from launcher.estimates import budget
from launcher.preflight.findings import Finding, Level

_SYMBOLS: dict[Level, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "error": ("✗", "red"),
    "unknown": ("?", "dim"),
}
_INDENT = 18


def show(findings: Sequence[Finding], runs: int) -> None:
    """Print what each check found; equal answers for several runs once."""
    console = ui.out_console()
    noun = "run" if runs == 1 else "runs"
    console.print(Text(f"checks of {runs} {noun}; nothing is sent", style="bold"))
    several = len({finding.runs for finding in findings if finding.runs}) > 1
    shown: set[tuple[str, str]] = set()
    for finding in findings:
        if (finding.check, finding.reason) in shown:
            continue
        shown.add((finding.check, finding.reason))
        symbol, style = _SYMBOLS[finding.level]
        of = f"{finding.runs}: " if several and finding.runs and finding.level != "ok" else ""
        line = Text.assemble(
            (f"{symbol} ", style), f"{finding.check:<{_INDENT - 2}}", f"{of}{finding.reason}"
        )
        console.print(line)
        if finding.hint:
            console.print(Text(f"{'':{_INDENT}}{finding.hint}", style="dim"))
        if finding.budget is not None:
            console.print(
                Padding(
                    budget.table(finding.budget, finding.limit_gb), (0, 0, 0, _INDENT), expand=False
                )
            )


def print_json(findings: Sequence[Finding], runs: int) -> None:
    """Data goes to stdout: all that the checks found, also what is equal for several runs."""
    value = {"runs": runs, "findings": [asdict(finding) for finding in findings]}
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
    sys.stdout.flush()
