"""What a rule says about a script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
"""`error`: the job fails, hangs or wastes what it asked for. `warning`: it may run, and lose work.
`note`: something that could not be checked."""


@dataclass(frozen=True, kw_only=True)
class ScriptFinding:
    """One reason why a script is wrong, on one line, and what to use instead."""

    rule: str
    """Name of the rule, or of what reading the script stumbled over."""
    severity: Severity
    line: int | None
    """Line of the script that it is about, from 1; None where something is missing."""
    reason: str
    instead: str = ""


def error(rule: str, line: int | None, reason: str, instead: str = "") -> ScriptFinding:
    """A finding that makes the script fail."""
    return ScriptFinding(rule=rule, severity="error", line=line, reason=reason, instead=instead)


def warning(rule: str, line: int | None, reason: str, instead: str = "") -> ScriptFinding:
    """A finding that may cost work."""
    return ScriptFinding(rule=rule, severity="warning", line=line, reason=reason, instead=instead)


def note(rule: str, reason: str, instead: str = "") -> ScriptFinding:
    """Something that could not be checked."""
    return ScriptFinding(rule=rule, severity="note", line=None, reason=reason, instead=instead)
