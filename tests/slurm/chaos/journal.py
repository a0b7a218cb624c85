"""What a run of the chaos project wrote about itself, and what follows from it."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Journal:
    """One look at the files of a run."""

    ranks: list[dict[str, Any]]
    """A line per start of a rank: life, rank, pid, host."""

    steps: list[dict[str, Any]]
    """A line per executed optimizer step: life, step, time."""

    result: dict[str, Any] | None
    """Hashes of the final state; None while it has not finished."""

    @classmethod
    def of(cls, run_dir: Path) -> "Journal":
        """Read what is there by now."""
        result = run_dir / "result.json"
        return cls(
            ranks=_lines(run_dir / "ranks.jsonl"),
            steps=_lines(run_dir / "steps.jsonl"),
            result=json.loads(result.read_text()) if result.exists() else None,
        )

    @property
    def lives(self) -> list[str]:
        """The lives in which any rank started, oldest first."""
        return list(dict.fromkeys(line["life"] for line in self.ranks))

    @property
    def steps_lost(self) -> int:
        """How often an optimizer step was executed that had been executed before."""
        return len(self.steps) - self.steps_reached

    @property
    def steps_reached(self) -> int:
        """How many different optimizer steps were executed."""
        return len({line["step"] for line in self.steps})

    @property
    def overlaps(self) -> list[tuple[str, str]]:
        """Lives that executed steps after a later one had begun, each with that one."""
        lives = self.lives
        return [
            (earlier, later)
            for earlier, later in pairwise(lives)
            if self._last_step_s(earlier) > self._began_s(later)
        ]

    def _began_s(self, life: str) -> float:
        return float(min(line["time"] for line in self.ranks if line["life"] == life))

    def _last_step_s(self, life: str) -> float:
        times = (float(line["time"]) for line in self.steps if line["life"] == life)
        return max(times, default=0.0)

    def steps_of(self, life: str) -> list[int]:
        """Steps that a life executed, in order."""
        return [line["step"] for line in self.steps if line["life"] == life]

    def pids_of(self, life: str) -> dict[int, int]:
        """Rank to process id, as the lab numbers processes."""
        return {line["rank"]: line["pid"] for line in self.ranks if line["life"] == life}

    def hosts_of(self, life: str) -> dict[int, str]:
        """Rank to node."""
        return {line["rank"]: line["host"] for line in self.ranks if line["life"] == life}


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    # The last line may be half written.
    whole, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]
