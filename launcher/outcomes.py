"""Why an attempt ended, from evidence of which any part may be missing. Pure.

A signal alone decides nothing: scancel, preemption with grace, the time limit and the end of
another rank all send SIGTERM. What decides is in `classify`, strongest first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from launcher.beats import Alarm, Beat
from launcher.records import AttemptRecord, CancelRecord, Outcome
from launcher.scheduler.facts import Account, JobFacts

USER_SIGNALS = ("SIGUSR1", "SIGUSR2")
"""Signals that SLURM sends because it was asked to: ahead of the time limit, or of a preemption."""
EARLY_S = 90.0
"""SLURM may announce the time limit so much earlier than it was asked to, and more."""
_SLURM_LINE = re.compile(r"^(?:slurmstepd|srun|slurmd|sbatch)\S*?:", re.MULTILINE)
_JOB_ENDED = re.compile(r"\*\*\* JOB \S+ ON \S+ CANCELLED AT (\S+?)(?: DUE TO (.+?))? \*\*\*")
_STEP_ENDED = re.compile(r"\*\*\* STEP \S+ ON \S+ CANCELLED AT \S+? DUE TO (.+?) \*\*\*")
_OUT_OF_MEMORY = re.compile(r"task.*: Out Of Memory|[Dd]etected \d+ oom.kill event")
_TASK_ENDED = re.compile(r"error: (\S+): tasks? ([\d,-]+): (.+)")
_NO_STEP = re.compile(
    r"Unable to create step|[Tt]ask launch for .* failed|Unable to confirm allocation"
    r"|[Tt]ask launch failed|Application launch failed|couldn't chdir|execve\(\)|Unable to launch"
)
_NODE_OF_LAUNCH = re.compile(r"(?:failed on node|error:) ([A-Za-z][\w.-]*\d[\w.-]*)\b")
_BY_SIGNAL = re.compile(r"Killed|Segmentation fault|Aborted|Bus error|Floating point|Illegal ins")
_NO_FAULT = re.compile(r"Terminated|exit code 7[56]\b|exit code 143\b")
"""Ends of tasks that somebody else brought about."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of an attempt that has ended, or is ending."""

    attempt: str
    world_size: int = 1
    """Ranks that it should have had."""
    started_s: float | None = None
    """When it began, in seconds since the epoch."""
    limit_min: float | None = None
    """Time limit that was asked for [min]."""
    lead_s: float = 0.0
    """How long before the time limit the scheduler announces it [s]."""
    cancelled: CancelRecord | None = None
    """Marker of `launch cancel` for this sending."""
    record: AttemptRecord | None = None
    """Of rank 0."""
    others: Mapping[int, AttemptRecord] = field(default_factory=dict)
    """Records of other ranks, which write one when the task has returned or failed."""
    job: JobFacts | None = None
    account: Account | None = None
    is_inside: bool = False
    """Whether who concludes runs in that very life, so that its first node is not lost."""
    oom_kills: int = 0
    """Processes of the job on this node that the kernel killed."""
    beats: Mapping[int, Beat] = field(default_factory=dict)
    alarm: Alarm | None = None
    """What the watch of a rank found out before it ended all."""
    fused: Sequence[int] = ()
    """Ranks that a timer ended, because a call kept Python from going on."""
    log: str = ""
    """What the batch script and SLURM wrote during this life."""
    nodes: tuple[str, ...] = ()
    """Nodes of this life."""
    away: tuple[str, ...] = ()
    """Those of them that SLURM has lost."""
    seen: Mapping[Outcome, Sequence[str]] = field(default_factory=dict)
    """What whoever started the ranks saw, a sentence each, by the outcome that it stands for."""
    silent: Sequence[str] = ()
    """Sources that did not answer, a sentence each."""

    @property
    def restart(self) -> int:
        """How often the job had been requeued before this life."""
        return int(self.attempt.partition("-")[2])

    @property
    def is_requeued(self) -> bool:
        """Whether somebody, mostly SLURM itself, has requeued the job since."""
        return self.job is not None and self.job.restarts > self.restart

    @property
    def now(self) -> JobFacts | None:
        """The job, while it is still in this life."""
        return None if self.is_requeued else self.job

    @property
    def stop_signal(self) -> str | None:
        """The signal that asked rank 0 to stop, else another rank."""
        signals = [self.record.stop_signal] if self.record else []
        signals += [record.stop_signal for record in self.others.values()]
        signals += [beat.signal for _, beat in sorted(self.beats.items())]
        return next((name for name in signals if name), None)

    @property
    def is_completed(self) -> bool:
        """Whether the task returned on all ranks."""
        record = self.record
        if record is None or record.outcome != "completed":
            return False
        told = {rank for rank, other in self.others.items() if other.outcome == "completed"}
        return told == set(self.others) and told >= set(range(1, record.world_size))

    @property
    def has_stopped_as_asked(self) -> bool:
        """Whether the task left when it was asked to, with its work saved."""
        record = self.record
        if record is None or record.ended is None or record.error is not None:
            return False  # it was ended, by its own watch for instance
        return record.outcome is None and record.stop_signal is not None

    def slurm_lines(self) -> list[str]:
        """The lines of the log that SLURM itself wrote: a task may print what it likes."""
        return [line for line in self.log.splitlines() if _SLURM_LINE.match(line)]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Why an attempt ended, and how that is known."""

    outcome: Outcome
    evidence: tuple[str, ...]
    suspects: tuple[str, ...] = ()
    """Nodes that are likely to be the cause."""
    is_known: bool = True
    """Whether any evidence names the outcome; else it left without a word."""


Sentences = list[str]
_Rule = Callable[[Evidence], Finding | None]


def classify(evidence: Evidence) -> Finding:
    """Name the outcome: the first rule that finds something decides."""
    rules: tuple[_Rule, ...] = (
        _cancelled,
        _walltime,
        _preempted,
        _node_failure,
        _cancelled_by_exclusion,
        _user_signal,
        _out_of_memory,
        _alarm,
        _locked,
        _failed_while_requeued,
        _rank_failure,
        _requeued,
        _task_killed,
        _never_started,
        _asked_by_another,
    )
    found = next((finding for rule in rules if (finding := rule(evidence))), None)
    if found is None:
        words = ("it left without a word; why is unknown",)
        found = Finding(outcome="crash", evidence=words, is_known=False)
    more = [*_contradicted(evidence, found), *evidence.silent]
    return replace(found, evidence=(*found.evidence, *more))


def _found(
    outcome: Outcome, sentences: Iterable[str], suspects: Sequence[str] = ()
) -> Finding | None:
    """A finding, if there is any sentence for it."""
    evidence = tuple(sentences)
    return (
        Finding(outcome=outcome, evidence=evidence, suspects=tuple(suspects)) if evidence else None
    )


def _cancelled(e: Evidence) -> Finding | None:
    said: Sentences = [*e.seen.get("cancelled", ())]
    if e.cancelled is not None:
        said.append(f"cancelled.json: it was cancelled at {e.cancelled.time}")
    if e.account is not None and e.account.state.startswith("CANCELLED"):
        said.append(f"sacct: the job is {e.account.state}")
    if e.now is not None and e.now.state == "CANCELLED":
        said.append("scontrol: the job is CANCELLED")
    if e.record is not None and e.record.outcome == "cancelled":
        said.append("rank 0 was interrupted from the keyboard")
    return _found("cancelled", said)


def _walltime(e: Evidence) -> Finding | None:
    said: Sentences = [*e.seen.get("walltime", ())]
    if e.now is not None and e.now.reason == "TimeLimit":
        said.append("scontrol: the job has Reason=TimeLimit")
    if e.now is not None and e.now.state in ("TIMEOUT", "DEADLINE"):
        said.append(f"scontrol: the job is {e.now.state}")
    if e.account is not None and e.account.state in ("TIMEOUT", "DEADLINE"):
        said.append(f"sacct: the job is {e.account.state}")
    said += _log_says(e, "TIME LIMIT")
    left_s = _left_at_stop_s(e)
    is_announced = e.stop_signal in USER_SIGNALS and not (e.now is not None and e.now.is_preempted)
    if is_announced and left_s is not None and left_s <= e.lead_s + EARLY_S:
        said.append(f"it was asked to stop by {e.stop_signal}, {_before_limit(left_s)}")
    if e.stop_signal == "TIME":
        said.append("its time was running out, no signal came")
    return _found("walltime", said)


def _preempted(e: Evidence) -> Finding | None:
    said: Sentences = []
    if e.now is not None and e.now.is_preempted:
        said.append("scontrol: the job has a PreemptTime")
    if e.now is not None and e.now.state == "PREEMPTED":
        said.append("scontrol: the job is PREEMPTED")
    if e.account is not None and e.account.state == "PREEMPTED":
        said.append("sacct: the job is PREEMPTED")
    said += _log_says(e, "PREEMPTION")
    if not said and e.is_requeued:
        said += _log_says(e, "JOB REQUEUE")
    return _found("preempted", said)


def _node_failure(e: Evidence) -> Finding | None:
    said: Sentences = []
    if e.now is not None and (
        e.now.state in ("NODE_FAIL", "BOOT_FAIL") or e.now.reason == "NodeDown"
    ):
        said.append(f"scontrol: the job is {e.now.state}, Reason={e.now.reason or 'None'}")
    if e.account is not None and e.account.state in ("NODE_FAIL", "BOOT_FAIL"):
        said.append(f"sacct: the job is {e.account.state}")
    said += _log_says(e, "NODE FAILURE")
    if e.away:
        said.append(f"sinfo: SLURM has lost {', '.join(e.away)}")
    return _found("node_failure", said, e.away or (e.nodes if len(e.nodes) == 1 else ()))


def _cancelled_by_exclusion(e: Evidence) -> Finding | None:
    """What scancel looks like where no accounts name it."""
    if e.now is None or e.now.state != "COMPLETING" or e.now.reason:
        return None
    if e.stop_signal is None and not _plain_end_of_job(e):
        return None  # it is completing by itself
    return _found(
        "cancelled",
        [
            "scontrol: the job is COMPLETING without a reason, a PreemptTime or a restart,"
            " as after scancel",
            *_plain_end_of_job(e),
        ],
    )


def _user_signal(e: Evidence) -> Finding | None:
    """USR1 or USR2 long before the time limit: SLURM or a person wants the nodes."""
    if e.stop_signal not in USER_SIGNALS:
        return None
    left_s = _left_at_stop_s(e)
    when = "when its time limit comes is unknown" if left_s is None else _before_limit(left_s)
    return _found("preempted", [f"it was asked to stop by {e.stop_signal}, {when}"])


def _out_of_memory(e: Evidence) -> Finding | None:
    said: Sentences = [*e.seen.get("host_oom", ())]
    steps = e.account.steps if e.account is not None else {}
    for name, (state, code) in steps.items():
        if state == "OUT_OF_MEMORY" or code == "0:125":
            said.append(f"sacct: step {name} is {state} {code}")
    said += [f"log: {line}" for line in e.slurm_lines() if _OUT_OF_MEMORY.search(line)][:2]
    if e.oom_kills:
        said.append(f"cgroup: the kernel killed {e.oom_kills} processes of the job on this node")
    killed = {beat.host: beat.oom_kills for beat in e.beats.values() if beat.oom_kills}
    said += [f"heartbeat: the kernel killed {n} processes on {node}" for node, n in killed.items()]
    for record in _records(e):
        if record.outcome == "host_oom":
            said.append(f"{_rank(e, record)} on {record.host}: {record.error}")
    return _found("host_oom", said)


def _alarm(e: Evidence) -> Finding | None:
    if e.alarm is None or e.alarm.outcome is None:
        return None
    said = [f"watch of rank {e.alarm.rank}: {e.alarm.error}"]
    return _found(e.alarm.outcome, said, _nodes_of(e.alarm.missing))


def _locked(e: Evidence) -> Finding | None:
    """A hang in which not even the watch of the rank could speak."""
    said = f"stacks of {_count(e.fused)}: a call kept Python from going on, a timer ended the rank"
    hosts = [e.beats[rank].host for rank in e.fused if rank in e.beats]
    return _found("hang", [said] if e.fused else [], list(dict.fromkeys(hosts)))


def _nodes_of(ranks: Iterable[str]) -> Sequence[str]:
    """Nodes of ranks that are named like `rank 3 on gl002`."""
    return list(dict.fromkeys(rank.rpartition(" on ")[2] for rank in ranks if " on " in rank))


def _failed_while_requeued(e: Evidence) -> Finding | None:
    """Ranks that failed only after they were asked to stop, in a life that SLURM requeued."""
    failed = _failed(e)
    is_consequence = bool(failed) and all(record.stop_signal for record in failed)
    return _requeued(e) if is_consequence else None


def _rank_failure(e: Evidence) -> Finding | None:
    """The earliest failure; a rank that only lost a peer fails because of another."""
    failed = _failed(e)
    if not failed:
        return None
    # Whole seconds: of two that failed within one, the lower rank is named.
    first = min(failed, key=lambda r: (r.outcome == "crash", r.ended or ""))
    said = [f"{_rank(e, first)} on {first.host}: {first.error}"]
    if first.outcome is not None and first.outcome != "crash":
        return _found(first.outcome, said, _nodes_of(first.missing))
    killed = _task_killed(e)
    if killed is not None:
        return _found("crash", [*killed.evidence, *said], killed.suspects)
    return _found("crash", [*said, "which rank was lost first is unknown"])


def _requeued(e: Evidence) -> Finding | None:
    """SLURM has requeued the job, and nothing else says why it ended.

    A requeue by hand, or for another job, is no fault of a node: it would be avoided for it.
    """
    if not e.is_requeued or e.job is None:
        return None
    count = f"scontrol: the job was requeued, Restarts={e.job.restarts}"
    if e.stop_signal is not None:
        return _found("preempted", [count, f"it was asked to stop by {e.stop_signal}"])
    if e.account is not None and e.account.state == "REQUEUED":
        return _found("preempted", [count, "sacct: this life is REQUEUED, no node failed"])
    if e.is_inside:
        return _found("preempted", [count, "its batch script lived on, so its node did as well"])
    return _found(
        "node_failure",
        [count, "its batch script left no word, as when its first node is lost"],
        e.away or (e.nodes if len(e.nodes) == 1 else ()),
    )


def _task_killed(e: Evidence) -> Finding | None:
    """A task that a signal ended, or that left without a record."""
    ends = [
        (found.group(1), found.group(2), found.group(3), line)
        for line in e.slurm_lines()
        if (found := _TASK_ENDED.search(line)) and not _NO_FAULT.search(found.group(3))
    ]
    by_signal = [end for end in ends if _BY_SIGNAL.search(end[2])]
    for node, _, _, line in by_signal or (ends if e.beats or e.record else []):
        return _found("crash", [f"log: {line}"], (node,))
    return _found("crash", e.seen.get("crash", ()))


def _never_started(e: Evidence) -> Finding | None:
    if "launch_failure" in e.seen:
        return _found("launch_failure", e.seen["launch_failure"])
    if e.record is not None or e.others or e.beats:
        return None
    lines = [line for line in e.slurm_lines() if _NO_STEP.search(line)]
    ends = [line for line in e.slurm_lines() if _TASK_ENDED.search(line)]
    named = [m.group(1) for line in [*lines, *ends] if (m := _NODE_OF_LAUNCH.search(line))]
    suspects = [node for node in dict.fromkeys(named) if not e.nodes or node in e.nodes]
    said = ["no rank ever gave a sign of life", *(f"log: {line}" for line in (lines or ends)[:2])]
    return _found("launch_failure", said, suspects or (e.nodes if len(e.nodes) == 1 else ()))


def _asked_by_another(e: Evidence) -> Finding | None:
    """Ranks of this machine that saved because somebody sent them SIGTERM.

    On SLURM this says nothing: a run that was cancelled would be resurrected.
    """
    return _found("preempted", e.seen.get("preempted", ()))


def _contradicted(e: Evidence, found: Finding) -> Sentences:
    """What else shows, and did not decide."""
    said: Sentences = []
    if e.stop_signal and not any(e.stop_signal in sentence for sentence in found.evidence):
        said.append(f"it was asked to stop by {e.stop_signal}")
    for record in _records(e):
        own = record.error is not None and record.outcome not in ("completed", found.outcome)
        if own and not any(str(record.error) in sentence for sentence in found.evidence):
            said.append(f"{_rank(e, record)} on {record.host} then failed: {record.error}")
    unseen = sorted(set(range(e.world_size)) - set(e.beats))
    if e.beats and unseen:
        said.append(f"no sign of life ever came from {_count(unseen)}")
    return said


def _failed(e: Evidence) -> list[AttemptRecord]:
    return [r for r in _records(e) if r.outcome not in (None, "completed", "cancelled")]


def _records(e: Evidence) -> list[AttemptRecord]:
    own = [e.record] if e.record is not None else []
    return own + [record for _, record in sorted(e.others.items())]


def _rank(e: Evidence, record: AttemptRecord) -> str:
    if record is e.record:
        return "rank 0"
    return next(f"rank {rank}" for rank, known in e.others.items() if known is record)


def _count(ranks: Sequence[int]) -> str:
    shown = ", ".join(map(str, ranks[:8]))
    return f"ranks {shown}" + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")


def _log_says(e: Evidence, cause: str) -> Sentences:
    """Lines of SLURM that name why the job or its step was ended."""
    for line in e.slurm_lines():
        found = _JOB_ENDED.search(line)
        why = found.group(2) if found else None
        if why is None and (step := _STEP_ENDED.search(line)):
            why = step.group(1)
        if why is not None and why.startswith(cause):
            return [f"log: {line}"]
    return []


def _plain_end_of_job(e: Evidence) -> Sentences:
    lines = ((line, _JOB_ENDED.search(line)) for line in e.slurm_lines())
    return [f"log: {line}" for line, found in lines if found and found.group(2) is None][:1]


def _left_at_stop_s(e: Evidence) -> float | None:
    """How long before the time limit it stopped [s]; None where the limit is unknown."""
    end_s = e.now.limit_end_s if e.now is not None else None
    if end_s is None and e.started_s is not None and e.limit_min is not None:
        end_s = e.started_s + e.limit_min * 60
    ended = e.record.ended if e.record is not None else None
    if ended is None:  # its last sign of life is the best guess
        ended = max((beat.time for beat in e.beats.values()), default=None)
    if end_s is None or ended is None:
        return None
    return end_s - datetime.fromisoformat(ended).timestamp()


def _before_limit(left_s: float) -> str:
    if left_s < 0:
        return f"{-left_s:.0f} s after its time limit"
    left = f"{left_s:.0f} s" if left_s < 600 else f"{left_s / 60:.0f} min"
    return f"{left} before its time limit"
