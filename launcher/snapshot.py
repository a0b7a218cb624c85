"""Freeze the code beside the study: queued jobs never read the working tree again.

A snapshot holds the tracked files and the untracked ones that git does not ignore, as they
are in the working tree, in a folder named by their content. Jobs find it first on their path.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import SubmissionError
from launcher.files import storing

SWEEP_MARKS = {"multirun.yaml", "study.json"}
"""Files that only the folder of a sweep has."""
OURS = ("code", "payload", "batches", ".submitit")
"""Folders that we make in the folder of a sweep."""
MAX_BYTES = 200 * 2**20
SKIPPED = {"__pycache__", ".git", ".launcher", ".venv", "venv", "node_modules"}
"""Folders left out where no git repository says what is ignored."""
SKIPPED_AT_TOP = {"outputs", "multirun", "data"}
"""The same, at the top only: deeper down they may hold code, as `src/data` does."""


def project_root(start: Path) -> Path:
    """Top of the git work tree around `start`, else of what Python imports from around it.

    `src/train.py` may have put the folder above `src` on its path; the code is all of that.
    """
    answer = _git(start, "rev-parse", "--show-toplevel")
    if answer:
        return Path(answer.decode().rstrip("\n"))
    entries = [Path(entry or os.curdir).resolve() for entry in sys.path]
    around = [
        entry
        for entry in entries
        if start.is_relative_to(entry) and not Path.home().is_relative_to(entry)
    ]
    return min([start, *around], key=lambda folder: len(folder.parts))


def main_folder() -> Path:
    """Folder that holds the program which was started, or the current one."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file is None or _is_installed(Path(file).resolve()):
        return Path.cwd()  # an interactive session, or a program that is installed
    spec = getattr(main, "__spec__", None)
    depth = len(spec.parent.split(".")) if spec is not None and spec.parent else 0
    return Path(file).resolve().parents[depth]


@functools.lru_cache(maxsize=1)
def current() -> Snapshot:
    """The code of the running program, read once per command."""
    return read(project_root(main_folder()))


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


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The project's code as it is now, read but not written yet."""

    root: Path
    sha: str
    """Content hash: names, contents and executable bits."""
    contents: dict[Path, bytes]

    def write(self, into: Path) -> Path:
        """Copy the code below `into`, in a folder named by its content; returns that folder."""
        target = into / self.sha
        if not target.exists():
            _write(self.root, self.contents, target)
        return target


def read(root: Path) -> Snapshot:
    """Read the project's code.

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
    return Snapshot(root=root, sha=_content_hash(root, contents), contents=contents)


def _files(root: Path) -> list[Path]:
    """Code files: what programs of ours or of Hydra left in the tree is none."""
    files = list(_all_files(root))
    left = {path.parent for path in files if path.name in SWEEP_MARKS}
    left |= {path.parent.parent for path in files if path.parent.name == ".hydra"}
    if root in left:  # after hydra.run.dir=. or hydra.sweep.dir=. the project looks like one
        left.remove(root)
        left |= {root / name for name in OURS}
    return [path for path in files if left.isdisjoint(path.parents)]


def _all_files(root: Path) -> Iterable[Path]:
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is not None:
        paths = (root / os.fsdecode(name) for name in listed.split(b"\0") if name)
        return [path for path in paths if path.is_file()]
    return [
        path
        for path in root.rglob("*")
        if path.is_file() and _is_code(path.relative_to(root).parts)
    ]


def _is_code(parts: tuple[str, ...]) -> bool:
    return not SKIPPED.intersection(parts) and parts[0] not in SKIPPED_AT_TOP


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
    entries = [Path(entry or os.curdir).resolve() for entry in sys.path]
    inside = [
        str(snapshot / entry.relative_to(root))
        for entry in entries
        if entry.is_relative_to(root) and entry.is_dir() and not _is_installed(entry)
    ]
    return list(dict.fromkeys([*inside, str(snapshot)]))


def _is_installed(path: Path) -> bool:
    """Whether it belongs to a Python installation or environment, which is never copied."""
    homes = (sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib", "scripts"))
    return any(path.is_relative_to(Path(home).resolve()) for home in homes)
