"""Compares the places that a run could go to: SLURM says when, earlier attempts say how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launcher import measures
from launcher.compose import WantedRun
from launcher.estimates import memory
from launcher.estimates.duration import Duration, Work, duration, overheads_in
from launcher.estimates.throughput import Hardware, Pace, estimate, hardware_of
from launcher.measures import Measure
from launcher.partitions import placed
from launcher.planning.candidates import Candidate
from launcher.planning.options import Memory, Option, judged
from launcher.planning.questions import Question
from launcher.records import Place
from launcher.scheduler import starts
from launcher.scheduler.base import Job
from launcher.scheduler.client import SlurmClient, require_commands
from launcher.scheduler.slurm import SlurmScheduler, parameters_of
from launcher.scheduler.starts import Start
from launcher.settings import ClusterConfig, StudyLauncherConf

_TOKEN = "0" * 12
"""Stands in scripts that are only asked about."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The options of runs that ask the same, and which of them is best."""

    runs: tuple[str, ...]
    """Names of the runs."""
    objective: str
    options: list[Option]
    """Best first, those that are none last."""
    has_measures: bool
    work: Work | None
    """What is left to be done; None where nobody knows."""

    @property
    def chosen(self) -> Option | None:
        """The best one; None where a run can go nowhere."""
        return next((option for option in self.options if option.is_chosen), None)

    def says_what(self, other: Comparison) -> bool:
        """Whether another comparison comes to the same, for other runs."""
        return [_told(o) for o in self.options] == [_told(o) for o in other.options]


def _told(option: Option) -> tuple[object, ...]:
    return (
        option.partition,
        option.shape,
        option.start,
        option.pace,
        option.duration,
        option.memory,
        option.verdict,
    )


class Comparer:
    """Compares for one command; SLURM is asked once about equal scripts."""

    def __init__(self) -> None:
        self._starts: dict[str, Start] = {}

    def compare(
        self, question: Question, runs: Sequence[str], *, compares: bool, together: int = 1
    ) -> Comparison:
        """Ask and estimate, for each place that runs of a question could go to.

        Args:
            question: What they ask.
            runs: Their names.
            compares: Whether other numbers of GPUs than those asked for are of interest.
            together: Runs that would be sent as one array.

        Raises:
            ConfigError: the objective is none, or a number of GPUs is negative.
            SubmissionError: there is no SLURM on this machine.
        """
        require_commands()
        known = measures.remembered(question.profile_dir)
        found = question.candidates(compares=compares)
        said = self._ask(question.settings, found, together)
        estimates = _Estimates(question=question, measures=known, work=question.work(known))
        now_s = starts.now_s()
        options = [
            Option(candidate=one, problem=one.problem)
            if start is None
            else estimates.option(one, start, now_s)
            for one, start in zip(found, said, strict=True)
        ]
        objective = question.settings.cluster.objective
        return Comparison(
            runs=tuple(runs),
            objective=objective,
            options=judged(options, objective),
            has_measures=any(measure.samples_per_s for measure in known),
            work=estimates.work,
        )

    def _ask(
        self, settings: StudyLauncherConf, found: Sequence[Candidate], together: int
    ) -> list[Start | None]:
        """When each candidate would start; None for those that are out of question."""
        scheduler = scheduler_of(settings)
        scripts = [None if c.problem else _script(scheduler, c, together) for c in found]
        new = [s for s in dict.fromkeys(scripts) if s is not None and s not in self._starts]
        self._starts.update(zip(new, starts.ask(scheduler.client, new), strict=True))
        return [None if script is None else self._starts[script] for script in scripts]


def _script(scheduler: SlurmScheduler, candidate: Candidate, together: int) -> str:
    assert candidate.shape is not None
    job = Job(
        key="",
        name=candidate.settings.name,
        shape=candidate.shape,
        parameters=parameters_of(candidate.settings, candidate.shape),
    )
    length = len(scheduler.groups([job] * together)[0])
    return scheduler.script(job, _TOKEN, (0, length - 1) if length > 1 else None)


def scheduler_of(settings: StudyLauncherConf) -> SlurmScheduler:
    """The SLURM that settings lead to, to ask it; nothing is sent to it."""
    return SlurmScheduler(
        folder=Path(settings.submitit_folder).absolute(),
        client=SlurmClient(variables=dict(settings.cluster.environment)),
        max_array_size=settings.cluster.max_array_size,
    )


@dataclass(frozen=True, kw_only=True)
class _Estimates:
    """What earlier attempts say of a place."""

    question: Question
    measures: Sequence[Measure]
    work: Work | None

    def option(self, candidate: Candidate, start: Start, now_s: float) -> Option:
        pace = self._pace(candidate)
        run = self.question.run_at(candidate)
        found = self._memory(run)
        card = self._gpu_memory(run)
        problems = (
            f"SLURM refuses it: {start.reason}" if start.is_refused else "",
            found.problem("a node"),
            card.problem("a GPU"),
        )
        return Option(
            candidate=candidate,
            start=start,
            wait_s=start.delay_s(now_s),
            pace=pace,
            duration=self._duration(candidate, pace),
            memory=found,
            gpu_memory=card,
            problem=next(filter(None, problems), ""),
        )

    def _pace(self, candidate: Candidate) -> Pace | None:
        assert candidate.shape is not None
        hardware = _hardware(candidate.settings.cluster, has_gpus=candidate.gpus > 0)
        speeds = speeds_of(self.question.settings.cluster, has_gpus=candidate.gpus > 0)
        return estimate(self.measures, hardware, candidate.shape.world_size, speeds)

    def _duration(self, candidate: Candidate, pace: Pace | None) -> Duration | None:
        if pace is None or self.work is None:
            return None
        assert candidate.shape is not None
        settings = candidate.settings
        return duration(
            pace,
            self.work,
            overheads_in(self.measures),
            limit_s=candidate.shape.timeout_min * 60,
            checkpoint_every_s=settings.recovery.checkpoint_every_min * 60,
        )

    def _memory(self, run: WantedRun) -> Memory:
        answer = memory.host_memory(run, self.measures)
        budget = answer.budget
        return Memory(
            peak_gb=answer.peak_gb,
            with_margin_gb=budget.with_margin_gb if budget is not None else None,
            limit_gb=answer.limit_gb,
            fits=answer.fits,
        )

    def _gpu_memory(self, run: WantedRun) -> Memory:
        if not run.shape.gpus_per_node:
            return Memory()
        answer = memory.gpu_memory(run, self.measures)
        return Memory(peak_gb=answer.peak_gb, limit_gb=answer.limit_gb, fits=answer.fits)


def _hardware(cluster: ClusterConfig, *, has_gpus: bool) -> Hardware:
    place = Place(
        cluster=cluster.name,
        partition=cluster.partition,
        gpu_type=cluster.gpu_type if has_gpus else None,
    )
    # As of an attempt: GPUs without a type are told apart by their partition.
    is_real = has_gpus and cluster.accelerator == "gpu"
    return hardware_of(place, has_gpus=is_real or place.gpu_type is not None)


def speeds_of(cluster: ClusterConfig, *, has_gpus: bool) -> dict[Hardware, float]:
    """Relative speeds that a profile knows, by hardware."""
    found: dict[Hardware, float] = {}
    for name, partition in cluster.partitions.items():
        if partition.speed:
            there = placed(replace(cluster, partition=name))
            found.setdefault(_hardware(there, has_gpus=has_gpus), partition.speed)
    return found
