"""How Python starts on a node: shell lines and words of a batch script. Pure.

Two interpreters start in a job. Ranks start where their packages are, which may be a container;
the guard of the batch script talks to SLURM, whose commands containers do not have.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.errors import ConfigError, one_of
from launcher.settings import PythonConfig

KINDS = ("same", "venv", "conda", "apptainer")
EVERYWHERE = "all"
"""Key of `cluster.job_environment` that counts for all types of GPU."""
_MODULE_FILES = (
    '"${MODULESHOME:-/usr/share/modules}"/init/bash',
    '"${LMOD_PKG:-/usr/share/lmod/lmod}"/init/bash',
    "/etc/profile.d/modules.sh",
    "/etc/profile.d/lmod.sh",
    "/etc/profile.d/z00_lmod.sh",
)
"""Where sites define `module`; batch scripts are no login shells, and read none of them."""


@dataclass(frozen=True, kw_only=True)
class PythonStart:
    """Pieces of a batch script, quoted as a shell wants them."""

    setup: tuple[str, ...] = ()
    """Lines before anything of Python starts; each ends the job if it fails."""
    ranks: str
    """Command of srun that is followed by the interpreter's arguments."""
    guard: str
    """Interpreter of the guard, in the batch script itself."""


def start_of(
    python: PythonConfig, *, has_gpus: bool = False, folders: Sequence[Path] = ()
) -> PythonStart:
    """How Python starts as `python` says.

    Args:
        python: What the profile says.
        has_gpus: Whether the job asks for GPUs.
        folders: Folders that a container must see besides those that it sees by itself.

    Raises:
        ConfigError: an unknown kind, or one that needs a path and has none.
    """
    one_of("cluster.python.kind", python.kind, KINDS)
    lines = _module_lines(python)
    same = shlex.quote(sys.executable)
    if python.kind == "same":
        return PythonStart(setup=lines, ranks=same, guard=same)
    if not python.path:
        raise ConfigError(
            f"`cluster.python.kind={python.kind}` needs `cluster.python.path`",
            hint="the folder of the venv, the name or folder of the conda environment, the image",
        )
    if python.kind == "apptainer":
        words = _apptainer_words(python, has_gpus=has_gpus, folders=folders)
        return PythonStart(
            setup=(*lines, *_image_lines(python)), ranks=shlex.join(words), guard=same
        )
    if python.kind == "conda" and _is_named(python):
        found = '"$CONDA_PREFIX"/bin/python'
        return PythonStart(
            setup=(*lines, *_named_conda_lines(python.path)), ranks=found, guard=found
        )
    folder = _absolute(python.path)
    found = shlex.quote(f"{folder}/bin/python")
    return PythonStart(
        setup=(*lines, *_folder_lines(folder, python.kind)), ranks=found, guard=found
    )


def settled(python: PythonConfig) -> PythonConfig:
    """The same from whatever folder it is sent again: its paths are absolute."""
    return replace(
        python,
        path=python.path if _is_named(python) else str(_absolute(python.path or "")),
        module_init=str(_absolute(python.module_init)) if python.module_init else None,
        binds=[_bind(text) for text in python.binds],
        overlay=str(_absolute(python.overlay)) if python.overlay else None,
    )


def _is_named(python: PythonConfig) -> bool:
    """Whether what Python starts in is known by a name or an address, and not by a path."""
    path = python.path
    if python.kind == "same" or path is None or "://" in path:
        return True
    return python.kind == "conda" and "/" not in path and path not in (".", "~")


def environment_lines(presets: Mapping[str, Mapping[str, str]], gpu_type: str | None) -> list[str]:
    """Exports of a job: what counts everywhere, then what counts for its type of GPU."""
    chosen = {**presets.get(EVERYWHERE, {}), **presets.get(gpu_type or "", {})}
    return [f"export {name}={shlex.quote(str(value))}" for name, value in chosen.items()]


