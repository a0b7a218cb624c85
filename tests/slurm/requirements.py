"""What a lab needs of the machine, and whether it is there."""

import functools
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

from . import cgroups, namespaces
from .controllers import LAB_PREFIX
from .entering import bare_interpreter
from .options import LabOptions

PACKAGES = ("slurm-wlm", "munge", "slurmdbd", "mariadb-server", "lmod")
APT_COMMAND = f"apt-get install -y --no-install-recommends {' '.join(PACKAGES)}"

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "sinfo")
_ACCOUNTING_PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db", "sacct")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def why_not(options: LabOptions | None = None) -> str | None:
    """Say why a lab can not run here; None if it can."""
    if sys.platform != "linux":
        return f"SLURM needs Linux, this is {sys.platform}"
    if os.geteuid() != 0:
        return "only root can start SLURM's daemons and make namespaces; hint: use sudo"
    if missing := missing_programs(options or LabOptions()):
        return f"{', '.join(missing)} not found; hint: {APT_COMMAND}"
    if not cgroups.find_hierarchies():
        return "/sys/fs/cgroup holds neither version 2 nor all of version 1, so no memory limits"
    return _kernel_problem()


def missing_programs(options: LabOptions) -> list[str]:
    """List the programs and users that are not there."""
    wanted = [*_PROGRAMS, *(_ACCOUNTING_PROGRAMS if options.accounting else ())]
    missing = [f"`{name}`" for name in wanted if shutil.which(name, path=_SYSTEM_PATH) is None]
    try:
        pwd.getpwnam("munge")
    except KeyError:
        missing.append("user `munge`")
    return missing


@functools.cache
def _kernel_problem() -> str | None:
    # In a process of its own, for there is no way back.
    command = bare_interpreter(f"from {__name__} import try_kernel; try_kernel()")
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return None
    reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"cgroups or namespaces can not be made here: {reason}"


def try_kernel() -> None:
    """Do to this process what a lab does to its own; whatever is not permitted raises."""
    hierarchies = cgroups.find_hierarchies()
    before = cgroups.handed_down(hierarchies)
    name = f"{LAB_PREFIX}trial-{os.getpid()}"
    try:
        cgroups.create(hierarchies, name)
    finally:
        cgroups.remove(hierarchies, name)
        cgroups.take_back(hierarchies, before)
    namespaces.unshare(
        namespaces.MOUNTS | namespaces.CGROUPS | namespaces.HOSTNAME | namespaces.PIDS
    )
    namespaces.detach_mounts()
    child = os.fork()
    if child == 0:
        namespaces.mount_filesystem("proc", Path("/proc"))
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("mounting /proc is not permitted")
