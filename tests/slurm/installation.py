"""Installs the packages of a lab on Debian and Ubuntu, without starting their services."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from . import modules
from .errors import LabError
from .options import LabOptions
from .requirements import APT_COMMAND, missing_programs

_POLICY = Path("/usr/sbin/policy-rc.d")
_FORBID_ALL = "#!/bin/sh\nexit 101\n"


def why_not_installable() -> str | None:
    """Say why the packages can not be installed; None if they can."""
    if shutil.which("apt-get") is None:
        return "there is no apt-get; install SLURM, munge and MariaDB by hand"
    if os.geteuid() != 0:
        return "only root can install packages; hint: use sudo"
    return None


def install() -> str:
    """Install what is missing, or say why not; the tests are then skipped.

    Raises:
        LabError: apt-get failed.
    """
    if not missing_programs(LabOptions()) and not modules.missing():
        return "everything is installed already"
    if reason := why_not_installable():
        return f"nothing installed: {reason}"
    with _no_services():
        _run_apt("apt-get update")
        _run_apt(APT_COMMAND)
        modules.unpack_tcl_modules()
    return "installed"


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Forbid packages to start services, unless the machine has a rule of its own for that."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text(_FORBID_ALL)
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def _run_apt(command: str) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    code = subprocess.run(command.split(), env=environment, check=False).returncode
    if code:
        raise LabError(f"`{command}` ended with {code}", hint="its output is above")
