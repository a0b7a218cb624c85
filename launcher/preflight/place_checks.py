"""Checks of what a run needs around it: a folder, an importable task, a key for W&B."""

from __future__ import annotations

import netrc
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import cloudpickle
import psutil
from omegaconf import OmegaConf

from launcher import snapshot
from launcher.preflight.findings import Finding, Subject, check, distinct, ok

if TYPE_CHECKING:
    from launcher.compose import WantedRun

_LOCAL_TYPES = {"tmpfs", "ramfs", "ext2", "ext3", "ext4", "xfs", "btrfs", "overlay", "zfs"}
"""File systems of one machine, which its nodes do not see unless it exports them."""
_FILES_PER_RUN = 60
"""Inodes that a run takes: records, logs, config, checkpoints."""
_LEAST_GB = 1.0
"""Less free space than this ends trainings sooner or later."""
_IMPORT_S = 120
_WANDB_URL = "https://api.wandb.ai"
_OFF = ("offline", "disabled", "dryrun")


def _existing(folder: str) -> Path:
    path = Path(folder)
    while not path.exists():
        path = path.parent
    return path


@check
def output_folder(subject: Subject) -> Iterator[Finding]:
    """The study's folder can be written, has room, and is seen by the nodes."""
    folder = _existing(subject.study_dir)
    if not os.access(folder, os.W_OK):
        yield Finding(
            check="output_folder",
            level="error",
            reason=f"`{folder}` cannot be written by you",
            hint="choose another output folder: paths.output_dir=..., or hydra.sweep.dir=...",
        )
        return
    yield from _room(subject, folder)
    yield from _sharing(subject, folder)


def _room(subject: Subject, folder: Path) -> Iterator[Finding]:
    free_gb = shutil.disk_usage(folder).free / 2**30
    needed_gb = max(_LEAST_GB, sum(_checkpoints_gb(subject, run) for run in subject.runs))
    stats = os.statvfs(folder)
    inodes = stats.f_favail if stats.f_files else None  # some file systems have no fixed number
    wanted = _FILES_PER_RUN * len(subject.runs)
    if free_gb < needed_gb:
        yield Finding(
            check="output_folder",
            level="error",
            reason=f"{free_gb:.1f} GB are free in `{folder}`, the runs need about"
            f" {needed_gb:.1f} GB for checkpoints and logs",
            hint="make room, or choose another output folder: paths.output_dir=...",
        )
    elif inodes is not None and inodes < wanted:
        yield Finding(
            check="output_folder",
            level="error",
            reason=f"{inodes} more files fit into `{folder}`, {len(subject.runs)} runs leave about"
            f" {wanted}",
            hint="`launch list` shows which studies take most inodes",
        )
    else:
        yield ok("output_folder", f"{free_gb:.0f} GB are free in `{folder}`")


def _checkpoints_gb(subject: Subject, run: Any) -> float:
    """What the checkpoints of a run take, where a measured run says how large its state is."""
    keep = run.settings.recovery.keep_checkpoints + 2  # those of the task, best and last
    for measure in subject.measures(run):
        state = measure.ranks[0]
        if state.weights_gb is not None:
            return float(keep * (state.weights_gb + (state.optimizer_gb or 0.0)))
    return 0.0


def _sharing(subject: Subject, folder: Path) -> Iterator[Finding]:
    site = subject.site
    if site is None:
        return
    here = socket.gethostname().partition(".")[0]
    hosts = {node.host for node in site.nodes(_partition(subject.runs[0]))}
    if hosts and all(host.partition(".")[0] == here for host in hosts):
        return  # the nodes are this machine
    mounts = [m for m in psutil.disk_partitions(all=True) if folder.is_relative_to(m.mountpoint)]
    mount = max(mounts, key=lambda m: len(m.mountpoint), default=None)
    if mount is not None and mount.fstype in _LOCAL_TYPES:
        yield Finding(
            check="output_folder",
            level="warning",
            reason=f"`{folder}` lies on {mount.fstype} at {mount.mountpoint}, which looks like a"
            " disk of this machine alone: nodes that do not see it could start nothing",
            hint="choose a folder that all nodes mount: paths.output_dir=..., often $WORK or"
            " $SCRATCH",
        )


