"""What jobs on a real SLURM are said to hold is what they hold, file cache aside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launcher import measures
from launcher.measures import Measure
from tests.programs import REPOSITORY
from tests.slurm import Lab
from tests.slurm.sweeps import launch, start

PROJECT = REPOSITORY / "tests" / "projects" / "holding"
HELD_GB = 2000 / 1024
KINDS = ("nothing", "memory", "shared", "cache")


@pytest.fixture(scope="module")
def folder(lab: Lab) -> Path:
    """The project with four finished runs, each of which held something else."""
    folder = lab.make_folder("holding")
    lab.run(["cp", "-r", f"{PROJECT}/.", folder])
    done = start(
        lab, folder, "app.py", "-m", "hydra/launcher=slurm", "hydra.sweep.dir=outputs/s",
        "hydra.launcher.wait=true", "hydra.launcher.resources.mem_gb=3",
        f"what={','.join(KINDS)}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def measured(folder: Path) -> dict[str, Measure]:
    """What was measured of each run."""
    found = [measures.of_run(folder / "outputs" / "s" / str(n)) for n in range(len(KINDS))]
    assert [len(lives) for lives in found] == [1] * len(KINDS)
    return {kind: lives[0] for kind, lives in zip(KINDS, found, strict=True)}


def node_gb(measure: Measure) -> float:
    held = measure.node_gb()
    assert held is not None
    return held


@pytest.mark.parametrize("kind", ["memory", "shared"])
def test_what_a_job_holds_is_counted_within_five_percent(
    kind: str, measured: dict[str, Measure]
) -> None:
    held = node_gb(measured[kind]) - node_gb(measured["nothing"])
    assert held == pytest.approx(HELD_GB, rel=0.05)
    (use,) = measured[kind].ranks
    (nothing,) = measured["nothing"].ranks
    assert use.phases[0].rank_gb - nothing.phases[0].rank_gb == pytest.approx(HELD_GB, rel=0.05)


def test_file_cache_is_told_and_does_not_count(measured: dict[str, Measure]) -> None:
    cached = measured["cache"].ranks[0].phases[0]
    assert cached.node_gb is not None
    assert cached.node_with_cache_gb is not None
    assert cached.node_with_cache_gb - cached.node_gb > 0.9 * HELD_GB
    extra = node_gb(measured["cache"]) - node_gb(measured["nothing"])
    assert abs(extra) < 0.05 * HELD_GB


def test_the_limit_and_the_end_are_known(measured: dict[str, Measure]) -> None:
    for measure in measured.values():
        assert (measure.mem_gb, measure.outcome, measure.is_complete) == (3.0, "completed", True)


def test_runs_that_take_the_same_find_each_other(folder: Path) -> None:
    profiles = sorted((folder / ".launcher" / "profiles").iterdir())
    found = [measures.remembered(profile) for profile in profiles]
    assert {measure.run_dir.name for one in found for measure in one} == {"0", "1", "2", "3"}


def test_launch_show_tells_what_each_attempt_took(lab: Lab, folder: Path) -> None:
    done = launch(lab, folder, "show", "1", "--json")
    assert done.returncode == 0, done.stderr
    (ranks,) = json.loads(done.stdout)["use"].values()
    assert ranks[0]["phases"][0]["node_gb"] > HELD_GB
    table = launch(lab, folder, "show", "1").stdout
    assert "start GB" in table
