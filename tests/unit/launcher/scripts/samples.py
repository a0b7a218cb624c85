"""A script on which no rule speaks, variants of it, and a site that has room for them."""

from __future__ import annotations

from launcher.scripts.examining import examine_text
from launcher.scripts.findings import ScriptFinding
from launcher.settings import ClusterConfig, PartitionConfig

CORRECT = """\
#!/bin/bash
#SBATCH --job-name=train
#SBATCH --partition=l40s
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gres=gpu:l40s:4
#SBATCH --cpus-per-task=16
#SBATCH --mem=500G
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=logs/%x-%j.out

source venv/bin/activate
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --cpus-per-task=16 --kill-on-bad-exit=1 \\
    python train.py trainer.num_nodes=2 trainer.devices=4 trainer.strategy=ddp data.num_workers=4
"""


def site() -> ClusterConfig:
    return ClusterConfig(
        name="campus",
        max_array_size=1001,
        partitions={
            "l40s": PartitionConfig(
                gpu_type="l40s",
                gpus_per_node=4,
                cpus_per_node=128,
                mem_gb_per_node=513,
                num_nodes=66,
                max_nodes=8,
                max_gpus=24,
                max_time_min=2880,
            ),
            "h200": PartitionConfig(gpu_type="h200", gpus_per_node=8, mem_gb_per_node=2000),
            "spare": PartitionConfig(gpus_per_node=4, mem_gb_per_node=513, is_preemptible=True),
            "cpu": PartitionConfig(cpus_per_node=64, mem_gb_per_node=256),
        },
    )


def changed(*changes: tuple[str, str], text: str = CORRECT) -> str:
    """The script with parts of its text replaced; each must be there exactly once."""
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def findings(text: str, cluster: ClusterConfig | None = None) -> list[ScriptFinding]:
    """What is found by the site's profile, without notes."""
    found = examine_text(text, cluster or site()).findings
    return [one for one in found if one.severity != "note"]


def named(text: str, rule: str, cluster: ClusterConfig | None = None) -> ScriptFinding:
    """The finding of that rule."""
    found = findings(text, cluster)
    matches = [one for one in found if one.rule == rule]
    assert matches, [one.rule for one in found]
    return matches[0]
