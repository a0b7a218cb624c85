"""Starts and stops labs from the host's side."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from .errors import LabError
from .lab import Lab
from .layout import REPOSITORY, LabLayout
from .options import LabOptions
from .plan import READY, LabPlan, make_plan
from .remains import remove_folder, remove_remains
from .requirements import why_not
from .waiting import wait_until

_STOP_TIMEOUT_S = 120.0

# Those that end with this process: their parent has to ask how they ended.
_wardens: dict[Path, subprocess.Popen[bytes]] = {}


def start(
    directory: Path,
    options: LabOptions | None = None,
    *,
    is_owned: bool = True,
    throw_away: bool = True,
) -> Lab:
    """Start a lab and return when its nodes are idle.

    Args:
        directory: Where all of its files go; must not exist, be empty, or be the remains of a lab.
        options: What it looks like.
        is_owned: End the lab with this process, however that ends.
        throw_away: Remove the folder at the end.

    Raises:
        LabError: SLURM can not run here, a lab is up there already, or a daemon failed.
    """
    directory, options = directory.absolute(), options or LabOptions()
    if reason := why_not(options):
        raise LabError(f"no SLURM lab can run here: {reason}")
    if is_up(directory):
        raise LabError("a lab is up there already", where=f"`{directory}`")
    stop(directory)
    plan = make_plan(directory, options, throw_away=throw_away)
    for folder in (plan.layout.etc, plan.layout.run, plan.layout.log):
        folder.mkdir(parents=True)
    directory.chmod(0o755)
    plan.save()
    _start_warden(plan, is_owned=is_owned)
    return Lab(directory)


def stop(directory: Path) -> None:
    """End a lab and remove all that is left of it; fine if there is none."""
    directory = directory.absolute()
    if is_up(directory):
        processes = json.loads(LabLayout(directory).processes.read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(processes["warden"], signal.SIGTERM)
        wait_until(lambda: not is_up(directory), f"`{directory}` has ended", _STOP_TIMEOUT_S)
    if (warden := _wardens.pop(directory, None)) is not None:
        warden.wait(_STOP_TIMEOUT_S)
    if LabLayout(directory).plan.exists():
        remove_remains(replace(LabPlan.load(directory), throw_away=True))
    remove_folder(directory)


def is_up(directory: Path) -> bool:
    """Tell whether the lab lives: its lock is held."""
    try:
        with LabLayout(directory).lock.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def temporary_lab(options: LabOptions | None = None) -> Iterator[Lab]:
    """Run a lab in a folder of its own for the time of a with-block."""
    # Not pytest's folder: that one is closed to the ordinary user, and its path is long.
    directory = Path(tempfile.mkdtemp(prefix="lab-"))
    try:
        yield start(directory, options)
    finally:
        stop(directory)


def _start_warden(plan: LabPlan, *, is_owned: bool) -> None:
    with (plan.layout.log / "supervisor.log").open("w+") as log:
        process, report_fd = _spawn_warden(plan, log, is_owned=is_owned)
        try:
            with os.fdopen(report_fd) as report:
                text = report.read()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if text != READY:
            process.wait()
            # The folder may be gone, this file is still open.
            log.seek(0)
            raise LabError("the lab did not start", where=f"{text}\n--- supervisor\n{log.read()}")
    if is_owned:
        _wardens[plan.directory] = process
    else:
        # Tell the object that nobody will wait for it.
        process.returncode = 0


def _spawn_warden(
    plan: LabPlan, log: IO[str], *, is_owned: bool
) -> tuple[subprocess.Popen[bytes], int]:
    read_fd, write_fd = os.pipe()
    owner_fd = os.pidfd_open(os.getpid())
    command = [sys.executable, "-m", f"{__package__}.warden", str(plan.directory)]
    command += [f"--report-fd={write_fd}", *([f"--owner-fd={owner_fd}"] if is_owned else [])]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=(write_fd, owner_fd),
        start_new_session=True,
    )
    os.close(write_fd)
    os.close(owner_fd)
    return process, read_fd
