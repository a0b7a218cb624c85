"""Each further rule: a case that must bring it up, with its line and numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launcher.scripts.case import Measured
from launcher.scripts.examining import examine_text
from launcher.settings import DialectConfig
from tests.unit.launcher.scripts.samples import changed, findings, named, site

Change = tuple[str, str]
SRUN = "srun --cpus-per-task=16 --kill-on-bad-exit=1 \\\n    python"
TRAINER = " trainer.num_nodes=2 trainer.devices=4 trainer.strategy=ddp"
ERRORS: list[tuple[str, list[Change], str, int | None]] = [
    ("torchrun-without-srun", [(SRUN, "torchrun --nproc_per_node=4")], "first of 2 nodes", 17),
    ("torchrun-per-task", [(" python", " torchrun --nproc_per_node=4")], "4 times on each", 5),
    (
        "trainer-nodes",
        [(SRUN, "srun --ntasks-per-node=1 torchrun --nnodes=3 --nproc_per_node=4")],
        "--nnodes=3",
        4,
    ),
    ("tasks-per-node-missing", [("--ntasks-per-node=4", "--ntasks=8")], "RuntimeError", 5),
    ("no-gpus", [("#SBATCH --gres=gpu:l40s:4\n", "")], "no --gres", 16),
    ("gpu-binding", [("gpu:l40s:4", "gpu:4 --gpu-bind=single:1")], "one GPU only", 6),
    ("no-wait", [("num_workers=4\n", "num_workers=4 &\n")], "ends at once", 17),
    ("rank-variable", [("source venv", "export RANK=0\nsource venv")], "all 8 ranks", 15),
    ("world-size", [("source venv", "export WORLD_SIZE=16\nsource venv")], "WORLD_SIZE=16", 15),
    ("visible-devices", [("source venv", "export CUDA_VISIBLE_DEVICES=0,1\n#")], "gives 4", 15),
    ("master-address", [("source venv", "#"), ("=$(scontrol", "=localhost #")], "2 nodes", 16),
    ("hetjob", [("#SBATCH --requeue\n", "#SBATCH hetjob\n")], "not supported", 11),
    ("stray-word", [("--requeue", "requeue")], "is no option", 11),
    ("options-exclude", [("--mem=500G", "--mem=500G --mem-per-gpu=9G")], "exclude each other", 8),
    ("ignored-directive", [("#SBATCH --requeue", "#\nset -e\n#SBATCH --requeue")], "(line 12)", 13),
    ("options-exclude", [("gpu:l40s:4", "gpu:4 --ntasks-per-gpu=1")], "exclude each other", 6),
    ("options-exclude", [("--requeue", "--cpus-per-gpu=4")], "exclude each other", 11),
    ("gpus-twice", [("--requeue", "--gpus-per-node=2")], "different numbers", 11),
    ("gpus-twice", [("--requeue", "--gpus=l40s:4")], "different numbers", 11),
    ("shebang", [("#!/bin/bash\n", "# no shell\n")], "does not begin", 1),
    ("shell", [("source venv/bin/activate", "echo 'open")], "never closed", None),
    ("nodes-over-partition", [("--nodes=2", "--nodes=9")], "at most 8", 4),
    ("gpus-over-partition", [("--nodes=2", "--nodes=7")], "= 28 GPUs", 6),
    ("array-size", [("--requeue\n", "--requeue --array=0-1001%8\n")], "up to 1000", 11),
    ("array-output", [("%x-%j.out", "train.out --array=0-3")], "same file", 13),
    ("signal-unheard", [("USR1@180", "B:USR1@180")], "no trap", 10),
    ("signal-unheard", [(SRUN, "python")], "job steps only", 10),
    ("requeue-forbidden", [("--requeue", "--no-requeue")], "refused", 11),
    ("srun-option", [("srun --cpus", "srun --kill-on-exit --cpus")], "--kill-on-bad-exit", 17),
    ("no-srun", [(SRUN, "python")], "1/8 clients", 17),
]  # fmt: skip
WARNINGS: list[tuple[str, list[Change], str, int | None]] = [
    ("said-twice", [("--nodes=2", "--nodes=3 --nodes=2")], "last one counts", 4),
    ("ignored-directive", [("#SBATCH --requeue", "# SBATCH --requeue")], "first column", 11),
    ("no-requeue", [("#SBATCH --requeue\n", "")], "site's default", 10),
    ("output-overwritten", [("#SBATCH --open-mode=append\n", "")], "overwritten", 11),
    ("no-output", [("#SBATCH --output=logs/%x-%j.out\n", "")], "slurm-<job>.out", None),
    ("one-output", [("%x-%j", "train")], "next one overwrites", 13),
    ("no-kill-on-bad-exit", [("--kill-on-bad-exit=1 ", "")], "one of 8 ranks", 17),
    ("no-kill-on-bad-exit", [("--kill-on-bad-exit=1 ", "-K0 ")], "one of 8 ranks", 17),
    ("srun-cpus", [("srun --cpus-per-task=16", "srun")], "22.05 to 23.02", 17),
    ("no-time", [("#SBATCH --time=24:00:00\n", "")], "default", None),
    ("time-format", [("--time=24:00:00", "--time=24:00")], "is 24 minutes", 9),
    ("preemptible", [("partition=l40s", "partition=spare"), ("gpu:l40s:4", "gpu:4"),
                     ("--requeue", "--begin=now")], "is preempted", 3),
    ("memory-left", [("--mem=500G", "--mem=300G")], "300 of 513 GB", 8),
    ("memory-left", [("#SBATCH --mem=500G\n", "")], "513 GB are taken", None),
    ("array-index", [("--requeue\n", "--requeue --array=0-3\n")], "do the same", 11),
    ("exclusive", [("--mem=500G", "--mem=200G --exclusive")], "not their memory", 8),
    ("persistent-workers", [("num_workers=4", "num_workers=4 persistent_workers=true")],
     "16 persistent training workers", 17),
]  # fmt: skip


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case[0])
def test_it_is_an_error(case: tuple[str, list[Change], str, int | None]) -> None:
    rule, changes, phrase, line = case
    found = named(changed(*changes), rule)
    assert (found.severity, found.line) == ("error", line)
    assert phrase in found.reason + found.instead


@pytest.mark.parametrize("case", WARNINGS, ids=lambda case: case[0])
def test_it_is_a_warning(case: tuple[str, list[Change], str, int | None]) -> None:
    rule, changes, phrase, line = case
    found = named(changed(*changes), rule)
    assert (found.severity, found.line) == ("warning", line)
    assert phrase in found.reason


def test_a_part_of_a_node_may_not_take_all_its_memory_or_be_exclusive_unnoticed() -> None:
    part = [("gpu:l40s:4", "gpu:l40s:2"), ("--ntasks-per-node=4", "--ntasks-per-node=2")]
    part += [("trainer.devices=4", "trainer.devices=2")]
    assert "2 of its 4 GPUs" in named(changed(*part, ("=500G", "=0")), "all-memory").reason
    text = changed(*part, ("=500G", "=0 --exclusive"))
    assert "whole nodes of 4 GPUs, but the job gets 2" in named(text, "exclusive").reason


def test_a_fixed_port_collides_only_where_jobs_share_a_node() -> None:
    port = ("source venv", "export MASTER_PORT=29500\nsource venv")
    assert findings(changed(port)) == []
    part = [("gpu:l40s:4", "gpu:l40s:2"), ("--ntasks-per-node=4", "--ntasks-per-node=2")]
    part += [("trainer.devices=4", "trainer.devices=2"), ("=500G", "=250G")]
    assert named(changed(port, *part), "master-port").severity == "warning"


def test_ddp_of_one_rank_is_pointed_out() -> None:
    one = [("--nodes=2", "--nodes=1"), ("--ntasks-per-node=4", "--ntasks-per-node=1")]
    one += [("gpu:l40s:4", "gpu:l40s:1"), ("=500G", "=128G")]
    one += [(" trainer.num_nodes=2 trainer.devices=4", "")]
    assert named(changed(*one), "strategy-of-one").severity == "warning"


def test_one_task_beside_several_gpus_is_refused_by_lightning() -> None:
    one = [("--nodes=2", "--nodes=1"), ("--ntasks-per-node=4", "--ntasks-per-node=1")]
    one += [(SRUN + " train.py" + TRAINER, "python train.py")]
    found = named(changed(*one, ("#SBATCH --signal=USR1@180\n", "")), "devices-unsaid")
    assert found.severity == "warning"
    assert "beside 4 GPUs" in found.reason


@pytest.mark.parametrize(("worker_gb", "fits"), [(8.0, False), (3.0, True)])
def test_a_measurement_decides_instead_of_rules_of_thumb(worker_gb: float, fits: bool) -> None:
    text = changed(("num_workers=4", "num_workers=4 persistent_workers=true"), ("500G", "470G"))
    measured = Measured(rank_gb=72.5, worker_gb=worker_gb)
    found = examine_text(text, site(), measured).findings
    assert [one.rule for one in found] == ([] if fits else ["memory-budget"])
    if not fits:
        # 4 ranks x 72.5 + 4 x (4 + 4) workers x 8
        assert "= 546 GB" in found[0].reason
        assert "470 of 513" not in found[0].reason


def test_whole_memory_is_measured_by_the_node() -> None:
    text = changed(("--mem=500G", "--mem=0"))
    measured = Measured(rank_gb=100.0, worker_gb=4.0)
    found = examine_text(text, site(), measured).findings
    assert "528 GB on each node" in found[0].reason
    assert "513 GB" in found[0].reason


def test_what_cannot_be_looked_into_is_said() -> None:
    text = changed(("python train.py", "bash run.sh"))
    notes = [one for one in examine_text(text, site()).findings if one.severity == "note"]
    assert [one.rule for one in notes] == ["not-read"]
    assert "line 17" in notes[0].reason
    nothing = changed((SRUN + " train.py" + TRAINER + " data.num_workers=4", "hostname"))
    assert [one.rule for one in examine_text(nothing, site()).findings] == ["no-training"]


def test_a_partition_that_a_flat_profile_does_not_describe_is_not_judged_by_it() -> None:
    from launcher.settings import ClusterConfig

    flat = ClusterConfig(name="flat", partition="other", gpus_per_node=2, mem_gb_per_node=64)
    found = examine_text(changed(), flat).findings
    assert [one.rule for one in found] == ["no-node"]


def test_windows_line_ends_are_an_error_and_the_rest_is_read_all_the_same() -> None:
    found = findings(changed(("--nodes=2", "--nodes=3")).replace("\n", "\r\n"))
    assert [one.rule for one in found][:2] == ["line-ends", "trainer-nodes"]


def test_what_is_proposed_is_said_in_the_words_of_the_site() -> None:
    wrong = changed(("gpu:l40s:4", "gpu:h100:4"))
    assert named(wrong, "gpu-type").instead == "#SBATCH --gres=gpu:l40s:4"
    other = replace(site(), dialect=DialectConfig(gpus="gpus_per_node"))
    assert named(wrong, "gpu-type", other).instead == "#SBATCH --gpus-per-node=l40s:4"
    many = named(changed(("gpu:l40s:4", "gpu:l40s:8")), "gpus-over-node", other)
    assert "--gpus-per-node=4 --ntasks-per-node=4" in many.instead
