"""Labs that differ from the usual one in what their options say."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm import CommandFailedError, Lab, LabOptions, start, stop
from tests.slurm.waiting import wait_until


@pytest.fixture(scope="module", name="closed")
def _closed() -> Iterator[Path]:
    """Make a folder that only root may enter, with something of interest in it."""
    with tempfile.TemporaryDirectory(prefix="closed-") as name:
        folder = Path(name)
        folder.chmod(0o700)
        (folder / "data").mkdir()
        (folder / "data" / "scene").write_text("left turn\n")
        (folder / "other").touch()
        yield folder


@pytest.fixture(scope="module")
def lab(permit_slurm: None, closed: Path) -> Iterator[Lab]:
    """Run a poor cluster, itself in a closed folder."""
    options = LabOptions(
        nodes=1,
        node_prefix="n",
        gpus_per_node=0,
        accounting=False,
        preempt_user_signal=True,
        grace_time_s=3,
        kill_wait_s=1,
        max_array_size=5,
        expose=(str(closed / "data"),),
        extra_conf=("DefMemPerCPU=123",),
    )
    directory = closed / "lab"
    try:
        yield start(directory, options)
    finally:
        stop(directory)


def test_node_has_another_name_and_no_gpus(lab: Lab) -> None:
    assert lab.ask(["sinfo", "--noheader", "--partition=gpu", "--format=%N %G"]) == "n001 (null)\n"


def test_last_line_of_the_configuration_wins(lab: Lab) -> None:
    assert "DefMemPerCPU            = 123\n" in lab.scontrol("show", "config")


def test_wait_needs_no_accounts(lab: Lab) -> None:
    job = lab.sbatch("hostname")
    lab.wait(job)
    assert (lab.home / f"slurm-{job}.out").read_text() == "n001\n"
    with pytest.raises(CommandFailedError, match="accounting storage is disabled"):
        lab.sacct(job)


def test_array_that_is_too_large_is_refused(lab: Lab) -> None:
    with pytest.raises(CommandFailedError, match="Invalid job array specification"):
        lab.sbatch("true", "--array=0-5")


def test_only_what_is_exposed_is_reached(lab: Lab, closed: Path) -> None:
    assert lab.run(["cat", closed / "data" / "scene"]).stdout == "left turn\n"
    assert lab.run(["ls", closed]).stdout.split() == ["data", "lab"]


def test_preempted_job_first_gets_the_signal_it_asked_for(lab: Lab) -> None:
    script = "trap 'echo asked' USR1; trap 'echo told' TERM; for i in {1..99}; do sleep 0.2; done"
    low = lab.sbatch(script, "--partition=preempt", "--exclusive", "--signal=B:USR1@30")
    wait_until(lambda: lab.squeue()[-1]["state"] == "RUNNING", "the job runs", 20)
    high = lab.sbatch("true", "--exclusive")
    lab.wait(high)
    lab.ask(["scancel", low])
    words = (lab.home / f"slurm-{low}.out").read_text().split()
    assert words[0] == "asked"
