"""Removes what a lab leaves on the machine once its processes are gone: cgroups, its folder."""

import contextlib
import shutil
from pathlib import Path

from . import cgroups
from .errors import LabError
from .layout import LabLayout
from .plan import LabPlan


def remove_remains(plan: LabPlan) -> None:
    """Remove the lab's cgroups and, if it was not to be kept, its folder.

    Raises:
        LabError: A cgroup would not go.
    """
    left = cgroups.remove(cgroups.find_hierarchies(), plan.cgroup)
    if plan.throw_away:
        remove_folder(plan.directory)
    if left:
        raise LabError("cgroups of the lab could not be removed", where=", ".join(map(str, left)))


def remove_folder(directory: Path) -> None:
    """Remove a lab's folder, but nothing that is not one.

    Raises:
        LabError: The folder holds something else.
    """
    if not directory.exists():
        return
    if any(directory.iterdir()) and not LabLayout(directory).plan.exists():
        raise LabError(
            "the folder exists and is no lab",
            where=f"`{directory}`",
            hint="choose another one: export LAUNCHER_LAB=/tmp/lab",
        )
    layout = LabLayout(directory)
    for entry in set(directory.iterdir()) - {layout.plan, layout.lock}:
        _remove(entry)
    # The lock goes last: while it is held, the lab counts as up.
    for path in (layout.plan, layout.lock):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()


def _remove(entry: Path) -> None:
    # Both ends of a lab may be at it at the same time.
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
