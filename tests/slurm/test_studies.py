"""A study is desired state, on a real SLURM: plan, apply, crash, come back."""

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import REPOSITORY
from tests.slurm import Lab, LabOptions, temporary_lab
from tests.slurm.layout import USER_NAME
from tests.slurm.sweeps import (
    copy_project,
    job_id,
    job_ids,
    launch,
    start,
    story,
    verdicts,
    wait_until_running,
)
from tests.slurm.waiting import wait_until

SLURM = ("hydra/launcher=slurm", "hydra.sweep.dir=outputs/sweep")
HELD = "+hydra.launcher.additional_parameters.hold=true"


def submit(lab: Lab, project: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Issue the study's command, and expect it to be accepted."""
    done = start(lab, project, "app.py", "-m", *SLURM, *overrides)
    assert done.returncode == 0, done.stderr
    return done


def states(lab: Lab, project: Path, *words: str) -> list[str]:
    """State of each run, as `launch status` says."""
    shown = launch(lab, project, "status", "--json", *words)
    assert shown.returncode == 0, shown.stderr
    return [run["state"] for run in json.loads(shown.stdout)]


def lives(project: Path, number: int) -> list[str]:
    """Attempts of a run."""
    folder = project / "outputs" / "sweep" / str(number) / "attempts"
    return sorted(path.name for path in folder.glob("???-???.json"))


def escaped(text: Path | str) -> str:
    return str(text).replace("'", "\\'")


def test_twenty_killed_submissions_of_fifty_runs_end_with_each_run_once(lab: Lab) -> None:
    folder = copy_project(lab, "killed")
    done = start(lab, folder, REPOSITORY / "tests" / "slurm" / "killing.py", "20", "7")
    assert done.returncode == 0, done.stderr
    trials = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(trials) == 20
    assert sum(trial["killed"] for trial in trials) >= 10, done.stdout
    assert all(trial["jobs"] == 50 and trial["is_each_run_once"] for trial in trials), done.stdout


def test_two_shells_at_the_same_moment_send_each_run_once(lab: Lab, project: Path) -> None:
    command = [sys.executable, "app.py", "-m", *SLURM, "x=range(6)", HELD]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    shells = [lab.popen(command, cwd=project, **pipes) for _ in range(3)]
    said = [shell.communicate(timeout=120)[1] for shell in shells]
    assert [shell.returncode for shell in shells] == [0, 0, 0], said
    sweep = project / "outputs" / "sweep"
    (batch,) = (json.loads(path.read_text()) for path in sweep.glob("batches/*.json"))
    array = batch["parts"][0]["job_id"]
    listed = lab.ask(["squeue", "--noheader", "--array", "--format=%i %Z"]).splitlines()
    mine = [line for line in listed if line.endswith(str(project))]
    assert sorted(line.split()[0] for line in mine) == [f"{array}_{i}" for i in range(6)]
    assert launch(lab, project, "cancel", "--all").returncode == 0


def test_code_and_config_edited_while_jobs_are_queued_change_nothing_also_across_a_requeue(
    lab: Lab, project: Path
) -> None:
    gate = project / "gate"
    submit(lab, project, "x=1,2", f"wait_for='{escaped(gate)}'", HELD)
    lab.run(["tee", project / "helper.py"], input='VALUE = "edited later"\n')
    lab.run(["tee", project / "conf" / "config.yaml"], input="x: 1\nfail: 2\nwait_for: null\n")
    first, second = (job_id(project / "outputs" / "sweep" / str(i)) for i in (0, 1))
    lab.run(["scontrol", "release", first.partition("_")[0]])
    wait_until_running(lab, first)
    lab.run(["scontrol", "requeue", first])
    lab.run(["touch", gate])
    lab.wait([first, second])
    results = json.loads(launch(lab, project, "results", "--json").stdout)
    told = story(lab, project / "outputs" / "sweep" / "0", first)
    assert [row["helper"] for row in results] == ["as submitted", "as submitted"], told
    assert [row["double"] for row in results] == [2.0, 4.0]


def test_a_job_that_is_requeued_before_it_took_its_run_is_started_again(
    lab: Lab, project: Path
) -> None:
    # The lines of the site come before the guard: nothing of ours has run when the requeue comes.
    begun = project / "begun"
    setup = f"touch {shlex.quote(str(begun))}; sleep 6"
    submit(lab, project, "x=1", f"hydra.launcher.setup=['{escaped(setup)}']")
    run_dir = project / "outputs" / "sweep" / "0"
    job = job_id(run_dir)
    wait_until(begun.exists, "the batch script runs", 60)
    lab.run(["scontrol", "requeue", job])
    lab.wait([job])
    told = story(lab, run_dir, job)
    assert states(lab, project) == ["completed"], told
    (verdict,) = verdicts(run_dir)
    assert (verdict["attempt"], verdict["outcome"], verdict["action"]) == (
        "001-000", "preempted", "none",
    ), told  # fmt: skip
    assert not (run_dir.parent / "nodes").exists()


def test_a_dry_run_shows_the_script_that_is_sent_and_leaves_no_file(
    lab: Lab, project: Path
) -> None:
    switches = ("hydra.launcher.dry_run=true", "hydra.launcher.show_script=true")
    before = sorted(path for path in project.rglob("*") if "__pycache__" not in path.parts)
    shown = submit(lab, project, "x=1,2", *switches)
    after = sorted(path for path in project.rglob("*") if "__pycache__" not in path.parts)
    assert after == before
    assert "2 runs: 2 new; 2 to submit" in shown.stdout
    submit(lab, project, "x=1,2")
    (script,) = (project / "outputs" / "sweep" / ".submitit").glob("*.sh")
    sent = script.read_text().replace(script.stem, "0" * 12)
    assert sent.strip() in shown.stdout
    lab.wait(list(job_ids(project / "outputs" / "sweep").values()))


def test_the_same_command_keeps_what_is_done_or_on_its_way_and_sends_the_rest(
    lab: Lab, project: Path
) -> None:
    submit(lab, project, "x=1,2", "fail=2")
    lab.wait(list(job_ids(project / "outputs" / "sweep").values()))
    again = submit(lab, project, "x=1,2", "fail=2")
    assert "2 runs: 1 done, 1 failed; 0 to submit" in again.stderr
    more = submit(lab, project, "x=1,2,3", "fail=2", HELD)
    assert "3 runs: 1 done, 1 failed, 1 new; 1 to submit" in more.stderr
    source = (project / "app.py").read_text()
    lab.run(["tee", project / "app.py"], input=source.replace("== config.fail", "== -1"))
    changed = submit(lab, project, "x=1,2,3", "fail=2")
    assert "3 runs: 1 done, 1 changed, 1 pending; 1 to submit" in changed.stderr
    assert "again, code changed after: ValueError: x is 2" in changed.stderr
    assert "as submitted; code changed since" in changed.stderr
    lab.wait([job_id(project / "outputs" / "sweep" / "1")])
    assert states(lab, project) == ["completed", "completed", "pending"]
    assert (lives(project, 0), lives(project, 1)) == (
        ["001-000.json"], ["001-000.json", "002-000.json"],
    )  # fmt: skip
    launch(lab, project, "cancel", "2")


def test_a_cancelled_run_stays_cancelled_until_somebody_retries_it(lab: Lab, project: Path) -> None:
    submit(lab, project, "x=1,2,3", HELD)
    assert launch(lab, project, "cancel", "x=2").returncode == 0
    assert states(lab, project) == ["pending", "cancelled", "pending"]
    again = submit(lab, project, "x=1,2,3", HELD)
    assert "0 to submit" in again.stderr
    assert launch(lab, project, "retry", "1").returncode == 0
    assert states(lab, project, "1") == ["pending"]
    assert launch(lab, project, "cancel", "--all").returncode == 0
    assert states(lab, project) == ["cancelled"] * 3


def test_a_run_that_vanished_is_put_back_into_the_queue_by_resume(lab: Lab, project: Path) -> None:
    gate = project / "gate"
    submit(lab, project, "x=1", f"wait_for='{escaped(gate)}'")
    job = job_id(project / "outputs" / "sweep" / "0")
    wait_until(lambda: lives(project, 0), "the task runs", 60)
    # The batch script, and with it the guard, ends without a word.
    lab.run(["scancel", "--signal=KILL", "--batch", job])
    lab.wait([job])
    assert states(lab, project) == ["failed"]
    lab.run(["touch", gate])
    resumed = launch(lab, project, "resume")
    assert "1 go on under the same job id" in resumed.stderr
    assert job_id(project / "outputs" / "sweep" / "0") == job
    lab.wait([job])
    assert states(lab, project) == ["completed"]


def test_logs_and_show_tell_the_story_of_one_run(lab: Lab, project: Path) -> None:
    submit(lab, project, "x=1,2", "fail=2")
    followed = launch(lab, project, "logs", "x=2", "-f")
    assert "ValueError: x is 2" in followed.stdout
    lab.wait(list(job_ids(project / "outputs" / "sweep").values()))
    shown = launch(lab, project, "show", "1", "--diff", "0")
    assert "task_error" in shown.stdout
    assert "-x: 2\n+x: 1\n" in shown.stdout
    assert shown.stdout.rstrip().endswith("ValueError: x is 2")


def test_ctrl_c_while_following_leaves_the_jobs_alone(lab: Lab, project: Path) -> None:
    command = ["timeout", "--signal=INT", "8", sys.executable, "app.py", "-m", *SLURM, "x=1,2"]
    done = lab.run([*command, HELD, "hydra.launcher.wait=true"], cwd=project, check=False)
    assert "stopped watching; the jobs go on" in done.stderr
    assert "Traceback" not in done.stderr
    assert states(lab, project) == ["pending", "pending"]
    launch(lab, project, "cancel", "--all")


def test_a_sweeper_that_needs_values_is_refused_unless_the_command_waits(
    lab: Lab, project: Path
) -> None:
    lab.run(["mkdir", project / "hydra_plugins"])
    lab.run(["tee", project / "hydra_plugins" / "choosy.py"], input=CHOOSY)
    where = {"PYTHONPATH": str(project)}
    command = [sys.executable, "app.py", "-m", *SLURM, "hydra/sweeper=choosy"]
    refused = lab.run(command, cwd=project, env=where, check=False)
    assert refused.returncode == 2
    assert "the sweeper `Choosy` needs the value of each run" in refused.stderr
    assert not (project / "outputs").exists()
    waited = lab.run([*command, "hydra.launcher.wait=true"], cwd=project, env=where)
    assert "best x is 3" in waited.stdout


CHOOSY = '''
"""Doubles x while that makes the value larger and smaller than 7."""
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper


@dataclass
class ChoosyConf:
    _target_: str = "hydra_plugins.choosy.Choosy"


ConfigStore.instance().store(group="hydra/sweeper", name="choosy", node=ChoosyConf)


class Choosy(Sweeper):
    def setup(self, *, hydra_context, task_function, config):
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        x, number = 1, 0
        while True:
            (done,) = self.launcher.launch([[f"x={x}"]], initial_job_idx=number)
            if done.return_value["double"] >= 6:
                print(f"best x is {x}")
                return x
            x, number = x + 1, number + 1
'''


@pytest.fixture(scope="module")
def small_lab(permit_slurm: None) -> Iterator[Lab]:
    """A cluster that takes arrays of ten, and enforces the limits of users."""
    limits = ("AccountingStorageEnforce=associations,limits",)
    with temporary_lab(LabOptions(nodes=1, max_array_size=11, extra_conf=limits)) as running:
        add = ["sacctmgr", "--immediate", "add"]
        running.run([*add, "account", "research"], as_user=False)
        running.run([*add, "user", USER_NAME, "account=research"], as_user=False)
        yield running


def test_arrays_are_split_at_the_sites_limit_and_keep_their_parallelism(small_lab: Lab) -> None:
    folder = copy_project(small_lab, "split")
    submit(small_lab, folder, "x=range(23)", HELD, "hydra.launcher.array_parallelism=4")
    batches = [json.loads(path.read_text()) for path in folder.glob("outputs/sweep/batches/*")]
    assert sorted(len(batch["submissions"]) for batch in batches) == [3, 10, 10]
    throttled = small_lab.ask(["squeue", "--noheader", "--format=%i"])
    assert throttled.count("%4]") == 2  # three elements need no throttle
    launch(small_lab, folder, "cancel", "--all")


def test_what_the_submit_limit_leaves_is_sent_by_resume_each_once(small_lab: Lab) -> None:
    folder = copy_project(small_lab, "limited")
    limit = ["sacctmgr", "--immediate", "modify", "user", USER_NAME, "set"]
    small_lab.run([*limit, "MaxSubmitJobs=12"], as_user=False)
    try:
        done = submit(small_lab, folder, "x=range(15)", HELD)
        assert "your submit limit left some runs unsent" in done.stderr
        assert states(small_lab, folder).count("pending") == 12
        assert states(small_lab, folder).count("held") == 3
        full = launch(small_lab, folder, "resume")
        assert "3 more wait for your submit limit" in full.stderr
        launch(small_lab, folder, "cancel", "0-4")
        rest = launch(small_lab, folder, "resume")
        assert "sent 3" in rest.stderr
        assert sorted(states(small_lab, folder)) == ["cancelled"] * 5 + ["pending"] * 10
    finally:
        small_lab.run([*limit, "MaxSubmitJobs=-1"], as_user=False)
        launch(small_lab, folder, "cancel", "--all")


def test_a_silent_scheduler_is_said_and_nothing_is_sent_on_a_guess(small_lab: Lab) -> None:
    folder = copy_project(small_lab, "silent")
    submit(small_lab, folder, "x=1,2", HELD)
    assert states(small_lab, folder) == ["pending", "pending"]
    small_lab.kill_daemon("slurmctld", signal.SIGTERM)
    try:
        shown = launch(small_lab, folder, "status")
        assert shown.returncode == 0, shown.stderr
        assert "○ pending" in shown.stdout
        assert "then JobHeldUser" in shown.stdout
        assert "SLURM does not answer" in shown.stderr
        refused = start(small_lab, folder, "app.py", "-m", *SLURM, "x=1,2,3", HELD)
        assert refused.returncode == 2
        assert "SLURM does not answer" in refused.stderr
        assert not (folder / "outputs" / "sweep" / "2").exists()
    finally:
        small_lab.revive()
    assert states(small_lab, folder) == ["pending", "pending"]
    launch(small_lab, folder, "cancel", "--all")


def test_runs_that_a_named_study_drops_are_shown_and_cancelled_on_request(lab: Lab) -> None:
    folder = lab.make_folder("named")
    study = ("hydra/launcher=slurm", "cluster=lab", "study=label_efficiency", "data.fraction=1.0")
    program = REPOSITORY / "train.py"
    first = start(lab, folder, program, *study, "backbone=transfuser", "trainer.seed=0", HELD)
    assert first.returncode == 0, first.stderr
    second = start(lab, folder, program, *study, "backbone=transfuser", "trainer.seed=5", HELD)
    assert "no longer wanted: base is pending" in second.stderr
    kept = [row["state"] for row in json.loads(launch(lab, folder, "status", "--json").stdout)]
    assert kept == ["pending"]
    third = start(
        lab, folder, program, *study, "backbone=transfuser", "trainer.seed=5", HELD,
        "unwanted=cancel",
    )  # fmt: skip
    assert third.returncode == 0, third.stderr
    (run,) = (p for p in folder.glob("outputs/label_efficiency/*/cancelled.json"))
    lab.wait([job_id(run.parent)])
    launch(lab, folder, "cancel", "--all")


def test_jobs_are_sent_also_while_all_nodes_are_drained(lab: Lab, project: Path) -> None:
    names = lab.options.node_names
    for name in names:
        lab.set_node_state(name, "drain")
    try:
        submit(lab, project, "x=1,2")
        assert states(lab, project) == ["pending", "pending"]
    finally:
        for name in names:
            lab.set_node_state(name, "resume")
    lab.wait(list(job_ids(project / "outputs" / "sweep").values()))
    assert states(lab, project) == ["completed", "completed"]
