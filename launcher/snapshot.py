"""Freeze the code beside the study: queued jobs never read the working tree again.

A snapshot holds the tracked files and the untracked ones that git does not ignore, as they
are in the working tree, in a folder named by their content. Jobs find it first on their path.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from launcher.errors import SubmissionError
from launcher.store import storing

MAX_BYTES = 200 * 2**20
SKIPPED = {"__pycache__", ".git", ".venv", "venv", "node_modules", "outputs", "multirun", "data"}
"""Folders left out where no git repository says what is ignored."""


def project_root(start: Path) -> Path:
    """Top of the git work tree around `start`, or `start` itself outside of git."""
    answer = _git(start, "rev-parse", "--show-toplevel")
    return Path(answer.decode().rstrip("\n")) if answer else start


def _git(folder: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def commit(root: Path) -> str:
    """Commit of the work tree, with `+changes` if files differ from it; `none` outside of git."""
    head = _git(root, "rev-parse", "--short=12", "HEAD")
    if head is None:
        return "none"
    changed = _git(root, "status", "--porcelain")
    return head.decode().strip() + ("+changes" if changed else "")


def take(root: Path, into: Path) -> tuple[str, Path]:
    """Copy the project's code below `into`; returns its content hash and its folder.

    Raises:
        SubmissionError: the files that are not ignored are too large to be code.
    """
    files = sorted(_files(root))
    total = sum(path.stat().st_size for path in files)
    if total > MAX_BYTES:
        largest = max(files, key=lambda path: path.stat().st_size)
        raise SubmissionError(
            f"the code below `{root}` has {total / 2**20:.0f} MB, most of all `{largest}`",
            hint="put data and outputs into .gitignore, so that they are not taken for code",
        )
    contents = {path.relative_to(root): path.read_bytes() for path in files}
    sha = _content_hash(root, contents)
    target = into / sha
    if not target.exists():
        _write(root, contents, target)
    return sha, target


def _files(root: Path) -> Iterable[Path]:
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is not None:
        paths = (root / os.fsdecode(name) for name in listed.split(b"\0") if name)
        return [path for path in paths if path.is_file()]
    return [
        path
        for path in root.rglob("*")
        if path.is_file() and not SKIPPED.intersection(path.relative_to(root).parts)
    ]


def _content_hash(root: Path, contents: dict[Path, bytes]) -> str:
    total = hashlib.sha256()
    for name, content in contents.items():
        executable = os.access(root / name, os.X_OK)
        total.update(f"{name}\0{executable}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()[:12]


def _write(root: Path, contents: dict[Path, bytes], target: Path) -> None:
    with storing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        for name, content in contents.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod((root / name).stat().st_mode & 0o777)
        try:
            temporary.rename(target)
        except OSError:
            # Another process made the very same snapshot at the same moment.
            if not target.exists():
                raise
            shutil.rmtree(temporary)


def search_path(root: Path, snapshot: Path) -> list[str]:
    """What a job puts first on its Python path: our own paths below `root`, in the snapshot."""
    inside = []
    for entry in (Path(entry or os.curdir).resolve() for entry in sys.path):
        if entry.is_relative_to(root) and (snapshot / entry.relative_to(root)).is_dir():
            inside.append(str(snapshot / entry.relative_to(root)))
    return list(dict.fromkeys([*inside, str(snapshot)]))
