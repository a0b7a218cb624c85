"""Sweeps on a real SLURM, submitted by an ordinary user: arrays, DDP, honest ends."""

import csv
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.programs import REPOSITORY, train
from tests.slurm import Lab
from tests.slurm.sweeps import job_ids, launch, start

SHORT = (
    "scale.trainer.max_steps=20",
    "scale.trainer.val_every_steps=10",
    "scale.pretrain.steps=20",
)
SWEEP = (
    "backbone=ijepa,transfuser", "data.fraction=0.2,0.5,1.0", "scale.data.num_logs=40",
)  # fmt: skip
SLURM = ("hydra/launcher=slurm", "cluster=lab", "hydra.launcher.wait=true")
METRICS = ("ade_m", "fde_m", "heading_error_rad", "collision_rate", "offroad_rate")


def results(study: Path) -> dict[str, dict[str, Any]]:
    """Run name -> row of the results table."""
    with (study / "results.csv").open() as file:
        return {row["run"]: row for row in csv.DictReader(file)}


def test_the_main_job_is_one_pretraining_and_two_arrays_with_the_results_of_a_local_run(
    lab: Lab, tmp_path: Path
) -> None:
    folder = lab.make_folder("main")
    done = start(lab, folder, REPOSITORY / "train.py", "-m", *SWEEP, *SLURM, *SHORT)
    assert done.returncode == 0, done.stderr
    (study,) = folder.glob("outputs/backbone-*")
    ids = job_ids(study)
    assert len(ids) == 8
    encoder = next(job for name, job in ids.items() if name.startswith("encoder"))
    ijepa = {job.partition("_")[0] for name, job in ids.items() if "ijepa" in name}
    other = {job.partition("_")[0] for name, job in ids.items() if "transfuser" in name}
    assert "_" not in encoder
    assert len(ijepa) == len(other) == 1
    lab.wait(list(ids.values()))
    accounts = {job: lab.sacct(job)[0] for job in ids.values()}
    assert {row["State"] for row in accounts.values()} == {"COMPLETED"}
    assert (study / "score_vs_fraction.png").stat().st_size > 10_000

    (tmp_path / "data").symlink_to(folder / "data")
    local = train("-m", *SWEEP, *SHORT, cwd=tmp_path, timeout_s=900)
    assert local.returncode == 0, local.stderr
    (local_study,) = tmp_path.glob("outputs/backbone-*")
    here, there = results(local_study), results(study)
    assert here.keys() == there.keys()
    for name, row in here.items():
        assert [row[m] for m in METRICS] == [there[name][m] for m in METRICS], name


def test_four_ranks_on_two_nodes_train_one_model(lab: Lab) -> None:
    folder = lab.make_folder("ddp")
    shape = ("resources.gpus=4", "resources.nodes=2", "scale.data.num_logs=12")
    done = start(lab, folder, REPOSITORY / "train.py", *SLURM, *SHORT, *shape)
    assert done.returncode == 0, done.stderr
    logs = [path.read_text() for path in sorted(folder.glob("outputs/single-*/*/train*.log"))]
    assert len(logs) == 4
    ranks = set(
        re.findall(r"rank (\d) of 4 on (\w+): trained on 160 samples, weights (\w+)", logs[0])
    )
    assert {(rank, node) for rank, node, _ in ranks} == {
        ("0", "gl001"), ("1", "gl001"), ("2", "gl002"), ("3", "gl002"),
    }  # fmt: skip
    assert len({weights for *_, weights in ranks}) == 1


def test_a_task_that_raises_is_failed_for_slurm_too_and_the_others_finish(
    lab: Lab, project: Path
) -> None:
    overrides = ("hydra/launcher=slurm", "hydra.launcher.wait=true", "hydra.sweep.dir=sweep")
    done = start(lab, project, "app.py", "-m", *overrides, "x=1,2,3", "fail=2")
    assert done.returncode == 1
    assert "1 of 3 runs failed" in done.stderr
    ids = job_ids(project / "sweep")
    lab.wait(list(ids.values()))
    ends = {name: lab.sacct(job)[0] for name, job in ids.items()}
    assert {name: row["State"] for name, row in ends.items()} == {
        "x=1": "COMPLETED", "x=2": "FAILED", "x=3": "COMPLETED",
    }  # fmt: skip
    assert ends["x=2"]["ExitCode"] == "1:0"
    log = (project / "sweep" / "1" / "app.log").read_text()
    assert log.rstrip().endswith("ValueError: x is 2")


