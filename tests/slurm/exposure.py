"""Makes what jobs need reachable for the ordinary user, in the lab's own view of the disk.

An interpreter below /root, which is closed to others, is the usual case. The closed folder is
covered by an empty one, in which only the needed paths are shown again. The host sees nothing
of it.
"""

import os
import stat
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import namespaces
from .layout import REPOSITORY

_MAX_LINKS = 40


def needed_paths(extra: Iterable[str], directory: Path) -> list[Path]:
    """List what a job has to read: interpreter, environment, repository, lab, extras."""
    prefixes = (Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_exec_prefix))
    interpreters = [hop.parent.parent for hop in follow_links(Path(sys.executable))]
    wanted = [*prefixes, *interpreters, REPOSITORY, directory, *(Path(path) for path in extra)]
    hops = [hop for path in wanted for hop in follow_links(path)]
    return list(dict.fromkeys(hop for hop in hops if hop.exists() and hop != Path("/")))


def follow_links(path: Path) -> Iterator[Path]:
    """Yield the path, then each step of the links that it goes through."""
    for _ in range(_MAX_LINKS):
        yield path
        link = next((p for p in (path, *path.parents) if p.is_symlink()), None)
        if link is None:
            return
        target = Path(os.path.normpath(link.parent / link.readlink()))
        path = target / path.relative_to(link)


def group_by_closed_parent(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    """Sort the paths that others can not reach under the topmost folder that keeps them out."""
    groups: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        closed = next((p for p in reversed(path.parents) if not _is_open(p)), None)
        if closed is not None:
            groups[closed].append(path)
    return groups


def expose(paths: Iterable[Path]) -> None:
    """Cover each closed folder by an open one that shows the given paths only."""
    for cover, hidden in group_by_closed_parent(paths).items():
        links = {path: path.readlink() for path in hidden if path.is_symlink()}
        # An open file leads to what lies below the cover.
        handles = {p: os.open(p, os.O_PATH) for p in _outermost(set(hidden) - links.keys())}
        namespaces.mount_filesystem("tmpfs", cover, "mode=755")
        for path, handle in handles.items():
            _make_target(path, is_folder=stat.S_ISDIR(os.fstat(handle).st_mode))
            namespaces.bind(Path(f"/proc/self/fd/{handle}"), path)
            os.close(handle)
        for path, target in links.items():
            if not path.is_symlink():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(target)


def _outermost(paths: set[Path]) -> list[Path]:
    return sorted(path for path in paths if not paths.intersection(path.parents))


def _make_target(path: Path, *, is_folder: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_folder:
        path.mkdir()
    else:
        path.touch()


def _is_open(folder: Path) -> bool:
    # A link has all bits set and its target is looked at on its own.
    return bool(folder.lstat().st_mode & stat.S_IXOTH)
