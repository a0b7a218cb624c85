"""The options of a run: what each place would mean for it, and which is best. Pure, but for `show`.

An option that SLURM would refuse, that breaks a limit or that does not fit into memory is kept
and says so; it is never chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from launcher.errors import one_of
from launcher.estimates.duration import Duration
from launcher.estimates.throughput import Pace
from launcher.planning.candidates import Candidate
from launcher.scheduler.starts import Start
from launcher.settings import PartitionConfig
from launcher.topology import Shape

if TYPE_CHECKING:
    from launcher.submit import Submission

OBJECTIVES = ("finish", "gpu_hours")
NOT_MEASURED = "not measured"
_SAME_S = 1.0
_UNASKED = Start(reason="not asked")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of a node or of a GPU [GB]; None is unknown."""

    peak_gb: float | None = None
    """Predicted, without margin."""
    with_margin_gb: float | None = None
    limit_gb: float | None = None
    fits: bool | None = None

    @property
    def headroom_gb(self) -> float | None:
        """What would stay free."""
        if self.peak_gb is None or self.limit_gb is None:
            return None
        return self.limit_gb - self.peak_gb

    def problem(self, what: str) -> str:
        """Why it is too little, in a few words; empty if it is not, or nobody knows."""
        needed_gb = self.with_margin_gb or self.peak_gb
        if self.fits is not False or needed_gb is None:
            return ""
        return f"does not fit: {what} needs {needed_gb:.3g} GB, has {self.limit_gb:.4g} GB"


_UNKNOWN = Memory()


@dataclass(frozen=True, kw_only=True)
class Option:
    """One place and shape, and what is known of a run there. Times are from now on [s]."""

    candidate: Candidate
    start: Start = _UNASKED
    wait_s: float | None = None
    """Until the job starts; of an array, until its first run does."""
    pace: Pace | None = None
    duration: Duration | None = None
    memory: Memory = _UNKNOWN
    """Of a node."""
    gpu_memory: Memory = _UNKNOWN
    """Of a GPU."""
    problem: str = ""
    """Why a run cannot go there."""
    verdict: str = ""
    is_chosen: bool = False

    @property
    def partition(self) -> str | None:
        """Its partition; None is the site's default."""
        return self.candidate.partition

    @property
    def shape(self) -> Shape | None:
        """Its shape; None where it could have none."""
        return self.candidate.shape

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return self.candidate.gpus

    @property
    def profile(self) -> PartitionConfig:
        """What the site's profile says of its partition."""
        cluster = self.candidate.settings.cluster
        return cluster.partitions.get(self.partition or "", PartitionConfig())

    @property
    def total_s(self) -> float | None:
        """Time of all its jobs together."""
        return None if self.duration is None else self.duration.total_s

    @property
    def lives(self) -> int:
        """Jobs that it takes."""
        return 1 if self.duration is None else self.duration.lives

    @property
    def finish_s(self) -> float | None:
        """When it is done; a run that is put back into the queue waits as long again."""
        if self.total_s is None or self.wait_s is None:
            return None
        return self.total_s + self.lives * self.wait_s

    @property
    def gpu_hours(self) -> float | None:
        """GPU-hours of all its jobs."""
        return None if self.total_s is None else self.gpus * self.total_s / 3600


def judged(options: Sequence[Option], objective: str) -> list[Option]:
    """Options with their verdicts: the chosen one, then what is done soonest, then what is none.

    Raises:
        ConfigError: there is no such objective.
    """
    one_of("cluster.objective", objective, OBJECTIVES)
    chosen, why = _best([option for option in options if not option.problem], objective)
    ranked = sorted(options, key=lambda option: (option is not chosen, _rank(option)))
    return [
        replace(option, is_chosen=option is chosen, verdict=_verdict(option, chosen, why))
        for option in ranked
    ]


def _best(fitting: Sequence[Option], objective: str) -> tuple[Option | None, str]:
    timed = [option for option in fitting if option.finish_s is not None]
    if objective == "gpu_hours" and timed:
        return min(timed, key=_by_gpu_hours), "fewest GPU-hours"
    if timed:
        return min(timed, key=_by_finish), "earliest finish"
    started = [option for option in fitting if option.wait_s is not None]
    if started:
        return min(started, key=_by_start), "earliest start"
    return None, ""


def _by_finish(option: Option) -> tuple[float, bool, float, float]:
    """Of options that are done within the same minute, what nobody interrupts, then the cheaper."""
    finish_s = _or_inf(option.finish_s)
    gpu_hours = _or_inf(option.gpu_hours)
    return finish_s // 60, option.profile.is_preemptible, gpu_hours, finish_s


def _by_gpu_hours(option: Option) -> tuple[float, bool, float]:
    hours = round(_or_inf(option.gpu_hours), 2)
    return hours, option.profile.is_preemptible, _or_inf(option.finish_s)


def _by_start(option: Option) -> tuple[bool, float, bool, float, float]:
    """Where no duration is known: what is asked for, then the start, then the profile's speed."""
    is_other = not option.candidate.is_asked
    listed = option.profile
    wait_min = _or_inf(option.wait_s) // 60
    return is_other, wait_min, listed.is_preemptible, option.gpus, -(listed.speed or 0.0)


def _or_inf(value: float | None) -> float:
    return float("inf") if value is None else value


def _rank(option: Option) -> tuple[bool, float, float, int]:
    return bool(option.problem), _or_inf(option.finish_s), _or_inf(option.wait_s), option.gpus


def _verdict(option: Option, chosen: Option | None, why: str) -> str:
    if option.problem:
        return option.problem
    more = f"; takes {option.lives} jobs" if option.lives > 1 else ""
    more += "; can be preempted" if option.profile.is_preemptible else ""
    unknown = f"; {NOT_MEASURED}" if option.pace is None else ""
    if option is chosen:
        return f"{why}{unknown}{more}"
    if option.wait_s is None:
        return f"start unknown: {option.start.reason}"
    return f"{_behind(option, chosen)}{unknown}{more}".removeprefix("; ")


def _behind(option: Option, chosen: Option | None) -> str:
    """How much later than the chosen one it is done."""
    if chosen is None or option.finish_s is None or chosen.finish_s is None:
        return ""
    later_s = option.finish_s - chosen.finish_s
    if abs(later_s) < _SAME_S:
        return "at the same time"
    return f"{span(abs(later_s))} {'later' if later_s > 0 else 'sooner'}"


def span(seconds: float) -> str:
    """A time in the unit that suits it: `40 s`, `12 min`, `6.5 h`, `3.3 d`."""
    for limit_s, unit_s, name in ((90, 1, "s"), (5400, 60, "min"), (172800, 3600, "h")):
        if seconds < limit_s:
            value = seconds / unit_s
            return f"{value:.0f} {name}" if name != "h" else f"{value:.1f} h"
    return f"{seconds / 86400:.1f} d"


def show(submission: Submission) -> None:
    """Print the options of the runs of a command, those of equal need together.

    Raises:
        SubmissionError: there is no SLURM to ask.
    """
    from launcher.planning import answering

    answering.show(submission)
