"""The inside of a lab as a machine: commands run there, as an ordinary user or as root."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .entering import KILL_ALL, Entry, entering_command
from .errors import CommandFailedError, LabError
from .layout import USER_ID, USER_NAME, LabLayout
from .options import LabOptions
from .plan import LabPlan

_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_COMMAND_TIMEOUT_S = 60.0
_AFTER_KILL_S = 5.0


class Machine:
    """What processes inside of a lab that is up see and do."""

    def __init__(self, directory: Path) -> None:
        """Attach to the lab in a folder.

        Raises:
            LabError: None is up there.
        """
        self.layout = LabLayout(directory)
        try:
            self.plan = LabPlan.load(directory)
            self.processes: dict[str, int] = json.loads(self.layout.processes.read_text())
        except FileNotFoundError:
            raise LabError(
                "no lab is up", where=f"`{directory}`", hint="python -m tests.slurm up"
            ) from None

    @property
    def directory(self) -> Path:
        """The folder that holds all of it."""
        return self.layout.directory

    @property
    def options(self) -> LabOptions:
        """What the lab looks like."""
        return self.plan.options

    @property
    def home(self) -> Path:
        """Home of the ordinary user."""
        return self.layout.home

    def environment(self, *, as_user: bool = True) -> dict[str, str]:
        """Return the clean environment that `run` and `popen` start from."""
        name, home = (USER_NAME, self.home) if as_user else ("root", self.directory)
        return {
            "PATH": f"{Path(sys.executable).parent}:{_SYSTEM_PATH}",
            "HOME": str(home),
            "USER": name,
            "LOGNAME": name,
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.layout.scratch),
            "SLURM_CONF": str(self.layout.slurm_conf),
        }

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        as_user: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start a command inside the lab; signals to it are forwarded, and it ends with the lab.

        Args:
            argv: The command.
            as_user: Be the ordinary user, else root.
            env: Added to `environment`.
            cwd: Where to start; the home folder by default.
            options: Those of `subprocess.Popen`.
        """
        command = self.entering_command(argv, as_user=as_user, cwd=cwd)
        environment = self.environment(as_user=as_user) | dict(env or {})
        return subprocess.Popen(command, env=environment, text=True, **options)

    def entering_command(
        self, argv: Sequence[str | Path], *, as_user: bool = True, cwd: Path | None = None
    ) -> list[str]:
        """Return the host's command line that runs a command inside the lab."""
        entry = Entry(
            pid=self.processes["supervisor"],
            namespace=self.processes["namespace"],
            user_id=USER_ID if as_user else 0,
            directory=str(cwd or (self.home if as_user else self.directory)),
            command=[str(part) for part in argv],
        )
        return entering_command(entry)

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        as_user: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        input: str = "",
        timeout_s: float = _COMMAND_TIMEOUT_S,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside the lab to its end.

        Raises:
            CommandFailedError: It took longer than `timeout_s`, or it failed and `check` is set.
        """
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with self.popen(argv, as_user=as_user, env=env, cwd=cwd, **pipes) as process:
            try:
                stdout, stderr = process.communicate(input, timeout=timeout_s)
                what = f"{argv} ended with {process.returncode}"
            except subprocess.TimeoutExpired:
                process.send_signal(KILL_ALL)
                stdout, stderr = process.communicate(timeout=_AFTER_KILL_S)
                what, check = f"{argv} took longer than {timeout_s:g} s", True
        code = process.returncode
        if check and code:
            raise CommandFailedError(what, returncode=code, stdout=stdout, stderr=stderr)
        return subprocess.CompletedProcess(argv, code, stdout, stderr)
