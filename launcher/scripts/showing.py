"""Findings of a script on the terminal: one line of reason each, and below it what to use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from launcher import ui
from launcher.scripts.findings import ScriptFinding, Severity

_SYMBOLS: dict[Severity, tuple[str, str]] = {
    "error": ("✗", "red"),
    "warning": ("!", "yellow"),
    "note": ("?", "dim"),
}
_PLURALS: dict[Severity, str] = {"error": "errors", "warning": "warnings", "note": "not checked"}


def show(findings: Sequence[ScriptFinding], path: Path, instead: str = "") -> None:
    """Print what is wrong with a script, and the command to use in its place."""
    console = ui.out_console()
    console.print(Text.assemble((str(path), "bold"), f": {summary(findings)}"))
    for finding in findings:
        symbol, style = _SYMBOLS[finding.severity]
        where = f"line {finding.line}: " if finding.line else ""
        line = Text.assemble((f"{symbol} {finding.rule}", style), f"  {where}{finding.reason}")
        console.print(line)
        if finding.instead:
            console.print(Text(f"    use: {finding.instead}", style="dim"))
    if instead and findings:
        console.print(Text.assemble(("without a script: ", "bold"), instead))


def summary(findings: Sequence[ScriptFinding]) -> str:
    """How many errors and warnings there are."""
    counts = Counter(finding.severity for finding in findings)
    if not counts["error"] and not counts["warning"]:
        return "nothing is wrong" + (" in what was checked" if counts["note"] else "")
    parts = []
    for severity, plural in _PLURALS.items():
        count = counts[severity]
        word = severity if count == 1 and severity != "note" else plural
        parts.extend([f"{count} {word}"] if count else [])
    return ", ".join(parts)
