"""`launcher.main`: hydra.main, with one message and exit code 2 for the user's mistakes."""

from __future__ import annotations

import functools
import os
import re
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from launcher import messages, uncaught
from launcher.errors import LauncherError, nearest
from launcher.hydra_config import shared_store

_HALVES = {
    "devices": "GPUs per node",
    "num_nodes": "nodes",
    "accelerator": "GPUs or none",
    "strategy": "ranks",
    "accumulate_grad_batches": "passes per optimizer step",
    "ntasks": "tasks",
    "ntasks_per_node": "tasks",
}
"""Keys that people know from elsewhere, and what of the shape they are a half of."""
_FILE_MODULES = {"pathlib", "os", "shutil", "tempfile", "io", "omegaconf"}


def main(
    config_path: str | None, config_name: str, version_base: str | None = "1.3"
) -> Callable[[Callable[[Any], Any]], Callable[[], None]]:
    """Decorate the task of a program, as `hydra.main` does.

    Every command goes through a launcher, also without `-m`, if the config sets
    `hydra.mode=MULTIRUN`.
    """

    def decorate(task: Callable[[Any], Any]) -> Callable[[], None]:
        program = hydra.main(
            version_base=version_base, config_path=config_path, config_name=config_name
        )(task)

        @functools.wraps(task)
        def run() -> None:
            sys.exit(_exit_code(program))

        return run

    return decorate


def _exit_code(program: Callable[[], Any]) -> int:
    messages.print_anything()
    with _full_errors(), shared_store():
        try:
            program()
            sys.stdout.flush()
        except BrokenPipeError:
            if not _is_reader_gone():
                raise
            return _leave_quietly()
        except KeyboardInterrupt:
            return 130
        except Exception as error:
            explanation = explained(error)
            if explanation is None:
                raise
            return messages.show(explanation)
    return 0


def _is_reader_gone() -> bool:
    """Whether nobody reads what we print any more, as behind `| head -1`."""
    watched = select.poll()
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            watched.register(stream, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in watched.poll(0))


def _leave_quietly() -> int:
    """End as a program does that knows nothing of SIGPIPE; what is not printed yet never is."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


@contextmanager
def _full_errors() -> Iterator[None]:
    """Let Hydra raise instead of printing and leaving with 1; jobs do not inherit the switch."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


def explained(error: BaseException) -> LauncherError | None:
    """What to tell the user in place of a traceback; None where that is a bug to show."""
    if isinstance(error, LauncherError):
        return error
    if isinstance(error, HydraException | OmegaConfBaseException):
        return explain(error)
    if isinstance(error, OSError) and _is_hydras_own(error):
        return _unwritable(error)
    return None


def explain(error: Exception) -> LauncherError:
    """Hydra's message, and the nearest legal word where it lists the legal ones."""
    text = str(error).strip()
    asked = os.environ.get(uncaught.ASKED)
    if asked and re.search(r"Could not override 'hydra\.launcher\.action'", text):
        return LauncherError(
            f"`launch {asked}` needs a launcher of ours, and the program has Hydra's own",
            hint=f"launch {asked} hydra/launcher=slurm ..., or `override hydra/launcher: slurm` in"
            " the defaults of its config",
        )
    override = getattr(error, "override", None)
    if override is not None and str(override) not in text:
        text = f"Error parsing override `{override}`\n{text}"
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and str(cause) not in text:
        text = f"{text}\n{str(cause).strip()}"
    return LauncherError(text, hint=_hint(error, text))


def _hint(error: Exception, text: str) -> str | None:
    missing = re.search(
        r"Could not find '([^']+)'.*?Available options in '([^']*)':(.*)", text, re.S
    )
    if missing:
        path, group, options = missing.groups()
        match = nearest(path.rpartition("/")[2], options.split())
        return f"did you mean {group}={match}?" if match else None
    key = re.search(r"Key '([^']+)' (?:is not in struct|not in)", text) or re.search(
        r"Could not override '([^']+)'", text
    )
    if key:
        leaf = key.group(1).rpartition(".")[2]
        if leaf in _HALVES:
            return f"{_HALVES[leaf]} follow from the shape: set resources.gpus=... instead"
        return _nearest_key(error, key.group(1))
    return None


def _nearest_key(error: Exception, key: str) -> str | None:
    cause: BaseException | None = error
    while cause is not None:
        parent = getattr(cause, "parent_node", None)
        if parent is not None and hasattr(parent, "keys"):
            match = nearest(key.rpartition(".")[2], [str(name) for name in parent])
            return f"did you mean `{match}`?" if match else None
        cause = cause.__cause__
    return None


def _is_hydras_own(error: OSError) -> bool:
    """Whether Hydra could not make or fill the sweep's folder; other OSErrors are bugs to show."""
    modules = [
        str(frame.f_globals.get("__name__", "")).partition(".")[0]
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    return next((name for name in reversed(modules) if name not in _FILE_MODULES), "") == "hydra"


def _unwritable(error: OSError) -> LauncherError:
    return LauncherError(
        f"cannot write `{error.filename}`: {error.strerror}",
        hint="choose another output folder, e.g. paths.output_dir=...",
    )
