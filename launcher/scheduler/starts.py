"""When SLURM would start a job: `sbatch --test-only` of the very script that would be sent."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from launcher.scheduler.client import Answer, SlurmClient, is_submit_limit

MOST_QUESTIONS = 48
"""Scripts that are asked about by one command; slurmctld has other work."""
_AT_ONCE = 4
_TIMEOUT_S = 20.0
_START = re.compile(r"\bto start at (\S+)")
_NO_ANSWER = re.compile(
    r"timed out|Unable to contact|Zero Bytes|[Cc]onnection|configuration source|try again later"
)
_NODES = re.compile(r"\bon nodes (\S+)")


@dataclass(frozen=True, kw_only=True)
class Start:
    """When a job would start, as far as SLURM says."""

    at_s: float | None = None
    """Seconds since the epoch; None is unknown."""
    nodes: str = ""
    """Where, in SLURM's notation."""
    reason: str = ""
    """Why it is unknown."""
    is_refused: bool = False
    """Whether SLURM would not take the job."""

    def delay_s(self, now_s: float) -> float | None:
        """Time until then [s]; none where it could start at once."""
        return None if self.at_s is None else max(0.0, self.at_s - now_s)


def ask(client: SlurmClient, scripts: Sequence[str]) -> list[Start]:
    """Ask when each script would start; those beyond MOST_QUESTIONS are not asked about."""
    asked = scripts[:MOST_QUESTIONS]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        starts = list(pool.map(lambda script: _ask(client, script), asked))
    unasked = Start(reason=f"only {MOST_QUESTIONS} questions are put to SLURM at once")
    return [*starts, *[unasked] * (len(scripts) - len(asked))]


def _ask(client: SlurmClient, script: str) -> Start:
    # A format of the user's own, such as `relative`, would leave out the day.
    command = ["env", "SLURM_TIME_FORMAT=standard", "sbatch", "--test-only"]
    return read(client.run(command, text=script, submits=True, timeout_s=_TIMEOUT_S))


def read(answer: Answer) -> Start:
    """Understand what `sbatch --test-only` says; SLURM 20 to 25 say it in the same words."""
    if answer.returncode is None:
        return Start(reason=f"SLURM gave no answer in {_TIMEOUT_S:g} s")
    said = f"{answer.stderr}\n{answer.stdout}"
    found = _START.search(said)
    if answer.returncode == 0 and found is not None:
        nodes = _NODES.search(said)
        at_s = _moment_s(found.group(1))
        reason = "" if at_s is not None else f"`{found.group(1)}` is no time"
        return Start(at_s=at_s, nodes=nodes.group(1) if nodes else "", reason=reason)
    if answer.returncode == 0:
        return Start(reason="SLURM takes it, and does not say when it would start")
    if is_submit_limit(answer.stderr):
        return Start(reason=f"not asked now: {answer.reason}")
    is_refused = _NO_ANSWER.search(answer.stderr) is None
    return Start(reason=_complaint(answer.reason), is_refused=is_refused)


def _complaint(line: str) -> str:
    """A line of sbatch without its own name."""
    return re.sub(r"^(sbatch: )?(error: |allocation failure: )?", "", line) or "no reason given"


def _moment_s(stamp: str) -> float | None:
    """Seconds since the epoch; sbatch writes the local time of where it runs, which is here."""
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return None


def now_s() -> float:
    """Seconds since the epoch."""
    return time.time()
