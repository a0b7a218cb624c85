"""Start a study from Python: a notebook's cell says what a shell's command line would say."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

from launcher.errors import LauncherError, RunsFailedError
from launcher.studies import Study

ANNOUNCE = "LAUNCHER_ANNOUNCE"
"""Environment variable: a file into which the launching process writes the study's folder."""


def launch(overrides: Sequence[str], program: str | Path = "train.py") -> Study:
    """Issue a command of a Hydra program, and return the study that it declared.

    It runs in a process of its own, as from a shell: Hydra's globals and the classes of the
    notebook stay out of it, and its output appears where the cell's does. Local runs are waited
    for; runs on a cluster are not, unless `hydra.launcher.wait=true` is given.

    Args:
        overrides: As on the command line; `-m` is not needed.
        program: Looked for in this folder and in those above.

    Raises:
        LauncherError: the command was refused, for the reason that it gives.
        RunsFailedError: some runs failed.
    """
    code, said, study = _issue(overrides, Path(program))
    if code == 0 and study is not None:
        return study
    kind = RunsFailedError if study is not None else LauncherError
    raise kind("".join(said[-20:]).strip() or f"`{Path(program).name}` declared no study")


def preview(overrides: Sequence[str], program: str | Path = "train.py") -> None:
    """Show what `launch` would do with each run; nothing is sent and no file is left.

    Raises:
        LauncherError: the command was refused, for the reason that it gives.
    """
    code, said, _ = _issue([*overrides, "hydra.launcher.dry_run=true"], Path(program))
    if code:
        raise LauncherError("".join(said[-20:]).strip())


def _issue(overrides: Sequence[str], program: Path) -> tuple[int | None, list[str], Study | None]:
    """Run the program to its end; its exit code, its messages and the study that it declared."""
    path = _find(program)
    with tempfile.TemporaryDirectory() as folder:
        announced = Path(folder) / "study"
        with subprocess.Popen(
            [sys.executable, str(path), "-m", *overrides],
            cwd=path.parent,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, ANNOUNCE: str(announced)},
        ) as process:
            said = _pass_on(process)
        study = Study(Path(announced.read_text())) if announced.exists() else None
    return process.returncode, said, study


def announce(study_dir: Path) -> None:
    """Tell who started this process which study it declares."""
    if path := os.environ.get(ANNOUNCE):
        Path(path).write_text(str(study_dir))


def _find(program: Path) -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / program).is_file():
            return (folder / program).resolve()
    raise LauncherError(
        f"there is no `{program}` in `{here}` or above", hint="name it: launch([...], program=...)"
    )


def _pass_on(process: subprocess.Popen[str]) -> list[str]:
    """Show what the command says as it says it; returns its messages."""
    assert process.stdout is not None
    assert process.stderr is not None
    said: list[str] = []

    def read_messages() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            sys.stderr.write(line)

    reader = Thread(target=read_messages)
    reader.start()
    for line in process.stdout:
        sys.stdout.write(line)
    reader.join()
    process.wait()
    return said
