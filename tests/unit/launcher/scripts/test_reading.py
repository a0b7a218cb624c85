"""Directives and commands are read as sbatch and bash read them."""

from __future__ import annotations

import pytest

from launcher.scripts.asked import asked_by
from launcher.scripts.directives import read_directives
from launcher.scripts.options import SBATCH, SRUN
from launcher.scripts.reading import read_script
from launcher.scripts.shell import commands


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("#SBATCH --nodes=2 --gres gpu:4", {"nodes": "2", "gres": "gpu:4"}),
        ("#SBATCH -N2 -n 8", {"nodes": "2", "ntasks": "8"}),
        ("#SBATCH --tasks-per-node=4", {"ntasks-per-node": "4"}),
        ("#SBATCH --ntasks-per-nod=4", {"ntasks-per-node": "4"}),
        ("#SBATCH --job-name='my run' # --nodes=3", {"job-name": "my run"}),
        ('#SBATCH --comment="a # b"', {"comment": "a # b"}),
        ("#SBATCH --exclusive -H", {"exclusive": "", "hold": ""}),
        ("##SBATCH --nodes=2", {}),
        ("# SBATCH --nodes=2", {}),
        (" #SBATCH --nodes=2", {}),
    ],
)
def test_directives_of_a_line(line: str, wanted: dict[str, str]) -> None:
    listed = read_directives(["#!/bin/bash", line]).listed
    assert {one.name: one.value for one in listed} == wanted
    assert all(one.line == 2 for one in listed)


def test_directives_end_at_the_first_command() -> None:
    lines = ["#!/bin/bash", "#SBATCH -N1", "", "# words", "#SBATCH -n1", "date", "#SBATCH -N2"]
    found = read_directives(lines)
    assert [one.line for one in found.listed] == [2, 5]
    assert [(one.rule, one.line) for one in found.findings] == [("ignored-directive", 7)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("#SBATCH --job_name=x", "did you mean `--job-name`?"),
        ("#SBATCH --ntask=4", "could be any of"),
        ("#SBATCH --kill-on-bad-exit=1", "knows no option"),
        ("#SBATCH -N=2", "short options take no `=`"),
        ("#SBATCH --nodes", "has no value"),
        ("#SBATCH --nodes --ntasks=2", "has no value"),
        ("#SBATCH -y 4", "knows no option `-y`"),
    ],
)
def test_what_sbatch_refuses_is_an_error(line: str, words: str) -> None:
    found = read_directives(["#!/bin/bash", line]).findings
    assert words in found[0].reason
    assert found[0].severity == "error"


@pytest.mark.parametrize(
    ("options", "nodes", "tasks", "per_node", "gpus"),
    [
        ({}, 1, 1, 1, 0),
        ({"nodes": "2-4", "ntasks-per-node": "4"}, 2, 8, 4, 0),
        ({"ntasks": "8", "ntasks-per-node": "4", "gres": "gpu:4"}, 2, 8, 4, 4),
        ({"ntasks": "8"}, None, 8, None, 0),
        ({"nodes": "2", "ntasks": "4", "ntasks-per-node": "4"}, 2, 4, 2, 0),
        ({"nodes": "2", "gpus": "8", "ntasks-per-node": "4"}, 2, 8, 4, 4),
        ({"gpus": "8", "gpus-per-node": "4", "ntasks-per-node": "4"}, 2, 8, 4, 4),
        ({"nodes": "2", "gpus-per-task": "1", "ntasks-per-node": "4"}, 2, 8, 4, 4),
        ({"nodes": "1", "gres": "gpu:a100:2,nvme:9,gpu:l40s:1"}, 1, 1, 1, 3),
        ({"gres": "gpu"}, 1, 1, 1, 1),
        ({"gres": "gpu:h200"}, 1, 1, 1, 1),
        ({"gpus": "1"}, 1, 1, 1, 1),
        ({"nodes": "2", "ntasks-per-gpu": "1", "gpus": "8"}, 2, 8, 4, 4),
        ({"nodes": "$N"}, None, None, None, 0),
        ({"gres": "gpu:$N"}, 1, 1, 1, None),
    ],
)
def test_what_slurm_gives(
    options: dict[str, str],
    nodes: int | None,
    tasks: int | None,
    per_node: int | None,
    gpus: int | None,
) -> None:
    found = asked_by(options)
    assert (found.nodes, found.ntasks, found.tasks_per_node) == (nodes, tasks, per_node)
    assert found.gpus_per_node == gpus


