"""No false alarms: on scripts that work, no rule speaks."""

from __future__ import annotations

import pytest

from launcher.scripts.examining import examine_text
from launcher.settings import ClusterConfig
from tests.unit.launcher.scripts.samples import CORRECT, changed, site

_TRAIN = "--cpus-per-task=16 --kill-on-bad-exit=1 \\\n    python train.py trainer.num_nodes=2"
_NO_DEVICES = (" trainer.devices=4 trainer.strategy=ddp", "")
_SINGLE = (
    ("--nodes=2", "--nodes=1"),
    ("#SBATCH --ntasks-per-node=4\n", ""),
    ("gpu:l40s:4", "gpu:l40s:1"),
    ("--mem=500G", "--mem=128G"),
    ("#SBATCH --signal=USR1@180\n", ""),
    (f"srun {_TRAIN} trainer.devices=4 trainer.strategy=ddp", "python train.py"),
)
_TORCHRUN = (
    ("--ntasks-per-node=4", "--ntasks-per-node=1"),
    ("--cpus-per-task=16\n", "--cpus-per-task=64\n"),
    (
        f"{_TRAIN} trainer.devices=4",
        "--cpus-per-task=64 --kill-on-bad-exit=1 torchrun --nnodes=$SLURM_NNODES"
        " --nproc_per_node=4 --rdzv_backend=c10d --rdzv_endpoint=$MASTER_ADDR:29500"
        " train.py trainer.num_nodes=2 trainer.devices=4",
    ),
)
VARIANTS = {
    "as it is": (),
    "gpus per node": (("--gres=gpu:l40s:4", "--gpus-per-node=l40s:4"),),
    "gpus in all": (("--gres=gpu:l40s:4", "--gpus=8"),),
    "untyped gres": (("gpu:l40s:4", "gpu:4"),),
    "short forms": (
        ("--nodes=2", "-N 2"),
        ("--ntasks-per-node=4", "-n8 --ntasks-per-node=4"),
        ("--cpus-per-task=16\n", "-c16\n"),
        ("--time=24:00:00", "-t 1-0"),
        ("--partition=l40s", "-p l40s"),
        ("--job-name=train", "-J train"),
        ("--output=", "-o "),
    ),
    "several on a line, with a comment": (
        ("--nodes=2\n#SBATCH --ntasks-per-node=4\n", '--nodes 2 --ntasks-per-node "4" # ranks\n'),
    ),
    "all memory": (("--mem=500G", "--mem=0 --exclusive"),),
    "memory by CPU": (("--mem=500G", "--mem-per-cpu=8000M"),),
    "memory by GPU": (("--mem=500G", "--mem-per-gpu=128G"),),
    "tasks follow from GPUs": (
        ("--ntasks-per-node=4\n", "--ntasks-per-node=4 --ntasks=8\n"),
    ),
    "no word of devices": (_NO_DEVICES,),
    "flags instead of overrides": (
        ("trainer.num_nodes=2 trainer.devices=4", "--trainer.num_nodes 2 --trainer.devices 4"),
    ),
    "SLURM's variables": (
        ("trainer.num_nodes=2", 'trainer.num_nodes="$SLURM_NNODES"'),
        ("trainer.devices=4", "trainer.devices=${SLURM_GPUS_ON_NODE}"),
    ),
    "an array of arguments": (
        ("srun --cpus", "ARGS=(\n  trainer.num_nodes=2 # all\n  trainer.devices=4\n)\nsrun --cpus"),
        ("trainer.num_nodes=2 trainer.devices=4", '"${ARGS[@]}"'),
    ),
    "a signal that the script traps": (
        ("--signal=USR1@180", "--signal=B:USR1@180"),
        ("source venv", "trap 'scontrol requeue $SLURM_JOB_ID' USR1\nsource venv"),
        ("srun --cpus", "srun --cpus"),
        ("num_workers=4\n", "num_workers=4 &\nwait\n"),
    ),
    "bound to no GPU": (("--gres=gpu:l40s:4", "--gpus-per-task=1 --gpu-bind=none"),),
    "preparation without srun": (("srun --cpus", "python prepare.py\nsrun --cpus"),),
    "a notebook server's helper": (("srun --cpus", "srun -n1 hostname\nsrun --cpus"),),
    "in a container": (("python train.py", "apptainer exec --nv image.sif python train.py"),),
    "in a shell": (
        ("python train.py", 'bash -c "source x; python train.py'),
        ("num_workers=4\n", 'num_workers=4"\n'),
    ),
    "a heredoc that talks about srun": (
        ("srun --cpus", "cat <<EOF > note\n#SBATCH --nodes=9\npython other.py\nEOF\nsrun --cpus"),
    ),
    "one GPU without srun": _SINGLE,
    "one GPU and one task without srun": (
        *_SINGLE[:1], ("--ntasks-per-node=4", "--ntasks=1"), *_SINGLE[2:],
    ),
    "Lightning starts the ranks of one node": (
        *_SINGLE[:2],
        _SINGLE[4],
        (f"srun {_TRAIN}", "python train.py trainer.num_nodes=1"),
    ),
    "torchrun with a task per node": _TORCHRUN,
    "an array with a bound": (
        ("--output=logs/%x-%j.out", "--output=logs/%A_%a.out --array=0-15%4"),
        ("num_workers=4", "num_workers=4 seed=$SLURM_ARRAY_TASK_ID"),
    ),
    "a farm of single GPUs": (
        ("--nodes=2", "--nodes=1"),
        ("--ntasks-per-node=4\n", "--ntasks-per-node=2\n"),
        ("gpu:l40s:4", "gpu:l40s:2"),
        ("--mem=500G", "--mem=250G"),
        (
            f"srun {_TRAIN} trainer.devices=4 trainer.strategy=ddp data.num_workers=4",
            "srun -n1 -c16 --gres=gpu:1 python train.py seed=0 &\n"
            "srun -n1 -c16 --gres=gpu:1 python train.py seed=1 &\nwait",
        ),
    ),
    "a CPU job": (
        ("--partition=l40s", "--partition=cpu"),
        ("--nodes=2", "--nodes=1"),
        ("#SBATCH --ntasks-per-node=4\n#SBATCH --gres=gpu:l40s:4\n", ""),
        ("--mem=500G", "--mem=64G"),
        ("#SBATCH --signal=USR1@180\n", ""),
        (f"srun {_TRAIN} trainer.devices=4 trainer.strategy=ddp", "python preprocess.py"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("cluster", [site(), None], ids=["profile", "no-profile"])
@pytest.mark.parametrize("name", VARIANTS)
def test_no_rule_speaks_on_a_script_that_works(name: str, cluster: ClusterConfig | None) -> None:
    text = changed(*VARIANTS[name])
    assert name == "as it is" or text != CORRECT
    found = examine_text(text, cluster).findings
    wanted = [] if cluster else ["no-profile"]
    assert [one.rule for one in found] == wanted, found
