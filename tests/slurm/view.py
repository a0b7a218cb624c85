"""The lab's private view of the machine: mounts that only its own processes see."""

import socket
from collections.abc import Iterable
from pathlib import Path

from . import cgroups, exposure, namespaces
from .cgroups import Hierarchy
from .layout import USER_ID, USER_NAME, LabLayout
from .plan import LabPlan

_COVERED = ("hosts", "passwd", "group")
_SYSTEM_CONF = Path("/etc/slurm")


def enter_view(plan: LabPlan) -> list[Hierarchy]:
    """Take this process (the first of its PID namespace) into the lab's view.

    Returns:
        The machine's cgroup hierarchies, still within reach although the lab covers them.
    """
    namespaces.unshare(namespaces.MOUNTS)
    namespaces.detach_mounts()
    hierarchies = [hierarchy.pin() for hierarchy in cgroups.find_hierarchies()]
    exposure.expose(exposure.needed_paths(plan.options.expose, plan.directory))
    namespaces.mount_filesystem("proc", Path("/proc"))
    # Shared memory that jobs leave behind goes with the lab.
    namespaces.mount_filesystem("tmpfs", Path("/dev/shm"), "mode=1777")
    _cover_system_files(plan)
    cgroups.move_in(hierarchies, plan.cgroup)
    return hierarchies


def render_hosts(text: str, node_names: Iterable[str], hostname: str) -> str:
    """Put the nodes into a hosts file, before all else so that nothing overrules them."""
    names = ("localhost", hostname, *node_names)
    return "".join(f"127.0.0.1 {name}\n" for name in names) + text


def render_passwd(text: str, home: Path) -> str:
    """Add the ordinary user to a passwd file, in place of a namesake."""
    entry = f"{USER_NAME}:x:{USER_ID}:{USER_ID}:Researcher:{home}:/bin/bash"
    return _replace_account(text, entry)


def render_group(text: str) -> str:
    """Add the ordinary user's group to a group file, in place of a namesake."""
    return _replace_account(text, f"{USER_NAME}:x:{USER_ID}:")


def _replace_account(text: str, entry: str) -> str:
    others = (
        line
        for line in text.splitlines()
        if line.split(":")[0] != USER_NAME and line.split(":")[2:3] != [str(USER_ID)]
    )
    return "\n".join([*others, entry]) + "\n"


def _cover_system_files(plan: LabPlan) -> None:
    layout = plan.layout
    etc = Path("/etc")
    texts = {
        "hosts": render_hosts(_read(etc / "hosts"), plan.options.node_names, socket.gethostname()),
        "passwd": render_passwd(_read(etc / "passwd"), layout.home),
        "group": render_group(_read(etc / "group")),
    }
    for name in _COVERED:
        (layout.etc / name).write_text(texts[name])
        namespaces.bind(layout.etc / name, etc / name)
    _cover_slurm_conf(layout)


def _cover_slurm_conf(layout: LabLayout) -> None:
    # As on a real site, SLURM is found without SLURM_CONF: submitit, for one, clears SLURM_*.
    if _SYSTEM_CONF.is_dir():
        namespaces.bind(layout.etc, _SYSTEM_CONF)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
