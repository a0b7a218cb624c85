"""`launch plan` and `cluster.partition=auto`, with one partition full and one free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm import Lab, jobs
from tests.slurm.starts import (
    PARTITIONS,
    estimates,
    lab_with_a_choice,
    occupy,
    plan,
    project_of_site,
    table,
)
from tests.slurm.sweeps import job_ids, launch, start

AUTO = ("app.py", "-m", "hydra/launcher=slurm", "hydra.sweep.dir=outputs/sweep")
GPUS = "hydra.launcher.resources.gpus=4"


@pytest.fixture(scope="module")
def lab(permit_slurm: None) -> Iterator[Lab]:
    """Two partitions of two nodes each."""
    with lab_with_a_choice() as running:
        yield running


@pytest.fixture
def site(lab: Lab, request: pytest.FixtureRequest) -> Path:
    """The plain project with a profile of the lab."""
    return project_of_site(lab, f"it's {request.node.name[:24]}")


@pytest.fixture
def full(lab: Lab) -> Iterator[str]:
    """A partition whose nodes are taken for half an hour."""
    taken = [occupy(lab, "busy", 4, 30, f"--nodelist={node}") for node in PARTITIONS["busy"]]
    yield "busy"
    lab.ask(["scancel", *taken])
    lab.wait(taken)


def partitions_of(lab: Lab, ids: list[str]) -> set[str]:
    return {row["partition"] for row in jobs.select(lab.squeue(), set(ids))}


def test_the_free_partition_is_chosen_over_the_full_one(lab: Lab, site: Path, full: str) -> None:
    before = sorted(path for path in site.rglob("*") if "__pycache__" not in path.parts)
    options = plan(lab, site, "x=1", GPUS, "--gpus", "4,8,16")
    (chosen,) = (option for option in options if option["is_chosen"])
    assert (chosen["partition"], chosen["gpus"]) == ("free", 4)
    assert chosen["wait_s"] < 10
    waits = {o["gpus"]: o["wait_s"] for o in options if o["partition"] == full}
    assert 25 * 60 < waits[4] <= 30 * 60
    assert waits[16] is None
    problems = {o["partition"]: o["problem"] for o in options if o["gpus"] == 16}
    assert set(problems.values()) == {"does not fit: takes 4 nodes, there are 2"}
    after = sorted(path for path in site.rglob("*") if "__pycache__" not in path.parts)
    assert after == before
    assert lab.run(["squeue", "--noheader", "--partition=free"]).stdout == ""


def test_runs_that_leave_the_partition_open_go_to_the_free_one_and_stay_the_same_runs(
    lab: Lab, site: Path, full: str
) -> None:
    sent = start(lab, site, *AUTO, "x=1,2", GPUS)
    assert sent.returncode == 0, sent.stderr
    assert sent.stderr.count("cluster.partition=auto: free with 1 x 4 l40s, starts now") == 1
    ids = list(job_ids(site / "outputs" / "sweep").values())
    assert partitions_of(lab, ids) == {"free"}
    lab.wait(ids)
    for node in PARTITIONS["free"]:
        occupy(lab, "free", 4, 60, f"--nodelist={node}")
    again = start(lab, site, *AUTO, "x=1,2", GPUS)
    assert "2 runs: 2 done; 0 to submit" in again.stderr
    more = start(lab, site, *AUTO, "x=1,2,3", GPUS)
    # The other partition is free sooner now; what is known does not look changed for that.
    assert "cluster.partition=auto: busy with 1 x 4 l40s" in more.stderr
    assert "3 runs: 2 done, 1 new; 1 to submit" in more.stderr
    once_more = start(lab, site, *AUTO, "x=1,2,3", GPUS)
    assert "3 runs: 2 done, 1 pending; 0 to submit" in once_more.stderr
    assert "changed" not in once_more.stderr
    assert launch(lab, site, "cancel", "--all").returncode == 0
    lab.ask(["scancel", "--partition=free", "--state=RUNNING"])


def test_a_shape_that_no_partition_has_is_refused_with_the_nearest(lab: Lab, site: Path) -> None:
    refused = start(lab, site, *AUTO, "x=1", "hydra.launcher.resources.gpus=16")
    assert refused.returncode == 2
    assert "busy with 4 x 4 l40s: does not fit: takes 4 nodes, there are 2" in refused.stderr
    assert "nearest shapes that fit: 2 x 4 l40s on busy, 2 x 4 l40s on free" in refused.stderr
    assert not (site / "outputs").exists()


@pytest.mark.parametrize("number", [4, pytest.param(10, marks=pytest.mark.nightly)])
def test_estimates_of_starts_are_as_good_as_the_schedulers_own(
    lab: Lab, site: Path, number: int
) -> None:
    found = estimates(lab, site, number)
    assert len(found) == number
    worse = [one for one in found if one.our_error_s > one.schedulers_error_s + 10]
    assert not worse, table(found)
    # The load was real.
    assert sum(one.waited_s > 10 for one in found) >= number // 2, table(found)
