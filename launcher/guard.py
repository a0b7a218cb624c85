"""Watches over an attempt from the batch script: `python -m launcher.guard before|after BATCH`.

`before` srun it takes the run's folder, concludes lives that ended without a word, and keeps a
job from starting that must not. `after` srun, in the script's EXIT trap, it concludes the attempt
where rank 0 could not, and lets the job end in the state that is true. It runs once for each job,
hence imports what it needs when it needs it, and never anything heavy.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.world import PORT, free_port

if TYPE_CHECKING:
    from launcher.job import Attempt
    from launcher.lease import Lease
    from launcher.records import SubmissionRecord, VerdictRecord

GO_ON = 0
COMPLETED = 3
"""There is nothing to do: an earlier life completed the run."""
REFUSED = 1
_PORT_DESCRIPTOR = 3
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def shell_lines(python: str, batch: str) -> list[str]:
    """Lines of the batch script before srun; both words are quoted already.

    bash must outlive SIGTERM, or the guard would run before srun has ended. `$?` is 0 after
    cancelling, preemption, requeue and time limit alike: it is passed on, and decides nothing.
    """
    call = f"{python} -m launcher.guard"
    return [
        "trap : TERM",
        "exec 4>&1",
        # In one line, so that a `set -e` of the site's own lines changes nothing. What it says
        # goes to the log as ever; descriptor 3 brings the port.
        f"{PORT}=$({call} before {batch} 3>&1 1>&4) ||"
        f" case $? in {COMPLETED}) exit 0 ;; *) exit {REFUSED} ;; esac",
        f"exec 4>&-; export {PORT}",
        f"trap '{_in_quotes(f'{call} after {batch}')} $?; exit $?' EXIT",
    ]


def _in_quotes(text: str) -> str:
    """For a place between single quotes of a shell."""
    return text.replace("'", "'\\''")


def main() -> int:
    """Do what the batch script asks for; returns the code that it ends with."""
    for number in _IGNORED:
        # A requeue sends them to this very process, which has to finish it.
        signal.signal(number, signal.SIG_IGN)
    when, batch, *status = sys.argv[1:]
    attempts: list[Attempt] = pickle.loads(Path(batch).read_bytes())
    attempt = attempts[int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))]
    if when == "before":
        return before(attempt)
    return after(attempt, int(status[0]))


def before(attempt: Attempt) -> int:
    """Whether srun may start, as an exit code."""
    from launcher.errors import LauncherError
    from launcher.job import SupersededError

    try:
        sent = attempt.refuse_if_superseded()
        earlier = _conclude_earlier(attempt, sent) if _restart() else GO_ON
        if earlier == GO_ON:
            _take(attempt)
            _tell_port()
    except (SupersededError, LauncherError) as error:
        _say(f"{error}; this job does nothing")
        return REFUSED
    return earlier


def _conclude_earlier(attempt: Attempt, sent: SubmissionRecord | None) -> int:
    """Conclude the lives of this job that nobody concluded, as when their node was lost."""
    from launcher import lease, store
    from launcher.concluding import conclude

    if sent is None:
        return GO_ON
    run_dir = Path(attempt.run_dir)
    verdict: VerdictRecord | None = None
    for restart in range(_restart()):
        earlier = _attempt_id(attempt.number, restart)
        lease.end(run_dir, earlier, waiting=lambda who: _say(f"waiting for {who}"))
        verdict = store.verdict(run_dir, earlier) or conclude(run_dir, earlier, by="guard")
        if verdict is None:
            _say(f"attempt {earlier} completed the run; this job does nothing")
            return COMPLETED
    if verdict is not None and verdict.action == "stop":
        _say(
            f"attempt {verdict.attempt} ended: {verdict.outcome}, {verdict.note}; it is not"
            " started again"
        )
        return REFUSED
    return GO_ON


def after(attempt: Attempt, status: int) -> int:
    """Conclude the attempt; returns what SLURM is told: 0 only if the run has completed."""
    from launcher.errors import LauncherError

    failed = status or 1
    try:
        from launcher.concluding import conclude

        run_dir = Path(attempt.run_dir)
        verdict = conclude(run_dir, _attempt_id(attempt.number, _restart()), by="guard")
    except LauncherError as error:
        _say(f"nobody could conclude this attempt: {error}; `launch resume` does")
        return failed
    if verdict is None:
        return 0
    _say(told(verdict))
    if verdict.action == "stop":
        _tell_tracker(run_dir, verdict.attempt)
    return failed


def _tell_tracker(run_dir: Path, attempt: str) -> None:
    """Have W&B know that a run has been given up, with the rows that no later life repeats."""
    from launcher.tracking import syncing

    try:
        trouble = syncing.give_up(run_dir, attempt)
    except Exception as error:  # the verdict is written, and all of it is on disk
        trouble = str(error)
    if trouble:
        _say(f"W&B does not know it: {trouble}; `launch sync` delivers it")


def told(verdict: VerdictRecord) -> str:
    """A verdict in one line."""
    what = {
        "none": "it goes on by itself",
        "requeue": "it goes on",
        "requeue_changed": "it goes on with a change",
        "stop": "it stops",
    }
    parts = [f"attempt {verdict.attempt}: {verdict.outcome} ({verdict.evidence[0]})"]
    parts += [what[verdict.action], verdict.note]
    if verdict.failure:
        parts.append(f"but {verdict.failure}")
    return "; ".join(filter(None, parts))


def _take(attempt: Attempt) -> None:
    """Take the folder of the run, and mark where this life begins in its logs."""
    from launcher import files, gathering, lease
    from launcher.scheduler.facts import expand

    name = _attempt_id(attempt.number, _restart())
    mine = lease.Lease(
        attempt=name,
        job_id=_job_id(),
        time=files.now(),
        nodes=expand(os.environ.get("SLURM_JOB_NODELIST", "")),
        log=os.readlink("/proc/self/fd/1"),  # noqa: PTH115 - what it says, also where it is gone
    )
    run_dir = Path(attempt.run_dir)
    lease.take(run_dir, mine, has_ended=_has_ended, waiting=lambda who: _say(f"waiting for {who}"))
    text = f", job {mine.job_id} on {os.environ.get('SLURM_JOB_NODELIST', '?')}, {mine.time}"
    sys.stdout.write(f"{gathering.MARK} {name}{text}\n")
    sys.stdout.flush()
    gathering.mark(Path(mine.log), name, attempt.shape.world_size, text)


def _tell_port() -> None:
    """Choose where the ranks meet, here on the host of rank 0, and tell the batch script."""
    os.write(_PORT_DESCRIPTOR, str(free_port()).encode())


def _has_ended(holder: Lease) -> bool | None:
    """Whether the job life of another lease is over; None where SLURM does not say."""
    if holder.job_id == _job_id():
        return True  # an earlier life of this very job
    from launcher.errors import SubmissionError
    from launcher.scheduler.control import JobControl

    try:
        facts = JobControl(job_id=holder.job_id, patience_s=5.0).facts()
    except SubmissionError:
        return None
    if facts is None or facts.restarts > int(holder.attempt.partition("-")[2]):
        return True
    return facts.state not in ("RUNNING", "COMPLETING", "SUSPENDED")


def _attempt_id(number: int, restart: int) -> str:
    return f"{number:03d}-{restart:03d}"


def _restart() -> int:
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _job_id() -> str:
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array is not None:
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


def _say(text: str) -> None:
    sys.stderr.write(f"launcher: {text}\n")


if __name__ == "__main__":
    try:
        code = main()
    except Exception:
        # A bug here must not let a job end as if all were well, nor keep one from starting.
        traceback.print_exc()
        is_before = sys.argv[1:2] == ["before"]
        code = GO_ON if is_before else int(sys.argv[3]) or REFUSED
    sys.exit(code)
