"""From a correct script, each directive or argument changed alone is an error that names it."""

from __future__ import annotations

import pytest

from tests.unit.launcher.scripts.samples import changed, findings

WRONG = {
    "--nodes=2": ["--nodes=1", "--nodes=3", "--nodes=4", "--nodes=8", "--nodes=9", "--nodes=two"],
    "--ntasks-per-node=4": [
        *(f"--ntasks-per-node={n}" for n in (1, 2, 3, 5, 8, 16)),
        "--ntasks-per-node=four",
    ],
    "--gres=gpu:l40s:4": [
        *(f"--gres=gpu:l40s:{n}" for n in (1, 2, 3, 5, 8)),
        "--gres=gpu:l40s",
        "--gres=gpu",
        "--gres=gpu:h200:4",
        "--gres=gpu:4:l40s",
        "--gpus-per-node=2",
        "--gpus=4",
        "--gpus=16",
        "--gpus-per-task=1",
        "--gpus-per-task=2",
        "--ntasks-per-gpu=1",
    ],
    "--cpus-per-task=16\n": ["--cpus-per-task=33\n", "--cpus-per-task=64\n", "--cpus-per-task=x\n"],
    "--mem=500G": ["--mem=514G", "--mem=2T", "--mem=16G", "--mem=100G", "--mem=1000", "--mem=lots"],
    "--time=24:00:00": ["--time=72:00:00", "--time=2-00:01:00", "--time=2d", "--time=UNLIMITED"],
    "--partition=l40s": ["--partition=l40", "--partition=L40S", "--partition=gone"],
    "--signal=USR1@180": ["--signal=B:USR1@180", "--signal=USR9@180", "--signal=@180"],
    "--requeue": ["--no-requeue"],
    "--job-name=train": ["--job-name=bash", "--job-name=interactive"],
    "--open-mode=append": ["--open-mode=add"],
    "--nodes=2\n": [
        "--node=2\n", "--nodess=2\n", "-N=2\n", "--nodes = 2\n", "--nodes\n", "--num-nodes=2\n",
        "--nodes=2 --ntasks=4\n", "--nodes=2 --ntasks=9\n", "--nodes=2 --mem-per-cpu=1G\n",
        "--nodes=2 --array=0-2000\n",
    ],
    "trainer.num_nodes=2": ["trainer.num_nodes=1", "trainer.num_nodes=4", "--num_nodes=3"],
    "trainer.devices=4": [
        *(f"trainer.devices={n}" for n in (1, 2, 3, 8)),
        "trainer.devices=[0,1]",
        "--devices 2",
        "--trainer.devices=8",
    ],
    "data.num_workers=4": ["data.num_workers=17", "data.num_workers=32", "--num_workers 64"],
    "srun --cpus-per-task=16": [
        *(f"srun --cpus-per-task=16 -n{n}" for n in (1, 2, 4, 16)),
        "srun --cpus-per-task=16 --ntasks-per-node=2",
        "srun --cpus-per-task=16 --nodes=1",
        "srun --cpus-per-task=2",
        "srun --cpus-per-task=16 --gres=gpu:1",
        "srun --cpus-per-task=16 --gpu-bind=single:1",
        "srun --cpus-per-task=16 --gpus-per-task=1",
        "srun --cpus-per-task=16 --task-per-node=4",
    ],
}  # fmt: skip
CASES = [(old, new) for old, many in WRONG.items() for new in many]


@pytest.mark.parametrize(("old", "new"), CASES, ids=[new.strip() for _, new in CASES])
def test_one_wrong_word_is_an_error_that_names_it(old: str, new: str) -> None:
    text = changed((old, new))
    errors = [one for one in findings(text) if one.severity == "error"]
    word = new.split()[-1] if new.startswith(("srun", "--nodes=2 ")) else new.split()[0]
    name = word.partition("=")[0].lstrip("-") if word.startswith("--") or "." in word else word
    assert any(name in one.reason for one in errors), errors


@pytest.mark.parametrize(
    "gone",
    [
        "#SBATCH --nodes=2\n",
        "#SBATCH --ntasks-per-node=4\n",
        "#SBATCH --gres=gpu:l40s:4\n",
        "srun ",
    ],
)
def test_what_is_left_out_is_an_error(gone: str) -> None:
    text = (
        changed(("srun --cpus-per-task=16 --kill-on-bad-exit=1 \\\n    ", ""))
        if gone == ("srun ")
        else changed((gone, ""))
    )
    errors = [one for one in findings(text) if one.severity == "error"]
    name = gone.split()[-1].partition("=")[0]
    assert any(name in one.reason for one in errors), errors
