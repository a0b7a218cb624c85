"""How a script starts its training: by which starter, with which arguments. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from launcher.scripts.asked import number
from launcher.scripts.options import SRUN, Option, read_options
from launcher.scripts.shell import Command, commands
from launcher.scripts.variables import Variables, assignment

Starter = Literal["batch", "srun", "mpirun"]
"""`batch`: the first node's shell itself, hence one process."""
Spawner = Literal["none", "torchrun", "accelerate", "deepspeed"]
"""What starts further processes on a node by itself."""
_KEYWORDS = {"if", "then", "else", "elif", "while", "until", "do", "!", "{", "time", "exec"}
_KEYWORDS |= {"nohup", "command", "eval", "stdbuf", "nice", "sudo"}
_MPI = {"mpirun", "mpiexec", "orterun", "prterun"}
_CONTAINERS = {"apptainer", "singularity"}
_PREFIXES = (("uv", "run"), ("poetry", "run"), ("conda", "run"), ("mamba", "run"), ("pixi", "run"))
_PYTHON = re.compile(r"(?:.*/)?python[\d.]*")
_SHELL = re.compile(r"(?:.*/)?(?:ba|da|z)?sh")
_TORCH_MODULES = ("torch.distributed.run", "torch.distributed.launch")
_HELPERS = {"pip", "venv", "ensurepip", "http.server", "json.tool", "site", "zipfile"}


