"""The lines are run by a real bash; conda and apptainer are stand-ins that behave like them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.errors import ConfigError
from launcher.scheduler.slurm import parameters_of
from launcher.settings import PythonConfig, StudyLauncherConf
from launcher.sites.python_start import PythonStart, environment_lines, start_of
from launcher.topology import Shape

MODULE = """
module() { case $2 in bad*) echo "ERROR: Unable to locate a modulefile for '$2'" >&2; return 1 ;;
  *) export LOADED="$LOADED $2" ;; esac; }
"""


def bash(
    lines: Sequence[str], *, path: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run lines in a shell that has nothing of this process, with programs of `path` first."""
    found = f"{path}:/usr/bin:/bin" if path else "/usr/bin:/bin"
    return subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        env={"PATH": found, "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


def asked(start: PythonStart) -> list[str]:
    """The lines of a script that only asks each interpreter who it is."""
    say = "-c 'import sys; print(sys.prefix)'"
    return [*start.setup, f"{start.ranks} {say}", f"{start.guard} {say}"]


def test_the_interpreter_that_submits_is_the_default() -> None:
    start = start_of(PythonConfig())
    assert start.setup == ()
    assert start.ranks == start.guard
    assert bash(asked(start)).stdout.split("\n")[:2] == [sys.prefix] * 2


def test_modules_are_loaded_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "it's init").write_text(MODULE)
    python = PythonConfig(modules=["cuda/12.4", "gcc"], module_init=str(tmp_path / "it's init"))
    done = bash([*start_of(python).setup, 'echo "have$LOADED"'])
    assert (done.stdout, done.stderr) == ("have cuda/12.4 gcc\n", "")