def _fail(message: str) -> str:
    """Ends a batch script with one line, whatever shell options are in force."""
    return f"{{ echo {shlex.quote(f'launcher: {message}')} >&2; exit 1; }}"


def _module_lines(python: PythonConfig) -> tuple[str, ...]:
    if not python.modules:
        return ()
    hint = "cluster.python.module_init names the file that defines it"
    undefined = _fail(f"`module` is not defined on this node; {hint}")
    is_defined = "type module >/dev/null 2>&1"
    if python.module_init:
        file = shlex.quote(str(_absolute(python.module_init)))
        missing = _fail(f"cluster.python.module_init: {python.module_init} cannot be read")
        define = f"[ -r {file} ] || {missing}; . {file}"
    else:
        define = (
            f"for file in {' '.join(_MODULE_FILES)}; do"
            f' {is_defined} && break; [ -r "$file" ] && . "$file"; done'
        )
    # One after the other: with several names, only the last one's failure may show.
    loads = [
        f"module load {shlex.quote(name)} || {_fail(f'`module load {name}` failed on this node')}"
        for name in python.modules
    ]
    return (define, f"{is_defined} || {undefined}", *loads)


def _folder_lines(folder: Path, kind: str) -> tuple[str, ...]:
    """Of a venv or a conda environment that is named by its folder."""
    quoted = shlex.quote(str(folder))
    variable = "VIRTUAL_ENV" if kind == "venv" else "CONDA_PREFIX"
    lines = [
        f"[ -x {quoted}/bin/python ] || {_fail(f'there is no {folder}/bin/python on this node')}",
        f'export {variable}={quoted} PATH={quoted}/bin:"$PATH"',
    ]
    if kind == "conda":
        # What `conda activate` would do besides, where conda itself may not be installed.
        scripts = f"{quoted}/etc/conda/activate.d/*.sh"
        lines.append(f'for file in {scripts}; do [ -r "$file" ] && . "$file"; done')
    return tuple(lines)


def _named_conda_lines(name: str) -> tuple[str, ...]:
    conda = '"${CONDA_EXE:-conda}"'
    hint = "cluster.python.path may also be the folder of the environment"
    return (
        f'{{ hook="$({conda} shell.bash hook)" && eval "$hook"; }} ||'
        f" {_fail(f'conda does not answer on this node; {hint}')}",
        f"conda activate {shlex.quote(name)} || {_fail(f'`conda activate {name}` failed; {hint}')}",
    )


def _image_lines(python: PythonConfig) -> tuple[str, ...]:
    image = shlex.quote(_image(python))
    lines = [f"type apptainer >/dev/null 2>&1 || {_fail('there is no apptainer on this node')}"]
    if "://" not in _image(python):
        missing = _fail(f"the image {_image(python)} is not there on this node")
        lines.append(f"[ -e {image} ] || {missing}")
    return tuple(lines)


def _apptainer_words(python: PythonConfig, *, has_gpus: bool, folders: Sequence[Path]) -> list[str]:
    """`apptainer exec ... IMAGE python3`. Its environment is that of the batch script."""
    words = ["apptainer", "exec"]
    if python.nv and has_gpus:
        words.append("--nv")
    binds = [str(folder) for folder in folders if folder != Path("/")]
    for bind in dict.fromkeys([*binds, *(_bind(text) for text in python.binds)]):
        words += ["--bind", bind]
    if python.overlay:
        words += ["--overlay", str(_absolute(python.overlay))]
    return [*words, _image(python), "python3"]


def _bind(text: str) -> str:
    outside, colon, rest = text.partition(":")
    return f"{_absolute(outside)}{colon}{rest}"


def _image(python: PythonConfig) -> str:
    assert python.path is not None
    return python.path if _is_named(python) else str(_absolute(python.path))


def _absolute(path: str) -> Path:
    """As seen from the folder where the command is given."""
    return Path(path).expanduser().absolute()
