"""How each fault is done to a running job: with the real thing, never with a pretended one."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.slurm import LabError
from tests.slurm.layout import USER_ID
from tests.slurm.waiting import wait_until

from .trial import LOOK_S, Trial

T = TypeVar("T")

AT_STEP = 15
"""Half-way between two periodic checkpoints."""
STORM = 10
TMPFS_KB = 6000
NODE_TIMEOUT_S = 60.0


def wait_for_the_limit(trial: Trial) -> None:
    """Nothing to do: the time limit comes by itself."""
    trial.wait_for_step(1)


def wait_for_start(trial: Trial) -> None:
    """Nothing to do: the fault comes from inside, before the first step."""
    trial.wait_for_life(1)


def wait_for_step_15(trial: Trial) -> None:
    """Nothing to do: the fault comes from inside, at or after this step."""
    trial.wait_for_step(AT_STEP)


def preempt(trial: Trial) -> None:
    """Ask for one of the job's nodes as a whole, from a partition of a higher tier."""
    life = trial.wait_for_step(AT_STEP)
    node = trial.journal().hosts_of(life)[0]
    script = "sleep 2"
    arguments = ("--partition=gpu", f"--nodelist={node}", "--exclusive", "--time=1", "--mem=100")
    job = trial.lab.sbatch(script, *arguments, "--job-name=preemptor", "--output=/dev/null")
    trial.lab.wait(job, in_accounts=False)


def cut_power(trial: Trial) -> None:
    """Let the last rank's node die, and have it back when the job is elsewhere."""
    life = trial.wait_for_step(AT_STEP)
    node = _last(trial.journal().hosts_of(life))
    _revive_later(trial)
    trial.lab.cut_power(node)
    _wait_until_down(trial, node)


def kill_slurmd(trial: Trial) -> None:
    """Kill the daemon of the last rank's node for so long that SLURM gives the node up."""
    life = trial.wait_for_step(AT_STEP)
    node = _last(trial.journal().hosts_of(life))
    _revive_later(trial)
    trial.lab.kill_daemon(f"slurmd.{node}")
    _wait_until_down(trial, node)


def restart_slurmd(trial: Trial) -> None:
    """Kill the daemon of the last rank's node, and start it again soon."""
    life = trial.wait_for_step(AT_STEP)
    node = _last(trial.journal().hosts_of(life))
    _revive_later(trial)
    trial.lab.kill_daemon(f"slurmd.{node}")
    time.sleep(2)
    trial.lab.revive()


def scancel(trial: Trial) -> None:
    """Cancel the job as its user, behind the launcher's back."""
    trial.wait_for_step(AT_STEP)
    trial.lab.run(["scancel", trial.job_id])


def kill_one(trial: Trial) -> None:
    """Kill the process of the last rank."""
    life = trial.wait_for_step(AT_STEP)
    _kill(trial, [_last(trial.journal().pids_of(life))])


def kill_all(trial: Trial) -> None:
    """Kill the processes of all ranks at once."""
    life = trial.wait_for_step(AT_STEP)
    _kill(trial, list(trial.journal().pids_of(life).values()))


def restart_slurmctld(trial: Trial) -> None:
    """Kill the controller, and start it again soon."""
    trial.wait_for_step(AT_STEP)
    _revive_later(trial)
    trial.lab.kill_daemon("slurmctld")
    time.sleep(3)
    trial.lab.revive()
    wait_until(lambda: _answers(trial), "slurmctld answers", NODE_TIMEOUT_S, interval_s=LOOK_S)


def kill_one_without_accounting(trial: Trial) -> None:
    """Kill slurmdbd, then a rank."""
    trial.wait_for_step(AT_STEP - 5)
    _revive_later(trial)
    trial.lab.kill_daemon("slurmdbd")
    kill_one(trial)


def fill_disk(trial: Trial) -> None:
    """Mount a small file system where the checkpoints go, then let the job start."""
    folder = trial.run_dir / "checkpoints"
    trial.lab.run(["mkdir", "-p", folder])
    options = f"size={TMPFS_KB}k,uid={USER_ID},gid={USER_ID},mode=755"
    trial.lab.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], as_user=False)
    trial.undo.append(
        lambda: trial.lab.run(["umount", "--lazy", folder], as_user=False, check=False)
    )
    trial.lab.scontrol("release", trial.job_id)
    trial.wait_for_step(AT_STEP - 10)


def truncate_checkpoint(trial: Trial) -> None:
    """Cut the newest checkpoint short while the job is held between two lives."""

    def cut(path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)

    _damage(trial, cut)


def flip_bit_of_checkpoint(trial: Trial) -> None:
    """Change one bit of the newest checkpoint while the job is held between two lives."""

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    _damage(trial, flip)


def storm(trial: Trial) -> None:
    """Requeue the job in each of ten lives, soon after it has begun to make progress."""
    for life in range(1, STORM + 1):
        trial.wait_for_step(2, life)
        trial.lab.scontrol("requeue", trial.job_id)
        (trial.run_dir / "storm.json").write_text(json.dumps({"requeued": life}))


def _damage(trial: Trial, damage: Callable[[Path], None]) -> None:
    trial.wait_for_step(AT_STEP + 10)
    trial.lab.scontrol("requeuehold", trial.job_id)
    trial.wait_for_state("PENDING")
    checkpoints = trial.launcher.checkpoints(trial.run_dir)
    if not checkpoints:
        raise LabError("there is no checkpoint to damage", where=f"`{trial.run_dir}`")
    damage(checkpoints[-1])
    trial.lab.scontrol("release", trial.job_id)


def _kill(trial: Trial, pids: list[int]) -> None:
    trial.lab.run(["kill", "-9", *map(str, pids)], as_user=False)


def _revive_later(trial: Trial) -> None:
    trial.undo.append(lambda: _restore(trial))


def _restore(trial: Trial) -> None:
    """Start all daemons again and wait until each node takes jobs."""
    trial.lab.revive()
    wait_until(lambda: _answers(trial), "slurmctld answers", NODE_TIMEOUT_S, interval_s=LOOK_S)

    def is_up() -> bool:
        states = trial.lab.node_states().values()
        return all(state in ("idle", "mixed", "allocated", "completing") for state in states)

    wait_until(is_up, "all nodes are up", NODE_TIMEOUT_S, interval_s=LOOK_S)


def _wait_until_down(trial: Trial, node: str) -> None:
    """Wait until SLURM has given the node up; it comes back when the job is on others."""
    wait_until(
        lambda: trial.lab.node_states()[node].startswith("down"),
        f"{node} is down",
        NODE_TIMEOUT_S,
        interval_s=LOOK_S,
    )


def _answers(trial: Trial) -> bool:
    try:
        return "UP" in trial.lab.scontrol("ping")
    except LabError:
        return False


def _last(by_rank: dict[int, T]) -> T:
    return by_rank[max(by_rank)]