def test_without_waiting_the_prompt_comes_back_and_results_come_later(
    lab: Lab, project: Path
) -> None:
    gate = project / "gate"
    overrides = ("hydra/launcher=slurm", "hydra.sweep.dir=outputs/sweep")
    done = start(lab, project, "app.py", "-m", *overrides, "x=1,2", f"wait_for='{_escaped(gate)}'")
    assert done.returncode == 0, done.stderr
    pending = launch(lab, project, "status", "--json")
    assert {run["state"] for run in json.loads(pending.stdout)} <= {"pending", "running"}
    lab.run(["touch", gate])
    lab.wait(list(job_ids(project / "outputs" / "sweep").values()))
    shown = launch(lab, project, "results", "--json")
    assert [row["double"] for row in json.loads(shown.stdout)] == [2.0, 4.0]


def _escaped(path: Path) -> str:
    return str(path).replace("'", "\\'")


def test_an_unknown_partition_is_refused_with_the_nearest(lab: Lab) -> None:
    folder = lab.make_folder("refused")
    before = len(lab.squeue())
    done = start(lab, folder, REPOSITORY / "train.py", *SLURM, "cluster.partition=gpus")
    assert done.returncode == 2
    assert "`cluster.partition=gpus` is not in the profile `lab`" in done.stderr
    assert "lists: gpu, preempt" in done.stderr
    assert "hint: cluster.partition=gpu\n" in done.stderr
    assert len(lab.squeue()) == before
    assert not list(folder.glob("outputs/*"))


def test_what_slurm_would_refuse_is_refused_before_anything_is_sent(lab: Lab) -> None:
    folder = lab.make_folder("refused2")
    done = start(
        lab, folder, REPOSITORY / "train.py", *SLURM, "cluster.gpu_type=h100", "resources.gpus=1"
    )
    assert done.returncode == 2
    assert "SLURM would refuse" in done.stderr
    assert not list(folder.glob("outputs/*"))


def test_a_run_whose_requirement_fails_does_not_pend_for_ever(lab: Lab, project: Path) -> None:
    overrides = ("hydra/launcher=slurm", "hydra.launcher.wait=true", "hydra.sweep.dir=sweep")
    chain = (
        "x=1",
        "fail=2",
        "+hydra.launcher.requires.first=['x=2','hydra.launcher.requires.first=null']",
    )
    done = start(lab, project, "app.py", "-m", *overrides, *chain)
    assert done.returncode == 1, done.stderr
    assert "2 of 2 runs failed" in done.stderr
    lab.wait(list(job_ids(project / "sweep").values()))
    ends = {name: lab.sacct(job)[0]["State"] for name, job in job_ids(project / "sweep").items()}
    assert ends.pop("base").startswith("CANCELLED")
    assert set(ends.values()) == {"FAILED"}


def test_the_stock_launcher_still_runs(lab: Lab, project: Path) -> None:
    overrides = ("hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu")
    done = start(lab, project, "app.py", "-m", *overrides, "x=1,2")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(project / "multirun", ignore_errors=True)


INSIDE = """\
export MASTER_ADDR=nowhere.invalid MASTER_PORT=1 RANK=7 LOCAL_RANK=3 WORLD_SIZE=99 NODE_RANK=5
export GROUP_RANK=2 TORCHELASTIC_RUN_ID=old SBATCH_PARTITION=none SLURM_HINT=nomultithread
cd {folder}
{python} {train} hydra/launcher={launcher} {overrides} > {launcher}.out 2>&1
"""


def test_a_sweep_sent_from_inside_of_a_job_inherits_nothing_of_that_job(lab: Lab) -> None:
    folder = lab.make_folder("inside")
    overrides = {
        "slurm": ("cluster=lab", "wait=true", "resources.gpus=2", "resources.mem_gb=3"),
        "local": ("resources.gpus=0", "trainer.seed=1"),
    }
    outer = []
    for launcher, extra in overrides.items():
        script = INSIDE.format(
            folder=folder,
            python=sys.executable,
            train=REPOSITORY / "train.py",
            launcher=launcher,
            overrides=" ".join([*extra, *SHORT, "scale.data.num_logs=12"]),
        )
        shape = ("--nodes=1", "--ntasks-per-node=4", "--gres=gpu:4", "--mem=5G", "--time=10")
        job = lab.sbatch(f"export LAUNCHER_LAB={lab.directory}\n{script}", *shape)
        lab.wait(job, timeout_s=300)
        outer.append(job)
    said = "\n".join(path.read_text() for path in folder.glob("*.out"))
    assert [lab.sacct(job)[0]["State"] for job in outer] == ["COMPLETED"] * 2, said
    logs = "\n".join(path.read_text() for path in folder.glob("outputs/single-*/*/train.log"))
    assert len(re.findall(r"rank \d of 2 on", logs)) == 2
    assert "rank 0 of 1 on" in logs
