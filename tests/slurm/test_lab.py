"""A lab behaves like the cluster that it stands for."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.slurm import CommandFailedError, Lab, LabError
from tests.slurm.layout import REPOSITORY, USER_ID
from tests.slurm.waiting import wait_until

_HOG = "x = bytearray(600_000_000); print(len(x))"


def output_of(lab: Lab, job: str) -> str:
    """Read what a job wrote."""
    return (lab.home / f"slurm-{job}.out").read_text()


def states_of(lab: Lab, job: str) -> dict[str, tuple[str, str]]:
    """Return state and exit code of a job, its elements and steps."""
    return {row["JobID"]: (row["State"], row["ExitCode"]) for row in lab.sacct(job)}


def test_all_nodes_are_idle_and_in_both_partitions(lab: Lab) -> None:
    idle = dict.fromkeys(("gl001", "gl002", "gl003", "gl004"), "idle")
    # A node is busy for a moment after the last job of another test.
    wait_until(lambda: lab.node_states() == idle, "all nodes are idle", timeout_s=60)
    partitions = lab.ask(["sinfo", "--noheader", "--format=%P %l %G %D"]).splitlines()
    assert partitions == ["gpu* 2-00:00:00 gpu:l40s:4 4", "preempt 4:00:00 gpu:l40s:4 4"]


def test_ordinary_user_runs_on_two_nodes_with_two_gpus_each(lab: Lab) -> None:
    job = lab.sbatch(
        "srun bash -c 'echo $SLURMD_NODENAME $(hostname) $(id -u) $CUDA_VISIBLE_DEVICES'",
        "--nodes=2",
        "--ntasks-per-node=2",
        "--gres=gpu:2",
    )
    lab.wait(job, in_accounts=False)
    lines = sorted(output_of(lab, job).splitlines())
    nodes = [line.split()[0] for line in lines]
    assert lines == [f"{node} {node} {USER_ID} 0,1" for node in nodes]
    assert len(set(nodes)) == 2
    assert nodes[::2] == nodes[1::2]


def test_nodes_find_each_other_by_name(lab: Lab) -> None:
    job = lab.sbatch("getent hosts gl002 && hostname")
    lab.wait(job, in_accounts=False)
    assert output_of(lab, job).split() == ["127.0.0.1", "gl002", "gl001"]


def test_job_reaches_interpreter_and_repository(lab: Lab) -> None:
    program = "import tests.slurm, os; print(os.getuid(), tests.slurm.__file__)"
    job = lab.sbatch(f"cd {REPOSITORY}; python -c '{program}'", f"--chdir={lab.home}")
    lab.wait(job, in_accounts=False)
    assert output_of(lab, job).split()[0] == str(USER_ID)


def test_failed_job_says_so(lab: Lab) -> None:
    job = lab.sbatch("exit 1")
    lab.wait(job)
    assert states_of(lab, job) == {job: ("FAILED", "1:0"), f"{job}.batch": ("FAILED", "1:0")}


def test_step_over_its_memory_is_killed(lab: Lab) -> None:
    job = lab.sbatch(f'srun python -c "{_HOG}"', "--mem=100")
    lab.wait(job)
    states = states_of(lab, job)
    assert states[f"{job}.0"] == ("OUT_OF_MEMORY", "0:125")
    assert states[job] == ("FAILED", "1:0")
    assert "oom-kill" in output_of(lab, job)


def test_step_within_its_memory_is_not(lab: Lab) -> None:
    job = lab.sbatch(f'srun python -c "{_HOG}"', "--mem=1000")
    lab.wait(job)
    assert states_of(lab, job)[job] == ("COMPLETED", "0:0")


def test_dependent_job_waits_for_success(lab: Lab) -> None:
    first = lab.sbatch("sleep 1; date +%s.%N")
    second = lab.sbatch("date +%s.%N", f"--dependency=afterok:{first}")
    lab.wait([first, second], in_accounts=False)
    assert float(output_of(lab, first)) < float(output_of(lab, second))


def test_array_runs_every_element(lab: Lab) -> None:
    job = lab.sbatch("exit $SLURM_ARRAY_TASK_ID", "--array=0-2")
    lab.wait(job)
    states = states_of(lab, job)
    codes = [states[f"{job}_{index}"][1] for index in range(3)]
    assert codes == ["0:0", "1:0", "2:0"]


def test_root_on_the_host_needs_only_slurm_conf(lab: Lab, tmp_path: Path) -> None:
    output = tmp_path / "out"
    job = lab.ask(["sbatch", "--parsable", f"--output={output}", "--wrap=id -un"]).strip()
    lab.wait(job)
    assert output.read_text() == "root\n"
    assert lab.sacct(job, ["User"])[0] == {"User": "root"}


def test_slurm_is_found_without_slurm_conf(lab: Lab) -> None:
    nodes = lab.run(["env", "-u", "SLURM_CONF", "sinfo", "-h", "-N", "-p", "gpu", "-o", "%N"])
    assert nodes.stdout.split() == list(lab.options.node_names)


def test_job_that_never_began_is_waited_for(lab: Lab) -> None:
    job = lab.sbatch("true", "--hold")
    lab.ask(["scancel", job])
    lab.wait(job, timeout_s=20)
    assert states_of(lab, job) == {job: ("CANCELLED by 0", "0:0")}


def test_comment_is_kept_in_the_accounts(lab: Lab) -> None:
    job = lab.sbatch("true", "--comment=token-1")
    lab.wait(job)
    assert lab.sacct(job, ["Comment"])[0] == {"Comment": "token-1"}


def test_accounts_keep_the_life_before_a_requeue(lab: Lab) -> None:
    job = lab.sbatch("sleep $((SLURM_RESTART_COUNT ? 0 : 60))", "--requeue")
    wait_until(lambda: state_of(lab, job) == "RUNNING", "the job runs", 20)
    lab.scontrol("requeue", job)
    lab.wait(job)
    lives = lab.sacct(job, ["JobID", "State"], with_lives=True)
    assert [row["State"] for row in lives if row["JobID"] == job] == ["REQUEUED", "COMPLETED"]


def test_preempted_job_is_requeued(lab: Lab) -> None:
    low = lab.sbatch("sleep 60", "--partition=preempt", "--nodes=4", "--exclusive")
    wait_until(lambda: state_of(lab, low) == "RUNNING", "the job runs", 20)
    high = lab.sbatch("true", "--nodes=4", "--exclusive")
    lab.wait(high, in_accounts=False)
    job = lab.scontrol("show", "job", low)
    lab.ask(["scancel", low])
    assert "Restarts=1" in job


def test_wait_shows_the_queue_when_time_is_up(lab: Lab) -> None:
    job = lab.sbatch("sleep 60")
    with pytest.raises(LabError, match=rf"(?s)waited 1 s .*\b{job}\b.*slurmctld\.log"):
        lab.wait(job, timeout_s=1)
    lab.ask(["scancel", job])


def test_lost_node_comes_back(lab: Lab) -> None:
    job = lab.sbatch("sleep 60", "--nodelist=gl004", "--no-requeue")
    wait_until(lambda: state_of(lab, job) == "RUNNING", "the job runs", 20)
    lab.cut_power("gl004")
    lab.set_node_state("gl004", "down")
    wait_until(lambda: state_of(lab, job) == "NODE_FAIL", "the job is lost", 20)
    wait_until(lambda: is_brought_back(lab, "gl004"), "the node is back", 120, interval_s=1.0)


def test_command_reports_how_it_ended(lab: Lab) -> None:
    with pytest.raises(CommandFailedError, match=r"(?s)ended with 3.*why") as failure:
        lab.run(["bash", "-c", "echo why >&2; exit 3"])
    assert failure.value.returncode == 3
    assert lab.run(["bash", "-c", "kill -SEGV $$"], check=False).returncode == -signal.SIGSEGV


def test_command_that_takes_too_long_is_killed_with_its_children(lab: Lab) -> None:
    begin = time.monotonic()
    with pytest.raises(CommandFailedError, match=r"longer than 0\.5 s"):
        lab.run(["bash", "-c", "sleep 4321 & sleep 4321"], timeout_s=0.5)
    assert time.monotonic() - begin < 3
    assert lab.run(["pgrep", "-f", "^sleep 4321"], check=False).returncode == 1


def test_signals_reach_the_command(lab: Lab) -> None:
    script = "trap 'echo caught; exit 7' INT; echo ready; while sleep 0.05; do :; done"
    with lab.popen(["bash", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=5)[0] == "caught\n"
    assert process.returncode == 7


def test_user_has_a_home_and_no_power(lab: Lab) -> None:
    folder = lab.make_folder("studies/a b")
    lab.run(["touch", folder / "x"])
    assert (folder / "x").stat().st_uid == USER_ID
    assert lab.run(["touch", "/etc/x"], check=False).returncode != 0
    assert lab.run(["scontrol", "update", "nodename=gl001", "state=down"], check=False).returncode


def is_brought_back(lab: Lab, node: str) -> bool:
    """Start a node's daemon and resume the node, as often as it takes: both may come too early.

    Its death may not be known yet, and a node that registers late is down again.
    """
    state = lab.node_states()[node]
    if state != "idle":
        lab.revive()
    if state.startswith("down"):
        lab.set_node_state(node, "resume")
    return state == "idle"


def state_of(lab: Lab, job: str) -> str:
    """Return what squeue says of a job."""
    return next(row["state"] for row in lab.squeue() if row["id"] == job)