@pytest.mark.parametrize("options", [[], ["set -eu"]])
def test_a_module_that_is_not_there_ends_the_job_with_one_line(
    tmp_path: Path, options: list[str]
) -> None:
    (tmp_path / "init").write_text(MODULE)
    python = PythonConfig(modules=["bad/1", "gcc"], module_init=str(tmp_path / "init"))
    done = bash([*options, *start_of(python).setup, "echo python starts"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "launcher: `module load bad/1` failed on this node"


def test_a_node_without_modules_says_which_key_would_help() -> None:
    done = bash([*start_of(PythonConfig(modules=["gcc"], module_init="/none")).setup, "echo on"])
    assert (done.returncode, done.stdout) == (1, "")
    assert "cluster.python.module_init: /none cannot be read" in done.stderr


def test_modules_are_found_where_sites_define_them(tmp_path: Path) -> None:
    (tmp_path / "init").mkdir()
    (tmp_path / "init" / "bash").write_text(MODULE)
    lines = [*start_of(PythonConfig(modules=["gcc"])).setup, 'echo "have$LOADED"']
    done = bash(lines, MODULESHOME=str(tmp_path), LMOD_PKG="/none")
    assert done.stdout == "have gcc\n"


def test_a_venv_is_entered_by_ranks_and_guard(tmp_path: Path) -> None:
    folder = tmp_path / "my venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    start = start_of(PythonConfig(kind="venv", path=str(folder)))
    done = bash([*asked(start), 'echo "$VIRTUAL_ENV"', "type -p python"])
    assert done.stdout.split("\n")[:4] == [*[str(folder)] * 3, f"{folder}/bin/python"]


def test_a_venv_that_the_node_does_not_have_ends_the_job(tmp_path: Path) -> None:
    start = start_of(PythonConfig(kind="venv", path=str(tmp_path / "gone")))
    done = bash([*start.setup, "echo python starts"])
    assert (done.returncode, done.stdout) == (1, "")
    assert f"launcher: there is no {tmp_path}/gone/bin/python on this node" in done.stderr


def test_a_conda_environment_is_activated_by_its_name(tmp_path: Path) -> None:
    program(tmp_path / "envs" / "lab" / "bin", "python", 'echo "python of $CONDA_PREFIX"')
    known = f'[ "$2" = lab ] || return 1; export CONDA_PREFIX={tmp_path}/envs/$2;'
    hook = f"echo 'conda() {{ {known} }}'"
    program(tmp_path / "bin", "conda", hook)
    start = start_of(PythonConfig(kind="conda", path="lab"))
    done = bash([*start.setup, f"{start.ranks} x", f"{start.guard} x"], path=tmp_path / "bin")
    assert done.stdout == f"python of {tmp_path}/envs/lab\n" * 2, done.stderr
    bad = start_of(PythonConfig(kind="conda", path="nope"))
    done = bash([*bad.setup, "echo on"], path=tmp_path / "bin")
    assert (done.returncode, done.stdout) == (1, "")
    assert "launcher: `conda activate nope` failed" in done.stderr


def test_a_conda_environment_is_entered_by_its_folder_without_conda(tmp_path: Path) -> None:
    folder = tmp_path / "env"
    program(folder / "bin", "python", 'echo "$CONDA_PREFIX $FROM_SCRIPT"')
    program(folder / "etc" / "conda" / "activate.d", "a.sh", "export FROM_SCRIPT=yes")
    start = start_of(PythonConfig(kind="conda", path=str(folder)))
    done = bash([*start.setup, f"{start.ranks} x"])
    assert done.stdout == f"{folder} yes\n", done.stderr


def test_a_node_without_conda_ends_the_job() -> None:
    done = bash([*start_of(PythonConfig(kind="conda", path="lab")).setup, "echo on"])
    assert (done.returncode, done.stdout) == (1, "")
    assert "launcher: conda does not answer on this node" in done.stderr


def test_ranks_start_in_the_image_and_the_guard_outside_of_it(tmp_path: Path) -> None:
    program(tmp_path / "bin", "apptainer", 'printf "<%s> " "$@"; echo "port $LAUNCHER_PORT"')
    image = tmp_path / "my image.sif"
    image.touch()
    python = PythonConfig(
        kind="apptainer",
        path=str(image),
        binds=["/data:/data:ro"],
        overlay=str(tmp_path / "over.img"),
    )
    start = start_of(python, has_gpus=True, folders=[tmp_path, Path("/")])
    lines = [*start.setup, "export LAUNCHER_PORT=7", f"{start.ranks} -m launcher.start"]
    done = bash(lines, path=tmp_path / "bin")
    words = ["exec", "--nv", "--bind", str(tmp_path), "--bind", "/data:/data:ro"]
    words += ["--overlay", f"{tmp_path}/over.img", str(image), "python3", "-m", "launcher.start"]
    assert done.stdout == " ".join(f"<{word}>" for word in words) + " port 7\n", done.stderr
    assert start.guard == start_of(PythonConfig()).guard


def test_gpus_are_passed_into_an_image_only_where_there_are_any() -> None:
    python = PythonConfig(kind="apptainer", path="docker://lab/image:1")
    assert start_of(python).ranks == "apptainer exec docker://lab/image:1 python3"
    assert "--nv" not in start_of(PythonConfig(kind="apptainer", path="i", nv=False)).ranks


def test_an_image_that_the_node_does_not_have_ends_the_job(tmp_path: Path) -> None:
    program(tmp_path / "bin", "apptainer", "true")
    start = start_of(PythonConfig(kind="apptainer", path=str(tmp_path / "none.sif")))
    done = bash([*start.setup, "echo on"], path=tmp_path / "bin")
    assert (done.returncode, done.stdout) == (1, "")
    assert "none.sif is not there on this node" in done.stderr


@pytest.mark.parametrize("kind", ["venv", "conda", "apptainer"])
def test_a_kind_without_its_path_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"needs `cluster.python.path`"):
        start_of(PythonConfig(kind=kind))


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        start_of(PythonConfig(kind="aptainer"))
    assert caught.value.hint == "did you mean cluster.python.kind=apptainer?"


def test_presets_of_a_type_of_gpu_count_only_there() -> None:
    presets = {"all": {"A": "1", "B": "1"}, "h200": {"B": "it's 2"}}
    assert environment_lines(presets, None) == ["export A=1", "export B=1"]
    done = bash([*environment_lines(presets, "h200"), 'echo "$A $B"'])
    assert done.stdout == "1 it's 2\n"


def test_a_submission_keeps_all_that_its_job_needs_to_start_python() -> None:
    settings = StudyLauncherConf(setup=["echo mine"])
    cluster = settings.cluster
    cluster.setup, cluster.gpu_type = ["echo site"], "h200"
    cluster.python = PythonConfig(kind="venv", path="my/venv", modules=["cuda"])
    cluster.job_environment = {"h200": {"NCCL_DEBUG": "WARN"}}
    shape = Shape(
        nodes=1, gpus_per_node=1, ranks_per_node=1, cpus_per_rank=1, mem_gb=1, timeout_min=9
    )
    sent = parameters_of(settings, shape)
    order = ["echo site", "module load cuda", "VIRTUAL_ENV", "NCCL_DEBUG", "echo mine"]
    places = [next(i for i, line in enumerate(sent["setup"]) if word in line) for word in order]
    assert places == sorted(places)
    # `launch resume` may be given in another folder.
    assert PythonConfig(**sent["python"]) == replace(
        cluster.python, path=str(Path("my/venv").absolute())
    )
    assert os.environ.get("NCCL_DEBUG") is None
