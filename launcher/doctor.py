"""Why a run is where it is: what happened, how we know, what was done, what to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from launcher.records import Action, Adjustments, AttemptRecord, Outcome, VerdictRecord
from launcher.states import RunStatus

HAPPENED: Mapping[Outcome, str] = {
    "completed": "The task returned, and its last checkpoint is on disk.",
    "walltime": "The time limit of the job came before the training had ended.",
    "preempted": "The cluster took the node away for a job of higher priority.",
    "node_failure": "A node went down, or lost its connection to the cluster.",
    "host_oom": "A node ran out of host memory, and the kernel ended a process of the run.",
    "gpu_oom": "A GPU ran out of memory.",
    "rendezvous": "Not all ranks came together at the start.",
    "hang": "Training stood still: no rank made a step for much longer than usual.",
    "crash": "A process of the run died of a signal, or without a word.",
    "disk_full": "The disk, or the quota on it, was full when the run wrote a file.",
    "launch_failure": "The cluster could not start the run on its nodes.",
    "task_error": "The task itself raised an exception.",
    "cancelled": "Somebody cancelled it.",
}
_ADVICE: Mapping[Outcome, str] = {
    "walltime": "Ask for more time (resources.timeout_min), or let it save more often"
    " (recovery.checkpoint_every_min).",
    "preempted": "Use a partition that is not preempted, or issue the study's command again.",
    "node_failure": "Issue the study's command again; nodes that fail twice are left out.",
    "host_oom": "Ask for more memory (resources.mem_gb), or have fewer dataloader workers: they"
    " multiply with the GPUs of a node.",
    "gpu_oom": "Give recovery.micro_batch_key the config key of the micro-batch size, or lower it"
    " yourself; the effective batch can stay.",
    "rendezvous": "Look at the ranks and nodes that are named. If they only needed longer, raise"
    " recovery.rendezvous_timeout_s.",
    "hang": "Read the stacks of the ranks that are named in the run's attempts folder.",
    "crash": "Read the last lines of `launch logs`; a crash that comes back is a bug of the task or"
    " of a library.",
    "disk_full": "Free space where the outputs lie, then `launch retry`: it goes on from the last"
    " checkpoint.",
    "launch_failure": "Tell the people who run the cluster which node refused, or leave it out with"
    " hydra.launcher.exclude.",
    "task_error": "Mend the task. The same command sends the run again once its code or config has"
    " changed.",
    "cancelled": "`launch retry` brings it back.",
}
_DONE: Mapping[Action, str] = {
    "none": "Nothing was needed.",
    "requeue": "The same job was queued again.",
    "requeue_changed": "The same job was changed and queued again.",
    "stop": "Nothing more: the run was left as it is.",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One life of a run, explained."""

    title: str
    happened: str
    known_by: Sequence[str] = ()
    done: Sequence[str] = ()
    todo: str = ""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All lives of a run, and where it stands."""

    name: str
    stands: str
    lives: list[Finding] = field(default_factory=list)


def diagnose(
    run: RunStatus, lives: Sequence[AttemptRecord], verdicts: Sequence[VerdictRecord]
) -> Diagnosis:
    """Explain a run from its records; `verdicts` may lack some lives, and name others."""
    by_attempt = {verdict.attempt: verdict for verdict in verdicts}
    by_record = {life.attempt: life for life in lives}
    names = sorted({*by_attempt, *by_record})
    found = [
        _explain(run, by_record.get(name), by_attempt.get(name), is_last=name == names[-1])
        for name in names
    ]
    reason = f": {run.reason}" if run.reason else ""
    return Diagnosis(name=run.name, stands=f"{run.state}{reason}", lives=found)


def _explain(
    run: RunStatus, life: AttemptRecord | None, verdict: VerdictRecord | None, *, is_last: bool
) -> Finding:
    outcome = verdict.outcome if verdict else life.outcome if life else None
    finding = Finding(title=_title(life, verdict), happened=_happened(run, outcome, is_last))
    known = list(verdict.evidence) if verdict else []
    if life is not None and life.error and not any(life.error in said for said in known):
        known.append(f"the task's last words: {life.error}")
    return Finding(
        title=finding.title,
        happened=finding.happened,
        known_by=known,
        done=_done(verdict) if verdict else [],
        todo=_todo(run, outcome, verdict) if is_last else "",
    )


def _title(life: AttemptRecord | None, verdict: VerdictRecord | None) -> str:
    if life is None:
        assert verdict is not None
        return f"attempt {verdict.attempt}, job {verdict.job_id}, which never started a rank"
    place = f"attempt {life.attempt}, job {life.job_id} on {life.host}"
    step = f"from step {life.resumed_step or 0}"
    if life.ended is None:
        return f"{place}, {step}"
    began, ended = (datetime.fromisoformat(stamp) for stamp in (life.started, life.ended))
    return f"{place}, {(ended - began).total_seconds() / 60:.0f} min {step}"


def _happened(run: RunStatus, outcome: Outcome | None, is_last: bool) -> str:
    if is_last and _is_interrupted(run, outcome):
        return "The command that waited for it was interrupted (ctrl-C)."
    if outcome is not None:
        return HAPPENED[outcome]
    if is_last and run.state == "running":
        return "It is running."
    return "It ended without a word, and nobody has looked into it yet."


def _is_interrupted(run: RunStatus, outcome: Outcome | None) -> bool:
    """What `launch cancel` cancelled is not to go on."""
    return outcome == "cancelled" and run.is_lost


def _done(verdict: VerdictRecord) -> list[str]:
    saved = verdict.saved_step
    done = [f"Step {saved} is saved."] if saved is not None else ["No checkpoint was saved."]
    if verdict.failure and verdict.acted:
        done.append(f"The same job was queued again, but not changed: {verdict.failure}")
    elif verdict.failure:
        done.append(f"It should have been queued again, but: {verdict.failure}")
    else:
        done.append(_DONE[verdict.action])
    changes = [] if verdict.failure else _changes(verdict)
    return done + ([f"Why: {verdict.note}."] if verdict.note else []) + changes


def _changes(verdict: VerdictRecord) -> list[str]:
    return [f"The next life has {text}." for text in describe(verdict.adjustments)]


def describe(adjustments: Adjustments) -> list[str]:
    """What an attempt changes of its submission, one change each."""
    changed = [f"{key}={value}" for key, value in adjustments.config.items()]
    if adjustments.mem_gb is not None:
        changed.append(f"{adjustments.mem_gb:g} GB of memory per node")
    if adjustments.exclude:
        changed.append(f"no {', '.join(adjustments.exclude)}")
    return changed


def _todo(run: RunStatus, outcome: Outcome | None, verdict: VerdictRecord | None) -> str:
    if verdict is not None and verdict.failure and not verdict.acted:
        return "`launch resume` does what could not be done."
    if run.state in ("running", "pending", "waiting", "completed") or outcome == "completed":
        return "Nothing."
    if _is_interrupted(run, outcome):
        return "The same command goes on with it; so does `launch resume`."
    if outcome is None:
        return "`launch resume` looks into it and sends it again."
    return _ADVICE[outcome]
