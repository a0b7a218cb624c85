"""The command line: up, down, status, env, shell, install, chaos, memory."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from . import carrying
from .chaos.arguments import add_arguments as add_chaos_arguments
from .errors import LabError
from .installation import install
from .lab import Lab
from .layout import default_directory
from .lifecycle import is_up, start, stop
from .memory.arguments import add_arguments as add_memory_arguments
from .options import LabOptions

_OK = 0
_NOT_UP = 1
_MISUSE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    parsed = _make_parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed, default_directory()))
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return _MISUSE
    except KeyboardInterrupt:
        return 130


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.slurm",
        description="A throw-away SLURM cluster on this machine, for trying things by hand.",
        epilog="Its folder is /tmp/launcher-lab, or what LAUNCHER_LAB says.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_up(commands)
    _add(commands, "down", _down, "stop it and remove all of it")
    _add(commands, "status", _status, "say whether it is up (exit code 1 if not)")
    _add(commands, "env", _env, 'print exports for eval "$(python -m tests.slurm env)"')
    shell = _add(commands, "shell", _shell, "open a shell on it, or run one command with -c")
    shell.add_argument("-c", dest="script", metavar="COMMAND", help="run this and end")
    shell.add_argument(
        "--user", action="store_true", help="be the ordinary user, inside of its namespaces"
    )
    _add(commands, "install", _install, "install the packages it needs (Debian, Ubuntu)")
    pack = _add(commands, "pack", _pack, "put SLURM's files into an archive, for `unpack`")
    pack.add_argument("archive", type=Path)
    text = "put them where no package can be installed; for a machine that is thrown away"
    _add(commands, "unpack", _unpack, text).add_argument("archive", type=Path)
    chaos = _add(commands, "chaos", _chaos, "do faults to trainings on labs, and show the outcome")
    add_chaos_arguments(chaos)
    memory = _add(commands, "memory", _memory, "predict what runs take on a lab, and run them")
    add_memory_arguments(memory)
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: object,
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser


def _add_up(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    defaults = LabOptions()
    parser = _add(commands, "up", _up, "start it, unless it is up already")
    add = parser.add_argument
    add("--nodes", type=int, default=defaults.nodes)
    add("--gpus-per-node", type=int, default=defaults.gpus_per_node)
    add("--real-gpus", action="store_true", help="hand out the machine's own, node by node")
    add("--gpu-type", default=defaults.gpu_type)
    add("--cpus-per-node", type=int, default=defaults.cpus_per_node)
    add("--real-memory-mb", type=int, default=defaults.real_memory_mb)
    add("--max-array-size", type=int, default=defaults.max_array_size)
    add("--grace-time-s", type=int, default=defaults.grace_time_s)
    add("--no-accounting", dest="accounting", action="store_false", help="no sacct, no sacctmgr")
    add("--preempt-user-signal", action="store_true", help="preemption sends --signal first")
    add("--conf", dest="extra_conf", action="append", default=[], help="a line for slurm.conf")
    add("--expose", action="append", default=[], help="a path that jobs of the user must reach")


def _up(parsed: argparse.Namespace, directory: Path) -> int:
    if is_up(directory):
        _say("already up\n")
    else:
        _start(directory, _read_options(parsed))
    lab = Lab(directory)
    _say(lab.ask(["sinfo", "--format=%10P %14N %6D %12G %12l %T"]))
    _say(
        '\neval "$(python -m tests.slurm env)"  # then sbatch, squeue, sacct, scancel work here'
        "\npython -m tests.slurm shell --user     # a shell as an ordinary user of the cluster"
        "\npython -m tests.slurm down             # stop it; nothing stays behind\n"
    )
    return _OK


def _read_options(parsed: argparse.Namespace) -> LabOptions:
    given = {name: value for name, value in vars(parsed).items() if name != "run"}
    lists = {name: tuple(given[name]) for name in ("extra_conf", "expose")}
    return LabOptions(**given | lists)


def _start(directory: Path, options: LabOptions) -> None:
    try:
        # The folder of a lab that fails is kept for its logs.
        start(directory, options, is_owned=False, throw_away=False)
    except KeyboardInterrupt:
        stop(directory)
        raise


def _down(_: argparse.Namespace, directory: Path) -> int:
    _say("stopping\n" if is_up(directory) else "not up\n")
    stop(directory)
    return _OK


def _status(_: argparse.Namespace, directory: Path) -> int:
    if not is_up(directory):
        _say(f"not up: {directory}\n")
        return _NOT_UP
    _say(f"up: {directory}\n{Lab(directory).ask(['sinfo'])}")
    return _OK


def _env(_: argparse.Namespace, directory: Path) -> int:
    _say(f"export SLURM_CONF={shlex.quote(str(_attach(directory).layout.slurm_conf))}\n")
    return _OK


def _shell(parsed: argparse.Namespace, directory: Path) -> NoReturn:
    lab = _attach(directory)
    shell = ["bash", "-c", parsed.script] if parsed.script else ["bash", "--norc", "-i"]
    prompt = {"PS1": r"(slurm lab) \u@\h:\w\$ "}
    if parsed.user:
        terminal = {"TERM": os.environ.get("TERM", "dumb")}
        command = lab.entering_command(shell)
        os.execve(command[0], command, lab.environment() | prompt | terminal)
    environment = os.environ | prompt | {"SLURM_CONF": str(lab.layout.slurm_conf)}
    os.execvpe(shell[0], shell, environment)


def _pack(parsed: argparse.Namespace, _directory: Path) -> int:
    carrying.pack(parsed.archive)
    return _OK


def _unpack(parsed: argparse.Namespace, _directory: Path) -> int:
    carrying.unpack(parsed.archive)
    return _OK


def _install(_: argparse.Namespace, _directory: Path) -> int:
    _say(f"{install()}\n")
    return _OK


def _memory(parsed: argparse.Namespace, _directory: Path) -> int:
    # The rest of the lab needs nothing of the launcher.
    from .memory.command import run_command

    return run_command(parsed)


def _chaos(parsed: argparse.Namespace, _directory: Path) -> int:
    # Needs the launcher's own packages; the other commands run without them.
    from .chaos.command import run

    return run(parsed)


def _attach(directory: Path) -> Lab:
    if not is_up(directory):
        raise LabError("no lab is up", where=f"`{directory}`", hint="python -m tests.slurm up")
    return Lab(directory)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
