"""How the lives of a run went and what its checkpoints cover, from its records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launcher import store


def saved_step(run_dir: Path) -> int | None:
    """Optimizer steps that the newest resume checkpoint of a run's first training holds."""
    folder = run_dir / "checkpoints" / "resume" / "fit-00"
    steps = (path.stem.removeprefix("step-") for path in folder.glob("step-*.json"))
    return max((int(step) for step in steps if step.isdigit()), default=None)


def numbers(run_dir: Path) -> dict[str, int]:
    """Attempt -> which life of the run it is, from 1."""
    return {life.attempt: number for number, life in enumerate(store.attempts(run_dir), 1)}


def of_run(run_dir: Path) -> list[dict[str, Any]]:
    """The lives of a run as plain values, oldest first, without folders."""
    verdicts = {verdict.attempt: verdict for verdict in store.verdicts(run_dir)}
    found = []
    for number, life in enumerate(store.attempts(run_dir), 1):
        verdict = verdicts.get(life.attempt)
        found.append(
            {
                "life": number,
                "attempt": life.attempt,
                "outcome": (verdict.outcome if verdict else life.outcome) or life.stop_signal,
                "why": verdict.note if verdict else "",
                "started": life.started,
                "ended": life.ended,
                "resumed_step": life.resumed_step,
                "saved_step": verdict.saved_step if verdict else life.saved_step,
                "job": life.job_id,
                "node": life.host,
            }
        )
    return found
