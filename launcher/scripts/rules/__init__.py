"""Named reasons why a script does not do what it was written for.

A rule takes a `Case` and yields findings. The order is that of the causes: what keeps the job from
starting, then what keeps the ranks from meeting, then what kills them, then what loses their work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from launcher.scripts.case import Case
from launcher.scripts.findings import ScriptFinding
from launcher.scripts.legal import contradicting, unreadable
from launcher.scripts.rules import environment, limits, loaders, ranks, starters, survival

__all__ = ["RULES", "Rule"]

Rule = Callable[[Case], Iterator[ScriptFinding]]


def of_text(case: Case) -> Iterator[ScriptFinding]:
    """What sbatch or the shell stumbles over."""
    yield from case.script.findings
    yield from unreadable(case.script.directives)
    yield from contradicting(case.script.directives)


RULES: tuple[Rule, ...] = (
    of_text,
    *ranks.RULES,
    *starters.RULES,
    *environment.RULES,
    *loaders.RULES,
    *limits.RULES,
    *survival.RULES,
)
"""All rules, causes first."""