def _partition(run: Any) -> str | None:
    name = run.settings.partition or run.settings.cluster.partition
    return name.partition(",")[0] if name else None


@check
def importable(subject: Subject) -> Iterator[Finding]:
    """The frozen task can be loaded by a process that sees nothing but the frozen code."""
    if subject.task_function is None:
        return
    code = snapshot.current()
    with tempfile.TemporaryDirectory() as scratch:
        folder = code.write(Path(scratch))
        task = Path(scratch) / "task.pkl"
        try:
            task.write_bytes(cloudpickle.dumps(subject.task_function))
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            yield Finding(
                check="importable",
                level="error",
                reason=f"the task cannot be pickled: {error}",
                hint="let it hold no open files or locks; define it at the top of a module",
            )
            return
        path = os.pathsep.join(snapshot.search_path(code.root, folder))
        done = _run(
            [sys.executable, "-c", "import pickle,sys; pickle.load(open(sys.argv[1],'rb'))", task],
            env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
            cwd=scratch,
        )
    if done is None:
        yield Finding(
            check="importable",
            level="unknown",
            reason=f"the task was still loading after {_IMPORT_S} s",
        )
        return
    if done.returncode == 0:
        yield ok("importable", "the task loads from its frozen code")
        return
    said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    yield Finding(
        check="importable",
        level="error",
        reason=f"the task cannot be loaded from its frozen code: {said[-1]}",
        hint="is the module ignored by git, or found only by way of sys.path or the current folder?"
        " Install it (pip install -e .), or put it into the project",
    )


def _run(command: list[Any], **options: Any) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_IMPORT_S, check=False, **options
        )
    except subprocess.TimeoutExpired:
        return None


@check
def wandb(subject: Subject) -> Iterator[Finding]:
    """Runs that log to W&B have a key, or are offline."""
    for run in distinct(subject.runs, lambda r: r.settings.cluster.name):
        if not _uses_wandb(OmegaConf.to_container(run.config, resolve=False)):
            continue
        mode = os.environ.get("WANDB_MODE", "online")
        if mode in _OFF:
            yield ok("wandb", f"WANDB_MODE={mode}")
        elif not _has_key(run):
            yield Finding(
                check="wandb",
                level="error",
                runs=run.name,
                reason="the config logs to W&B, but there is no API key: neither WANDB_API_KEY nor"
                " an entry in ~/.netrc",
                hint="`wandb login` on this machine, or tracking=wandb_offline (elsewhere"
                " WANDB_MODE=offline) and `launch sync` later",
            )
        elif run.settings.cluster.nodes_have_internet is False:
            yield Finding(
                check="wandb",
                level="warning",
                runs=run.name,
                reason="the nodes have no internet, as the profile says: W&B cannot be reached",
                hint="`launch sync` from here; elsewhere WANDB_MODE=offline and `wandb sync`",
            )
        else:
            yield ok("wandb", "there is a key")


def _uses_wandb(tree: Any, depth: int = 2) -> bool:
    """Whether a config has something that is named `wandb` and not switched off."""
    if not isinstance(tree, Mapping):
        return False
    if any(_is_on(value) for key, value in tree.items() if str(key) == "wandb"):
        return True
    below = (value for key, value in tree.items() if str(key) != "hydra")
    return depth > 1 and any(_uses_wandb(value, depth - 1) for value in below)


def _is_on(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return value not in (None, False, "", *_OFF)
    switches = (value.get(name) for name in ("enabled", "enable", "use"))
    is_off = value.get("mode") in _OFF or value.get("offline") is True
    return bool(value) and not is_off and False not in switches


def _has_key(run: WantedRun) -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    cluster = run.settings.cluster
    if any("WANDB_API_KEY" in variables for variables in cluster.job_environment.values()):
        return True
    host = os.environ.get("WANDB_BASE_URL", _WANDB_URL)
    try:
        entries = netrc.netrc(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return False
    return entries.authenticators(urlparse(host).hostname or host) is not None
