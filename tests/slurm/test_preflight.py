"""What can be known before sbatch is said before sbatch, by the SLURM that would be asked."""

import re
from pathlib import Path

import pytest

from tests.programs import REPOSITORY
from tests.slurm import Lab
from tests.slurm.sweeps import launch, start
from tests.slurm.test_launcher import SHORT

TRAIN = REPOSITORY / "train.py"
ON_LAB = ("hydra/launcher=slurm", "cluster=lab")
EIGHT = ("resources.gpus=8", "resources.cpus_per_rank=2", "resources.mem_gb=8")
HALVES = [
    ("trainer.devices=3", "follow from the shape: set resources.gpus"),
    ("+trainer.num_nodes=1", "half of a shape"),
    ("resources.nodes=3", "does not divide over 3 nodes"),
    ("resources.gpus_per_node=3", "is not nodes x gpus_per_node"),
    ("hydra.launcher.nodes=1", "contradicts the shape 2 x 4 GPU, by which it is 2"),
    ("hydra.launcher.tasks_per_node=1", "by which it is 4"),
    ("hydra.launcher.gpus_per_node=1", "by which it is 4"),
    ("hydra.launcher.gres=gpu:l40s:1", "by which it is 4"),
    ("hydra.launcher.gpus_per_task=4", "by which it is 1"),
    ("hydra.launcher.cpus_per_task=1", "by which it is 2"),
    ("hydra.launcher.mem_gb=4", "by which it is 8 GB"),
    ("hydra.launcher.mem_per_cpu=4G", "by which it is 1 GB"),
    ("hydra.launcher.timeout_min=5", "by which it is 60 min"),
    ("+hydra.launcher.additional_parameters.ntasks=4", "by which it is 8"),
    ("+hydra.launcher.additional_parameters.gpus=4", "by which it is 8"),
]
REFUSED = [
    (
        "cluster.partition=gqu",
        "`cluster.partition=gqu` is not in the profile `lab`, which lists: gpu, preempt",
        "cluster.partition=gpu",
    ),
    ("resources.timeout_min=2881", "asks for 2881 minutes, cluster `lab` has 2880", "resources"),
    (
        "cluster.partition=preempt resources.timeout_min=241"
        " cluster.partitions.preempt.max_time_min=null",
        "above the limit of 240 min (partition preempt)",
        "resources.timeout_min=240",
    ),
    (
        "cluster.gpus_per_node=8 cluster.cpus_per_node=16 resources.gpus_per_node=8",
        "1 nodes of at least 8 GPUs, 16 CPUs, 8 GB are asked for, 0 are that large",
        "resources.nodes=2 resources.gpus_per_node=4",
    ),
    ("cluster.gpu_type=h100", "Requested node configuration is not available", "cluster"),
]


def test_eight_gpus_are_two_nodes_of_four_ranks_and_just_work(lab: Lab) -> None:
    folder = lab.make_folder("eight")
    tiny = ("scale.data.num_logs=12", "wait=true")
    done = start(lab, folder, TRAIN, *ON_LAB, "resources.gpus=8", *tiny, *SHORT)
    assert done.returncode == 0, done.stderr
    (log,) = folder.glob("outputs/single-*/*/train.log")
    ranks = re.findall(
        r"rank (\d) of 8 on (\w+): trained on 80 samples, weights (\w+)", log.read_text()
    )
    assert {(rank, node) for rank, node, _ in ranks} == {
        (str(rank), "gl001" if rank < 4 else "gl002") for rank in range(8)
    }
    assert len({weights for *_, weights in ranks}) == 1


@pytest.mark.parametrize(("override", "reason"), HALVES)
def test_one_half_of_a_pair_alone_is_refused_with_the_reason(
    lab: Lab, override: str, reason: str
) -> None:
    before = lab.squeue()
    done = start(lab, lab.make_folder("halves"), TRAIN, *ON_LAB, *EIGHT, override)
    assert done.returncode == 2, done.stderr
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert len(lab.squeue()) <= len(before)


@pytest.mark.parametrize(("overrides", "reason", "hint"), REFUSED)
def test_what_the_site_could_never_start_is_refused(
    lab: Lab, overrides: str, reason: str, hint: str
) -> None:
    folder = lab.make_folder("refused")
    done = start(lab, folder, TRAIN, *ON_LAB, *EIGHT, *overrides.split())
    assert done.returncode == 2, done.stderr
    assert reason in done.stderr
    assert hint in done.stderr.partition("hint:")[2]
    assert not (folder / "outputs").exists() or not list((folder / "outputs").glob("single-*"))


def test_a_limit_of_a_qos_is_found_although_sbatch_would_take_the_job(lab: Lab) -> None:
    folder = lab.make_folder("qos")
    lab.ask(["sacctmgr", "--immediate", "add", "qos", "hasty", "MaxWall=5", "MaxTRES=gres/gpu=4"])
    try:
        hasty = (*ON_LAB, *EIGHT, "cluster.qos=hasty", "dry_run=true")
        long = start(lab, folder, TRAIN, *hasty, "resources.timeout_min=6")
        short = start(lab, folder, TRAIN, *hasty, "resources.timeout_min=5", "resources.gpus=4")
    finally:
        lab.ask(["sacctmgr", "--immediate", "delete", "qos", "hasty"])
    assert long.returncode == 2
    assert "resources.timeout_min=6 is above the limit of 5 min (QOS hasty)" in long.stderr
    assert "limits: 8 GPUs are asked for, 4 are permitted (QOS hasty, per job)" in long.stderr
    assert short.returncode == 0, short.stderr


def test_a_partition_that_is_gone_is_refused_where_no_profile_lists_any(
    lab: Lab, project: Path
) -> None:
    done = start(
        lab, project, "app.py", "-m", "hydra/launcher=slurm", "hydra.launcher.partition=gqu"
    )
    assert done.returncode == 2
    assert "partition `gqu` does not exist; there are: gpu, preempt" in done.stderr
    assert "cluster.partition=gpu" in done.stderr


def test_the_doctor_runs_all_checks_and_sends_nothing(lab: Lab) -> None:
    folder = lab.make_folder("doctor")
    program = ("--program", str(TRAIN))
    well = launch(lab, folder, "doctor", *ON_LAB, *EIGHT, *program)
    assert well.returncode == 0, well.stderr
    for name in ("partition", "node_size", "walltime", "output_folder", "importable", "scheduler"):
        assert re.search(rf"^✓ {name}", well.stdout, re.MULTILINE), well.stdout
    ill = launch(lab, folder, "doctor", *ON_LAB, *EIGHT, "cluster.gpu_type=h100", *program)
    assert ill.returncode == 2
    assert re.search(
        r"^✗ scheduler .*node configuration is not available", ill.stdout, re.MULTILINE
    )
    assert _files(folder) == []


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
