"""Probes on a real SLURM: over several nodes, against a real limit of memory, detached."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from launcher import measures
from launcher.measures import Measure
from tests.programs import REPOSITORY
from tests.slurm import Lab
from tests.slurm.sweeps import job_ids, launch

PROJECT = REPOSITORY / "tests" / "projects" / "memory"
SLURM = (
    "--program", "app.py", "hydra/launcher=slurm", "hydra.sweep.dir=outputs/s",
    "hydra.launcher.cluster.accelerator=cpu", "trainer.max_steps=400", "trainer.val_batches=400",
    "trainer.val_every_steps=400", "data.num_workers=1",
)  # fmt: skip
RESOURCES = "hydra.launcher.resources"


@pytest.fixture
def eater(lab: Lab, request: pytest.FixtureRequest) -> Path:
    folder = lab.make_folder(f"probe-{request.node.name[5:30]}")
    lab.run(["cp", "-r", f"{PROJECT}/.", folder])
    return folder


def study_of(project: Path) -> Path:
    (study,) = project.glob(".launcher/profiles/probes/*")
    return study


def only_measure(project: Path) -> Measure:
    """What the only attempt took, found as predictions find it."""
    (profile,) = (p for p in project.glob(".launcher/profiles/*") if p.name != "probes")
    (measure,) = measures.remembered(profile)
    return measure


def test_a_probe_on_two_nodes_of_two_ranks_ends_together_and_measures_all_of_them(
    lab: Lab, eater: Path
) -> None:
    shape = (f"{RESOURCES}.gpus=4", f"{RESOURCES}.nodes=2", f"{RESOURCES}.mem_gb=3")
    done = launch(lab, eater, "probe", *SLURM, *shape, "--steps", "10", "--val-batches", "3")
    assert done.returncode == 0, done.stderr
    assert re.search(r"base: fits, at most [\d.]+ of 3 GB per node", done.stdout), done.stdout
    (job,) = job_ids(study_of(eater)).values()
    lab.wait([job])
    (account,) = (row for row in lab.sacct(job) if row["JobID"] == job)
    assert (account["State"], account["ExitCode"]) == ("COMPLETED", "0:0")
    measure = only_measure(eater)
    assert measure.is_probe
    assert measure.is_complete
    assert (measure.world_size, measure.num_nodes, len(measure.hosts)) == (4, 2, 2)
    assert measure.outcome == "completed"
    assert measure.overlaps
    assert measure.samples_per_s is not None
    assert measure.checkpoint_s is not None
    assert measure.node_gb("validate") is not None
    progress = json.loads((measure.run_dir / "progress.json").read_text())
    assert progress["step"] == 10


def test_a_probe_that_the_kernel_kills_when_validation_starts_is_an_answer_and_remembered(
    lab: Lab, eater: Path
) -> None:
    heavy = ("data.val_worker_mb=900", f"{RESOURCES}.mem_gb=1")
    done = launch(lab, eater, "probe", *SLURM, *heavy, "--steps", "10", "--val-batches", "3")
    assert done.returncode == 0, done.stderr
    said = re.search(r"base: does not fit: the host ran out of memory(.*)", done.stdout)
    assert said is not None, done.stdout
    assert re.search(r"at most 0\.\d+ of 1 GB per node", said[1]), said[0]
    (job,) = job_ids(study_of(eater)).values()
    lab.wait([job])
    (account,) = (row for row in lab.sacct(job) if row["JobID"] == job)
    assert account["State"] in ("OUT_OF_MEMORY", "FAILED")
    measure = only_measure(eater)
    assert measure.outcome == "host_oom"
    assert measure.samples_per_s is not None, "the steps before it were timed"
    assert measure.phases("switch"), "it was killed when the validation began"
    assert len(list(measure.run_dir.glob("attempts/*.verdict.json"))) == 1


def test_detached_probes_of_several_shapes_are_compared_later(lab: Lab, eater: Path) -> None:
    for gpus in (1, 2):
        done = launch(
            lab, eater, "probe", *SLURM, f"{RESOURCES}.gpus={gpus}", f"{RESOURCES}.mem_gb=3",
            "hydra.launcher.wait=false", "--steps", "10", "--val-batches", "1",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    come_back = re.search(r"launch scaling (\S+)", done.stderr)
    assert come_back is not None, done.stderr
    lab.wait(list(job_ids(study_of(eater)).values()))
    compared = launch(lab, eater, "scaling", come_back[1], "--json")
    assert compared.returncode == 0, compared.stderr
    rows: list[dict[str, Any]] = json.loads(compared.stdout)
    assert [(row["ranks"], row["outcome"]) for row in rows] == [(1, "completed"), (2, "completed")]
    assert rows[0]["speed_up"] == 1.0
    assert rows[1]["speed_up"] == pytest.approx(rows[1]["samples_per_s"] / rows[0]["samples_per_s"])
    assert rows[1]["host_gb"] > 1.3 * rows[0]["host_gb"]


def test_a_probe_is_checked_as_a_run_is_before_anything_is_made(lab: Lab, eater: Path) -> None:
    gone = launch(lab, eater, "probe", *SLURM, "hydra.launcher.partition=gqu")
    assert gone.returncode == 2
    assert "partition `gqu` does not exist; there are: gpu, preempt" in gone.stderr
    large = launch(lab, eater, "probe", *SLURM, f"{RESOURCES}.mem_gb=900")
    assert large.returncode == 2
    assert "900 GB" in large.stderr
    assert "sbatch" not in large.stderr.splitlines()[0]  # the check of the nodes' size came first
    assert not (eater / ".launcher" / "profiles" / "probes").exists()
