"""Conclude an attempt: gather evidence, name the outcome, decide what follows, do it, once.

Called where an attempt ends: by rank 0 while the others wait for it, by the guard of the batch
script, by whoever controls local ranks, and by `launch resume` where none of them could.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher import files, gathering, nodes, store
from launcher.errors import StoreError, SubmissionError
from launcher.outcomes import Evidence, Finding, classify
from launcher.records import Outcome, SubmissionRecord, VerdictRecord
from launcher.recovery import Decision, Situation, decide
from launcher.scheduler.client import SlurmClient
from launcher.scheduler.control import Control, JobControl, RefusedError
from launcher.scheduler.facts import JobFacts
from launcher.settings import RecoveryConfig

PATIENCE_S: Mapping[str, float] = {"rank 0": 20.0, "guard": 300.0, "launch": 10.0}
"""How long each of them waits for a slurmctld that does not answer [s]. Rank 0 has its peers
waiting, and the guard after it."""
_NODES_TO_BLAME = ("node_failure", "launch_failure", "rendezvous")
"""Outcomes that are a mark against the node for the whole study."""
_UNCERTAIN = ("crash", "launch_failure", "node_failure", "preempted")
"""Outcomes for which it is worth asking the accounts, which may take their time."""


def conclude(
    run_dir: Path,
    attempt: str,
    *,
    by: str,
    control: Control | None = None,
    seen: Mapping[Outcome, Sequence[str]] | None = None,
) -> VerdictRecord | None:
    """Conclude `attempt` unless somebody did; returns the verdict, None for a completed run.

    Rank 0 gives none either where it cannot tell why it was asked to stop: the guard will.
    A verdict of somebody who could not act any more is carried out.

    Args:
        run_dir: Folder of the run.
        attempt: Which life of it.
        by: Who asks: `rank 0`, `guard`, `controller` or `launch`.
        control: Whom to ask about the job and to have it requeued; None asks SLURM.
        seen: What the caller saw, a sentence each, by the outcome that it stands for.

    Raises:
        StoreError: a record is missing or damaged, or the disk refuses.
    """
    run = _Run.of(run_dir, attempt, by, control)
    known = store.verdict(run_dir, attempt)
    if known is not None:
        return known if by == "rank 0" else run.finish(known)
    evidence, finding = run.investigate(seen or {})
    if evidence.is_completed:
        return None
    if by == "rank 0" and not finding.is_known:
        return None  # the guard comes after it, and knows more
    verdict = run.judge(evidence, finding)
    winner = _publish(store.verdict_path(run_dir, attempt), verdict)
    if winner is not None:
        return winner
    run.blame(verdict, finding)
    return run.act(verdict)


def rewrite(run_dir: Path, verdict: VerdictRecord, **changes: Any) -> VerdictRecord:
    """Note in a verdict what became of its action."""
    changed = verdict.model_copy(update=changes)
    store.write_record(store.verdict_path(run_dir, verdict.attempt), changed)
    return changed


def _publish(path: Path, verdict: VerdictRecord) -> VerdictRecord | None:
    """Write a verdict where there is none; otherwise returns the one that is there."""
    mine = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    store.write_record(mine, verdict)
    try:
        os.link(mine, path)
    except FileExistsError:
        return store.read_record(path, VerdictRecord)
    finally:
        mine.unlink(missing_ok=True)
    return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """One life of a run, and who concludes it."""

    run_dir: Path
    attempt: str
    by: str
    sent: SubmissionRecord
    job_id: str
    control: Control | None
    """None where there is no SLURM to ask."""

    @classmethod
    def of(cls, run_dir: Path, attempt: str, by: str, control: Control | None) -> _Run:
        number = int(attempt.partition("-")[0])
        sent = store.sending(run_dir, number)
        if sent is None:
            raise StoreError(f"`{run_dir}` has no submission {number} that attempt {attempt} is of")
        job_id = gathering.job_id(run_dir, attempt, sent)
        if control is None and sent.scheduler == "slurm" and job_id:
            client = SlurmClient(variables=dict(sent.environment))
            patience_s = PATIENCE_S.get(by, 60.0)
            control = JobControl(job_id=job_id, client=client, patience_s=patience_s)
        return cls(
            run_dir=run_dir, attempt=attempt, by=by, sent=sent, job_id=job_id, control=control
        )

    @property
    def restart(self) -> int:
        return int(self.attempt.partition("-")[2])

    @property
    def recovery(self) -> RecoveryConfig:
        return RecoveryConfig(**self.sent.recovery)

    @property
    def study_dir(self) -> Path | None:
        """Folder of the study that sent it; a local run has none that matters."""
        return None if self.sent.batch is None else Path(self.sent.batch).parent.parent

    def investigate(self, seen: Mapping[Outcome, Sequence[str]]) -> tuple[Evidence, Finding]:
        """Gather evidence, and more of it where the first look does not tell."""
        evidence = dataclasses.replace(
            gathering.from_files(self.run_dir, self.sent, self.attempt), seen=seen
        )
        if evidence.is_completed:
            return evidence, Finding(outcome="completed", evidence=())
        if self.control is not None:
            evidence = gathering.from_scheduler(evidence, self.control, self.job_id)
        evidence = gathering.from_log(evidence, self.run_dir)
        finding = classify(evidence)
        if not isinstance(self.control, JobControl) or self.by == "rank 0":
            return evidence, finding  # its step still runs, and the accounts know nothing of it
        if finding.outcome in _UNCERTAIN or self.by == "launch":
            evidence = gathering.from_accounts(evidence, self.control)
            finding = classify(evidence)
        return evidence, finding

    # ---- decision ---------------------------------------------------------------------------

    def judge(self, evidence: Evidence, finding: Finding) -> VerdictRecord:
        """What the evidence means for the run."""
        past = [
            v for v in store.verdicts(self.run_dir, self.sent.number) if v.attempt < self.attempt
        ]
        adjustments = past[-1].adjustments if past else self.sent.adjustments
        checkpoint, step = gathering.newest_checkpoint(self.run_dir)
        progressed = evidence.has_stopped_as_asked
        if checkpoint:
            progressed = checkpoint > max((v.checkpoint for v in past), default="")
        situation = Situation(
            lives=self.restart + 1,
            past=past,
            progressed=progressed,
            adjustments=adjustments,
            mem_gb=_memory_gb(evidence, self.sent),
            num_nodes=self.sent.shape.nodes,
            failing_nodes=nodes.failing(self.study_dir) if self.study_dir else (),
            value=self._config_value,
            **self._site(evidence, finding),
        )
        decision = decide(finding, situation, self.recovery)
        decision = _with_requeue_by_slurm(decision, evidence)
        record = evidence.record
        return VerdictRecord(
            attempt=self.attempt,
            key=self.sent.key,
            job_id=self.job_id,
            time=files.now(),
            by=self.by,
            outcome=finding.outcome,
            evidence=list(finding.evidence),
            action=decision.action,
            note=decision.note,
            adjustments=decision.adjustments,
            saved_step=record.saved_step if record and record.saved_step is not None else step,
            checkpoint=checkpoint,
            progressed=progressed,
        )

    def _site(self, evidence: Evidence, finding: Finding) -> dict[str, Any]:
        """What nodes there are, where that matters."""
        word = self.recovery.policy.get(finding.outcome, "stop")
        if self.control is None or word == "stop":
            return {}
        is_failing = self.study_dir is not None and bool(nodes.failing(self.study_dir))
        if word != "less_memory" and not finding.suspects and not is_failing:
            return {}
        partition = (evidence.job.partition if evidence.job is not None else "") or str(
            self.sent.parameters.get("partition") or ""
        )
        try:
            usable = self.control.nodes(partition)
        except SubmissionError:
            return {}  # unknown; what follows does not exclude, and asks for no more than a factor
        sizes = sorted((gb for _, gb in usable), reverse=True)
        wanted = self.sent.shape.nodes
        return {
            "usable_nodes": [name for name, _ in usable],
            "node_mem_gb": sizes[wanted - 1] if len(sizes) >= wanted else None,
        }

    def _config_value(self, key: str) -> Any:
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        path = store.config_file(self.run_dir, self.sent.number)
        try:
            value = OmegaConf.select(OmegaConf.load(path), key) if path is not None else None
        except (OSError, OmegaConfBaseException):
            return None  # as if there were no such key
        lives = store.attempts(self.run_dir, self.sent.number)
        used = lives[-1].micro_batch_size if lives else None
        if key == self.recovery.micro_batch_key and used is not None and value is not None:
            return min(value, used)  # an upper bound that is not reached need not be halved
        return value

    def blame(self, verdict: VerdictRecord, finding: Finding) -> None:
        """Note for the whole study which nodes failed."""
        if finding.outcome not in _NODES_TO_BLAME or self.study_dir is None:
            return
        for node in finding.suspects:
            nodes.note_failure(self.study_dir, node, self.sent.key, verdict.attempt)

    # ---- action -----------------------------------------------------------------------------

    def finish(self, verdict: VerdictRecord) -> VerdictRecord:
        """Carry out what somebody else decided and could not do any more."""
        if verdict.acted is not None:
            return verdict
        if self.by == "launch":
            _, finding = self.investigate({})
            if finding.outcome == "cancelled":  # only the accounts knew, or only now
                verdict = rewrite(
                    self.run_dir,
                    verdict,
                    outcome="cancelled",
                    evidence=[*finding.evidence, *verdict.evidence],
                    action="stop",
                    note="stays cancelled",
                )
        return self.act(verdict)

    def act(self, verdict: VerdictRecord) -> VerdictRecord:
        """Do what a verdict says, and note that it was done, or why it could not be."""
        if verdict.action in ("none", "stop") or self.control is None:
            done = verdict.action in ("none", "stop")
            return rewrite(self.run_dir, verdict, acted=files.now()) if done else verdict
        try:
            return self._requeue(verdict, self.control)
        except SubmissionError as error:
            return rewrite(self.run_dir, verdict, failure=error.message)

    def _requeue(self, verdict: VerdictRecord, control: Control) -> VerdictRecord:
        facts = control.facts()
        if facts is None:
            raise RefusedError(
                f"SLURM knows job {self.job_id} no more; `launch resume` sends it again"
            )
        why = self._why_cancelled(facts)
        if why:
            return rewrite(
                self.run_dir,
                verdict,
                outcome="cancelled",
                evidence=[why, *verdict.evidence],
                action="stop",
                note="stays cancelled",
                acted=files.now(),
            )
        latest = store.submission(self.run_dir)
        if latest is not None and latest.token != self.sent.token:
            note = f"the run was sent again, as number {latest.number}"
            return rewrite(self.run_dir, verdict, action="stop", note=note, acted=files.now())
        mem_gb, exclude = _changes(verdict, facts)
        failure = ""
        if facts.restarts == self.restart and (mem_gb is not None or exclude):
            failure = _tried(lambda: control.change(mem_gb=mem_gb, exclude=exclude))
        elif facts.restarts == self.restart:
            control.requeue()
        elif not isinstance(control, JobControl):
            failure = "the run goes on already"
        elif facts.is_held:  # whoever began was ended before it could go on
            failure = _tried(lambda: control.change_held(mem_gb=mem_gb, exclude=exclude))
        elif mem_gb is not None or exclude:
            failure = _tried(lambda: control.update(mem_gb=mem_gb, exclude=exclude))
        return rewrite(self.run_dir, verdict, acted=files.now(), failure=failure)

    def _why_cancelled(self, facts: JobFacts) -> str:
        """What says that the job was cancelled meanwhile: a requeue would bring it back."""
        marker = store.cancelled(self.run_dir)
        if marker is not None and marker.number == self.sent.number:
            return f"cancelled.json: it was cancelled at {marker.time}"
        if facts.state == "CANCELLED":
            return "scontrol: the job is CANCELLED"
        is_ending = facts.state == "COMPLETING" and not facts.reason and not facts.is_preempted
        if is_ending and facts.restarts == self.restart:
            return "scontrol: the job is COMPLETING without a reason, as after scancel"
        return ""


def _tried(change: Callable[[], None]) -> str:
    """Why SLURM refused a change; the job goes on without it then. Empty if it took it."""
    try:
        change()
    except RefusedError as error:
        return error.message
    return ""


def _changes(verdict: VerdictRecord, facts: JobFacts) -> tuple[float | None, list[str]]:
    """Memory and excluded nodes that the job does not have yet."""
    wanted = verdict.adjustments
    mem_gb = wanted.mem_gb
    if mem_gb is not None and facts.mem_gb is not None and mem_gb <= facts.mem_gb * 1.001:
        mem_gb = None
    exclude = list(dict.fromkeys([*facts.excluded, *wanted.exclude]))
    return mem_gb, exclude if set(wanted.exclude) - set(facts.excluded) else []


def _with_requeue_by_slurm(decision: Decision, evidence: Evidence) -> Decision:
    """Where SLURM has requeued the job by itself, nothing is left to do but to stop it."""
    if not evidence.is_requeued or decision.action == "stop" or evidence.job is None:
        return decision
    if decision.action == "requeue_changed" and evidence.job.state in ("PENDING", "COMPLETING"):
        return decision
    note = "; ".join(filter(None, ["SLURM has requeued it", decision.note]))
    return dataclasses.replace(decision, action="none", note=note)


def _memory_gb(evidence: Evidence, sent: SubmissionRecord) -> float | None:
    if evidence.now is not None and evidence.now.mem_gb is not None:
        return evidence.now.mem_gb
    return sent.shape.mem_gb