def test_memory_by_cpu_and_by_gpu_is_that_of_a_node() -> None:
    by_cpu = {"mem-per-cpu": "2G", "ntasks-per-node": "4", "cpus-per-task": "8"}
    assert asked_by(by_cpu).mem_gb == 64
    assert asked_by({"mem-per-gpu": "100G", "gres": "gpu:4"}).mem_gb == 400
    assert asked_by({"mem": "0"}).is_all_memory


SHELL = """#!/bin/bash
cat <<-'END' > note # a comment
  python hidden.py
END
if [ -f x ]; then python a.py && python b.py; fi
srun --label \\
  python c.py "two words" 'a $HOME' $(date; echo python d.py) 2>&1 | tee log &
bash -c "
  python e.py
"
"""


def test_commands_of_a_shell() -> None:
    found = [(one.words, one.line, one.is_background) for one in commands(SHELL)]
    python = ("python", "c.py", "two words", "a \x01HOME", "$(date; echo python d.py)")
    assert found == [
        (("cat",), 2, False),
        (("if", "[", "-f", "x", "]"), 5, False),
        (("then", "python", "a.py"), 5, False),
        (("python", "b.py"), 5, False),
        (("fi",), 5, False),
        (("srun", "--label", *python), 6, True),
        (("tee", "log"), 7, True),
        (("bash", "-c", "\n  python e.py\n"), 8, False),
    ]


STARTS = [
    ("srun python train.py", "train.py", "srun", "none"),
    ("A=1 /usr/bin/srun -u python3 -u -W ignore train.py", "train.py", "srun", "none"),
    ("srun uv run python -m pkg.train a=1", "pkg.train", "srun", "none"),
    ("srun python -m torch.distributed.run --nproc_per_node=4 t.py", "t.py", "srun", "torchrun"),
    ("torchrun --standalone --nproc-per-node 4 -m pkg.t", "pkg.t", "batch", "torchrun"),
    ("accelerate launch --multi_gpu --num_processes 4 t.py", "t.py", "batch", "accelerate"),
    ("mpirun -np 8 -bind-to none python t.py", "t.py", "mpirun", "none"),
    ("srun singularity exec --nv -B /a:/b im.sif python t.py", "t.py", "srun", "none"),
    ("srun bash -lc 'source x && python t.py'", "t.py", "srun", "none"),
    ("exec python t.py", "t.py", "batch", "none"),
    ("srun ./t.py", "./t.py", "srun", "none"),
    ("srun run.sh", "", "srun", "none"),
]


@pytest.mark.parametrize(("line", "program", "starter", "spawner"), STARTS)
def test_what_a_line_starts(line: str, program: str, starter: str, spawner: str) -> None:
    found = read_script(f"#!/bin/bash\n{line}\n").launches
    wanted = [(program, starter, spawner)]
    assert [(one.program, one.starter, one.spawner) for one in found] == wanted


@pytest.mark.parametrize(
    "line", ["srun hostname", "python -c 'x'", "pip install x", "python -m pip install x"]
)
def test_what_is_no_training(line: str) -> None:
    assert read_script(f"#!/bin/bash\n{line}\n").launches == ()


VARIABLES = """#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=4
N=3
export ARGS="a=1 b=${SLURM_NTASKS}"
LIST=(c=$N)
LIST+=(d=${UNSET:-7})
srun python t.py $ARGS "${LIST[@]}" e=$UNKNOWN f='$N'
"""


def test_values_of_variables_are_filled_in() -> None:
    found = read_script(VARIABLES).launches[0]
    values = {one.key: one.value for one in found.arguments}
    assert values == {"a": "1", "b": "8", "c": "3", "d": "7", "e": "$UNKNOWN", "f": "$N"}


def test_options_have_one_meaning() -> None:
    assert SBATCH.resolve("gpus-per-n") == "gpus-per-node"
    assert SRUN.resolve("kill") == "kill-on-bad-exit"
    assert set(SBATCH.short.values()) <= set(SBATCH.takes)
    assert set(SRUN.short.values()) <= set(SRUN.takes)
