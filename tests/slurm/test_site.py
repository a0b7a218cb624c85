"""`launch cluster` on a real SLURM: what it finds is true, and a sweep runs with nothing else."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.programs import REPOSITORY
from tests.slurm import Lab, LabOptions, temporary_lab
from tests.slurm.layout import USER_NAME
from tests.slurm.sweeps import copy_project, job_ids, launch, start

PARTITIONS = (
    "AccountingStorageEnforce=associations,limits,qos",
    "PartitionName=big Nodes=gl001 MaxTime=2:00:00 MaxNodes=1 PriorityTier=10 PreemptMode=OFF"
    " AllowAccounts=vision DefMemPerCPU=1000 State=UP",
    "PartitionName=closed Nodes=gl002 AllowAccounts=chemistry State=UP",
)


@pytest.fixture(scope="module")
def site(permit_slurm: None) -> Iterator[Lab]:
    """A site with accounts, QOS, and partitions that are not for everybody."""
    with temporary_lab(LabOptions(nodes=2, extra_conf=PARTITIONS)) as running:
        for words in (
            "add qos short MaxWall=60 MaxTRESPerUser=gres/gpu=6",
            "add qos part_big MaxTRESPerJob=gres/gpu=3 MaxSubmitJobsPerUser=50",
            "add account vision",
            "add account robots",
            f"add user {USER_NAME} account=vision,robots DefaultAccount=robots",
            f"modify user {USER_NAME} where account=vision set qos=normal,short",
        ):
            running.run(["sacctmgr", "-i", *words.split()], as_user=False)
        # Which cannot be in slurm.conf before the QOS is there.
        running.scontrol("update", "partitionname=big", "qos=part_big")
        yield running


@pytest.fixture(scope="module")
def found(site: Lab) -> dict[str, Any]:
    """What `discover` writes, with a look from a node."""
    folder = site.make_folder("found")
    done = launch(site, folder, "cluster", "discover", "--try-node")
    assert done.returncode == 0, done.stderr
    text = (folder / "site.yaml").read_text()
    tree: dict[str, Any] = yaml.safe_load(text)
    return {**tree, "text": text, "said": done.stderr, "shown": done.stdout}


def test_partitions_are_found_with_their_nodes_and_limits(found: dict[str, Any]) -> None:
    assert list(found["partitions"]) == ["gpu", "preempt", "big"]
    assert found["partitions"]["big"] == {
        "gpu_type": "l40s",
        "gpus_per_node": 4,
        "gpu_mem_gb": 48,
        "cpus_per_node": 8,
        "mem_gb_per_node": 15.6,
        "num_nodes": 1,
        "max_time_min": 120,
        "max_nodes": 1,
        "max_gpus": 3,
        "max_submit": 50,
        "account": "vision",
        "accounts": ["vision"],
        "qos_choices": ["normal", "short"],
    }
    low = found["partitions"]["preempt"]
    assert (low["max_time_min"], low["is_preemptible"], low["grace_time_s"]) == (240, True, 10)
    assert "is_preemptible" not in found["partitions"]["gpu"]


def test_what_holds_for_the_whole_site_is_found(found: dict[str, Any]) -> None:
    assert (found["name"], found["partition"]) == ("lab", "gpu")
    assert found["dialect"] == {"gpus": "gres", "memory": "node"}
    assert (found["max_array_size"], found["requeue"], found["has_accounting"]) == (
        1001, True, True,
    )  # fmt: skip
    assert isinstance(found["nodes_have_internet"], bool)
    assert re.search(r"^#   SLURM 2\d\.\d\d", found["text"], re.MULTILINE)


def test_who_is_let_in_is_found_although_sbatch_would_take_everybody(
    site: Lab, found: dict[str, Any]
) -> None:
    """SLURM only notices when such a job should start."""
    script = "#!/bin/bash\ntrue\n"
    asked = ["sbatch", "--test-only", "--partition=closed", "--account=robots"]
    assert site.run(asked, input=script).returncode == 0
    assert "partition closed: not for you: only for the accounts chemistry" in found["said"]
    assert found["partitions"]["gpu"]["accounts"] == ["robots", "vision"]
    assert found["partitions"]["gpu"]["qos_choices"] == ["normal"]


def test_what_a_node_sees_is_said(found: dict[str, Any]) -> None:
    assert "nodes share" in found["said"]
    assert "does not know the address" not in found["said"]
    assert ".node-" not in found["text"]


@pytest.mark.parametrize("partition", ["gpu", "big"])
def test_a_sweep_of_a_foreign_project_runs_with_the_profile_and_nothing_else(
    site: Lab, partition: str
) -> None:
    folder = copy_project(site, f"foreign {partition}")
    target = folder / "conf" / "cluster" / "here.yaml"
    done = launch(
        site, folder, "cluster", "discover", "--to", str(target),
        "--package", "hydra.launcher.cluster",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "use it: hydra/launcher=slurm +cluster=here" in done.stderr
    chosen = [] if partition == "gpu" else [f"hydra.launcher.cluster.partition={partition}"]
    done = start(
        site, folder, "app.py", "-m", "hydra/launcher=slurm", "+cluster=here", "x=1,2",
        "hydra.launcher.wait=true", "hydra.sweep.dir=outputs/s",
        "hydra.launcher.resources.gpus=1", "hydra.launcher.cluster.accelerator=cpu", *chosen,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for job in job_ids(folder / "outputs" / "s").values():
        site.wait(job)
        row = site.sacct(job, ("State", "Partition", "Account", "ReqTRES"))[0]
        assert (row["State"], row["Partition"]) == ("COMPLETED", partition)
        assert row["Account"] == {"gpu": "robots", "big": "vision"}[partition]
        assert "gres/gpu=1" in row["ReqTRES"]
        assert "mem=3G" in row["ReqTRES"]  # the share of a node that goes with one GPU of four


def test_our_own_program_runs_with_the_site_that_was_found(site: Lab) -> None:
    folder = site.make_folder("own")
    site.run(["cp", "-r", REPOSITORY / "conf", folder])
    done = launch(site, folder, "cluster", "init", "--account", "vision", "--yes")
    assert done.returncode == 0, done.stderr
    written = folder / "conf" / "cluster" / "site.yaml"
    assert "placeholder" not in written.read_text()
    shown = launch(site, folder, "cluster", "show", "auto", "--json")
    assert json.loads(shown.stdout)["partitions"]["gpu"]["account"] == "vision"
    done = start(
        site, folder, REPOSITORY / "train.py", "--config-path", folder / "conf", "-m",
        "hydra/launcher=slurm", "cluster=site", "hydra.launcher.dry_run=true",
        "hydra.launcher.show_script=true", "resources.gpus=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for directive in ("account=vision", "gres=gpu:l40s:2", "partition=gpu"):
        assert f"#SBATCH --{directive}" in done.stdout


def test_hand_edits_survive_a_second_look(site: Lab) -> None:
    folder = site.make_folder("edits")
    launch(site, folder, "cluster", "discover")
    path = folder / "site.yaml"
    head, mark, tail = path.read_text().partition("# What was found")
    mine = head.replace("max_time_min: 2880", "max_time_min: 600\n    speed: 0.9")
    site.run(["tee", path], input=mine + mark + tail)
    done = launch(site, folder, "cluster", "discover")
    assert done.returncode == 0, done.stderr
    tree = yaml.safe_load(path.read_text())["partitions"]["gpu"]
    assert (tree["max_time_min"], tree["speed"]) == (600, 0.9)
    assert "kept as you changed them: partitions.gpu.max_time_min=600" in done.stderr
    assert "+    max_time_min: 600  # yours; found: 2880" in done.stderr


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_account_that_is_not_yours_is_answered_with_those_that_are(site: Lab) -> None:
    folder = copy_project(site, "accounts")
    slurm = ("hydra/launcher=slurm", "hydra.launcher.cluster.account=physics")
    said = refused(start(site, folder, "app.py", "-m", *slurm))
    assert "Invalid account" in said
    assert "cluster.account is one of yours: robots, vision" in said
    said = refused(launch(site, folder, "cluster", "init", "--account", "physics", "--yes"))
    assert "`physics` is none of your accounts; yours are: robots, vision" in said


def test_a_profile_of_another_site_is_refused_with_the_partitions_that_there_are(
    site: Lab,
) -> None:
    folder = copy_project(site, "elsewhere")
    slurm = ("hydra/launcher=slurm", "hydra.launcher.cluster.partition=l40s_public")
    said = refused(start(site, folder, "app.py", "-m", *slurm))
    assert "partition `l40s_public` does not exist; there are: big, closed, gpu, preempt" in said


def test_without_a_terminal_init_says_which_flags_would_answer(site: Lab) -> None:
    folder = site.make_folder("init")
    said = refused(launch(site, folder, "cluster", "init"))
    assert "launch cluster init --account robots" in said
    said = refused(launch(site, folder, "cluster", "init", "--account", "robots"))
    assert "launch cluster init --partition gpu --python same --modules none --work none" in said
    assert not (folder / "site.yaml").exists()


def test_init_writes_what_it_was_told(site: Lab) -> None:
    folder = site.make_folder("told")
    done = launch(
        site, folder, "cluster", "init", "--account", "vision", "--partition", "auto",
        "--python", "venv:/opt/envs/a", "--modules", "cuda/12.4,gcc", "--work", str(folder),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tree = yaml.safe_load((folder / "site.yaml").read_text())
    assert tree["python"] == {
        "kind": "venv", "path": "/opt/envs/a", "modules": ["cuda/12.4", "gcc"],
    }  # fmt: skip
    assert (tree["partition"], tree["work_dir"]) == ("auto", str(folder))
    assert {p["account"] for p in tree["partitions"].values()} == {"vision"}


def test_without_slurmctld_it_says_so_and_writes_nothing(site: Lab) -> None:
    folder = site.make_folder("silent")
    nowhere = folder / "slurm.conf"
    site.run(["tee", nowhere], input="ClusterName=x\nSlurmctldHost=localhost\nSlurmctldPort=9\n")
    command = ["env", f"SLURM_CONF={nowhere}", "launch", "cluster", "discover"]
    done = site.run(command, cwd=folder, timeout_s=120, check=False)
    assert "error: SLURM does not answer: scontrol:" in refused(done)
    assert not (folder / "site.yaml").exists()


def test_a_machine_without_slurm_says_so(site: Lab) -> None:
    folder = site.make_folder("bare")
    program = site.run(["which", "launch"]).stdout.strip()
    python = Path(program).read_text().splitlines()[0].removeprefix("#!")
    command = ["env", "PATH=/nowhere", python, program, "cluster", "discover"]
    said = refused(site.run(command, cwd=folder, check=False))
    assert "there is no SLURM on this machine: `sinfo`, `scontrol`, `sbatch`" in said
