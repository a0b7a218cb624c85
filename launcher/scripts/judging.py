"""`launch doctor SCRIPT`: judge a batch script by the profile of a site."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from launcher.errors import ConfigError
from launcher.scripts.case import Measured
from launcher.scripts.examining import examine
from launcher.settings import ClusterConfig

PROFILES = Path("conf/cluster")
"""Where a program of ours keeps its profiles."""


def judge(
    path: Path,
    cluster: str | None = None,
    *,
    as_json: bool = False,
    rank_gb: float | None = None,
    worker_gb: float | None = None,
    profiles: Path = PROFILES,
) -> int:
    """Print what is wrong with a batch script; nothing is run.

    Args:
        path: A file that goes to sbatch.
        cluster: Profile of the site, its name or its file.
        as_json: Print JSON instead.
        rank_gb: Measured host memory of a rank without its workers [GB].
        worker_gb: Measured memory of one dataloader worker [GB].
        profiles: Folder of profiles.

    Returns:
        Exit code: 1 where a finding is an error, else 0.

    Raises:
        LauncherError: the file is no script, or there is no such profile.
    """
    found = examine(path, _profile(cluster, profiles), _measured(rank_gb, worker_gb))
    if as_json:
        rows = [asdict(finding) for finding in found.findings]
        text = {"script": str(path), "findings": rows, "instead": found.instead}
        sys.stdout.write(json.dumps(text, indent=2) + "\n")
    else:
        from launcher.scripts.showing import show

        show(found.findings, path, found.instead)
    return found.exit_code


def _profile(cluster: str | None, folder: Path) -> ClusterConfig | None:
    if cluster is None:
        return None
    from launcher.sites import loading

    return loading.read(loading.find(cluster, folder))


def _measured(rank_gb: float | None, worker_gb: float | None) -> Measured | None:
    if rank_gb is None and worker_gb is None:
        return None
    for name, value in (("rank-gb", rank_gb), ("worker-gb", worker_gb)):
        if value is None:
            raise ConfigError(
                f"--{name} is missing: the budget needs both",
                hint="--rank-gb 20 --worker-gb 3; `launch probe` measures them",
            )
        if not 0 <= value < float("inf"):
            raise ConfigError(f"`--{name}={value:g}` is no amount of memory")
    assert rank_gb is not None
    assert worker_gb is not None
    return Measured(rank_gb=rank_gb, worker_gb=worker_gb)
