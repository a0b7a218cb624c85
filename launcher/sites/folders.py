"""Work and scratch folders of a site: what the environment and the mounts of this machine say."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_WORK = ("WORK", "WORKDIR", "PROJECT", "PROJECTDIR", "HPCVAULT", "DATA")
_SCRATCH = ("SCRATCH", "SCRATCHDIR", "SCRATCH_DIR", "PSCRATCH", "GSCRATCH", "FASTSCRATCH")
_NETWORK = (
    "nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "fuse.ceph", "wekafs", "panfs", "pvfs2",
    "glusterfs", "fuse.glusterfs", "afs", "cifs", "smb3", "9p", "virtiofs", "quobyte", "pnfs",
)  # fmt: skip
_LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "ramfs")
_MOUNTS = {"work_dir": ("/work", "/project", "/projects"), "scratch_dir": ("/scratch", "/lustre")}


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder, where it was found, and whether nodes share it as far as its file system tells."""

    path: str
    source: str
    shared: str
    """E.g. `shared: lustre`, `on this machine only: ext4`, `unknown whether shared: fuse`."""


def find(
    environment: Mapping[str, str] | None = None,
    mounts: str | None = None,
    user: str | None = None,
) -> dict[str, Folder]:
    """Work and scratch folder by key of the profile; what is not found is not there.

    Args:
        environment: Variables; None takes those of this process.
        mounts: Text of /proc/mounts; None reads it.
        user: Whose folders; None takes who runs this.
    """
    variables = os.environ if environment is None else environment
    table = Path("/proc/mounts").read_text() if mounts is None else mounts
    found = {}
    for key, names in (("work_dir", _WORK), ("scratch_dir", _SCRATCH)):
        folder = _from_environment(variables, names) or _from_mounts(
            _MOUNTS[key], user or getpass.getuser()
        )
        if folder is not None:
            path, source = folder
            found[key] = Folder(path=path, source=source, shared=how_shared(path, table))
    return found


def how_shared(path: str, mounts: str) -> str:
    """What the file system below a path says about whether other machines have it too."""
    kind = ""
    longest = -1
    for line in mounts.splitlines():
        _, point, name = line.split()[:3]
        point = point.replace("\\040", " ")
        if len(point) > longest and Path(path).is_relative_to(point):
            kind, longest = name, len(point)
    if kind in _NETWORK:
        return f"shared: {kind}"
    if kind in _LOCAL:
        return f"on this machine only: {kind}"
    return f"unknown whether shared: {kind or 'no mount'}"


def _from_environment(
    variables: Mapping[str, str], names: tuple[str, ...]
) -> tuple[str, str] | None:
    for name in names:
        path = variables.get(name, "")
        if path.startswith("/") and Path(path).is_dir():
            return path, f"${name}"
    return None


def _from_mounts(roots: tuple[str, ...], user: str) -> tuple[str, str] | None:
    """The user's own folder below one of the usual places."""
    for root in roots:
        for path in (Path(root) / user, Path(root) / "users" / user):
            if path.is_dir() and os.access(path, os.W_OK):
                return str(path), f"found below {root}"
    return None