@dataclass(frozen=True, kw_only=True)
class Argument:
    """`key=value`, `--key=value` or `--key value` of a program."""

    key: str
    value: str
    written: str

    @property
    def name(self) -> str:
        """The last part of the key, in snake case."""
        return self.key.rpartition(".")[2].replace("-", "_")


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One command that runs Python, or something that could not be looked into."""

    line: int
    starter: Starter
    options: tuple[Option, ...] = ()
    """Of srun."""
    mpi_tasks: int | None = None
    spawner: Spawner = "none"
    spawner_arguments: tuple[Argument, ...] = ()
    program: str = ""
    """Empty where it could not be seen what is started."""
    arguments: tuple[Argument, ...] = ()
    is_background: bool = False

    def argument(self, *names: str) -> Argument | None:
        """The last argument with one of these names."""
        found = [one for one in self.arguments if one.name in names]
        return found[-1] if found else None


def launches(parts: Sequence[Command], variables: Variables) -> Iterator[Launch]:
    """Commands that may be a training, in the order of the script."""
    for command in parts:
        words = variables.take(list(command.words), command.line)
        found = _launch(words, command.line)
        if found is not None:
            yield _in_background(found) if command.is_background else found


def _in_background(launch: Launch) -> Launch:
    return Launch(**{**launch.__dict__, "is_background": True})


def _launch(words: list[str], line: int) -> Launch | None:
    words = _without_prefix(words)
    if not words:
        return None
    base = words[0].rpartition("/")[2]
    if base == "srun":
        options, rest = read_options(words[1:], SRUN)
        return _started(rest, line, "srun", tuple(options))
    if base in _MPI:
        return _mpi(words[1:], line)
    found = _started(words, line, "batch", ())
    return found if found is not None and found.program else None


def _mpi(words: list[str], line: int) -> Launch | None:
    """Options of mpirun differ; the program begins at the first Python that is seen."""
    tasks = next(
        (number(words[i + 1]) for i, one in enumerate(words[:-1]) if one in ("-n", "-np", "--np")),
        None,
    )
    at = next((i for i, one in enumerate(words) if _PYTHON.fullmatch(one)), len(words))
    found = _started(words[at:], line, "mpirun", ())
    return None if found is None else Launch(**{**found.__dict__, "mpi_tasks": tasks})


def _without_prefix(words: list[str]) -> list[str]:
    """Without shell keywords, variables of this command, `env` and runners of environments."""
    while words:
        if words[0] in _KEYWORDS or assignment(words[0]):
            words = words[1:]
        elif words[0] in ("env", "timeout", "numactl"):
            words = words[1:]
            while words and (words[0].startswith("-") or words[0][:1].isdigit()):
                words = words[1:]
        elif tuple(words[:2]) in _PREFIXES or words[0].rpartition("/")[2] in _CONTAINERS:
            words = _from_program(words)
        else:
            break
    return words


def _from_program(words: list[str]) -> list[str]:
    """From the first word that starts Python or a shell; options of containers are many."""
    for at, word in enumerate(words):
        if at and (_PYTHON.fullmatch(word) or _SHELL.fullmatch(word) or word in _SPAWNERS):
            return words[at:]
    return []


_SPAWNERS: dict[str, Spawner] = {
    "torchrun": "torchrun",
    "accelerate": "accelerate",
    "deepspeed": "deepspeed",
}


def _started(
    words: list[str], line: int, starter: Starter, options: tuple[Option, ...]
) -> Launch | None:
    """What the starter starts; None for what is no training, such as `srun hostname`."""
    words = _without_prefix(words)
    unseen = Launch(line=line, starter=starter, options=options)
    if not words:
        return unseen if starter == "mpirun" else None
    base = words[0].rpartition("/")[2]
    if _SHELL.fullmatch(words[0]):
        return _of_shell(words, line, starter, options)
    if base in _SPAWNERS:
        rest = words[2:] if words[1:2] == ["launch"] else words[1:]
        return _spawned(_SPAWNERS[base], rest, unseen)
    if _PYTHON.fullmatch(words[0]):
        return _of_python(words[1:], unseen)
    is_script = base.endswith((".sh", ".py", ".bash")) or words[0].startswith("./")
    program = words[0] if words[0].endswith(".py") else ""
    return _with(unseen, program, words[1:]) if is_script else None


def _of_shell(
    words: list[str], line: int, starter: Starter, options: tuple[Option, ...]
) -> Launch | None:
    """`bash -c "..."`: the last Python in it; `bash file.sh` cannot be looked into."""
    flags = [word for word in words[1:3] if word.startswith("-")]
    if not any("c" in flag for flag in flags):
        return Launch(line=line, starter=starter, options=options)
    inner = words[1 + len(flags)] if len(words) > 1 + len(flags) else ""
    found: Launch | None = None
    for command in commands(inner, line):
        found = _started(list(command.words), line, starter, options) or found
    return found


def _of_python(words: list[str], unseen: Launch) -> Launch | None:
    while words and words[0].startswith("-") and words[0] not in ("-m", "-c", "-"):
        words = words[2:] if words[0] in ("-W", "-X") else words[1:]
    if not words or words[0] in ("-c", "-"):
        return None
    if words[0] != "-m":
        return _with(unseen, words[0], words[1:])
    module = words[1] if len(words) > 1 else ""
    if module in _TORCH_MODULES:
        return _spawned("torchrun", words[2:], unseen)
    if module.startswith("accelerate"):
        return _spawned("accelerate", words[2:], unseen)
    return None if module in _HELPERS else _with(unseen, module, words[2:])


def _spawned(spawner: Spawner, words: list[str], unseen: Launch) -> Launch:
    """Options of torchrun up to the program; flags without a value are few."""
    own: list[str] = []
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word in ("-m", "--module"):
            break
        own.append(word)
        if "=" not in word and words and word not in ("--standalone", "--multi_gpu", "--no-python"):
            own.append(words.pop(0))
    with_program = _with(unseen, words[0] if words else "", words[1:])
    return Launch(
        **{
            **with_program.__dict__,
            "spawner": spawner,
            "spawner_arguments": tuple(_arguments(own)),
        }
    )


def _with(launch: Launch, program: str, words: list[str]) -> Launch:
    return Launch(**{**launch.__dict__, "program": program, "arguments": tuple(_arguments(words))})


def _arguments(words: Sequence[str]) -> Iterator[Argument]:
    for at, word in enumerate(words):
        key, equals, value = word.partition("=")
        name = key.lstrip("-+~")
        if equals and name:
            yield Argument(key=name, value=value, written=word)
        elif key.startswith("--") and at + 1 < len(words) and not words[at + 1].startswith("--"):
            yield Argument(key=name, value=words[at + 1], written=f"{word} {words[at + 1]}")
