"""From the text of a batch script to what it asks for and what it starts. Pure but for `load`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LauncherError
from launcher.scripts.asked import Asked, asked_by
from launcher.scripts.directives import MAGIC, Directives, read_directives
from launcher.scripts.findings import ScriptFinding, error
from launcher.scripts.launches import Launch, launches
from launcher.scripts.shell import Command, commands
from launcher.scripts.variables import Variables, slurm_variables

_LARGEST_BYTES = 4 * 1024 * 1024
"""What sbatch takes (max_script_size)."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """A batch script that was read."""

    directives: Directives
    asked: Asked
    commands: tuple[Command, ...]
    launches: tuple[Launch, ...]
    variables: dict[str, tuple[str, int]]
    """What the script sets: name -> value and line."""
    findings: tuple[ScriptFinding, ...]
    """Of the text itself."""
    is_shell: bool


def load(path: Path) -> str:
    """The text of a batch script.

    Raises:
        LauncherError: there is no such file, or it is no script.
    """
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise LauncherError(
            f"`{path}` cannot be read: {problem.strerror}", hint="launch doctor script.slurm"
        ) from problem
    if len(content) > _LARGEST_BYTES:
        raise LauncherError(f"`{path}` has {len(content)} bytes, more than a batch script may have")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise LauncherError(f"`{path}` is not text", hint="give the file that goes to sbatch")
    if not text.startswith("#!") and MAGIC not in text:
        raise LauncherError(
            f"`{path}` is no batch script: it has no {MAGIC} lines and does not begin with `#!`",
            hint="give the file that goes to sbatch",
        )
    return text


def read_script(text: str) -> Script:
    """Read the directives, then the commands with what is known of their variables."""
    plain = text.replace("\r\n", "\n")
    lines = plain.split("\n")
    directives = read_directives(lines)
    asked = asked_by({one.name: one.value for one in directives.listed})
    variables = Variables(slurm_variables(directives, asked))
    findings = [*_of_text(text, lines)]
    is_shell = "python" not in lines[0]
    parts: list[Command] = []
    started: list[Launch] = []
    if is_shell:
        try:
            parts = list(commands(plain))
            started = list(launches(parts, variables))
        except ValueError as problem:
            findings.append(error("shell", None, f"the shell cannot read the script: {problem}"))
    return Script(
        directives=directives,
        asked=asked,
        commands=tuple(parts),
        launches=tuple(_trainings(started)),
        variables=variables.set_by_script,
        findings=(*findings, *directives.findings),
        is_shell=is_shell,
    )


def _of_text(text: str, lines: Sequence[str]) -> list[ScriptFinding]:
    found = []
    if "\r\n" in text:
        reason = "the lines end as on Windows (\\r\\n): sbatch refuses the script"
        found.append(error("line-ends", 1, reason, "dos2unix, or: sed -i 's/\\r$//' FILE"))
    if not lines[0].startswith("#!"):
        reason = "the first line does not begin with `#!`: sbatch refuses the script"
        found.append(error("shebang", 1, reason, "#!/bin/bash"))
    return found


def _trainings(started: Sequence[Launch]) -> Sequence[Launch]:
    """Those that srun or mpirun starts; where there are none, the last command of Python.

    What runs before or after it on the first node alone prepares or evaluates.
    """
    spread = [one for one in started if one.starter != "batch" or one.spawner != "none"]
    return spread or started[-1:]
