"""Nodes that a study has seen fail: one small file per failure, `<study>/nodes/<node>/<failure>`.

Whoever concludes an attempt writes them; what is submitted next reads them.
"""

from __future__ import annotations

import os
from pathlib import Path

from launcher import files
from launcher.recovery import SUSPECT_AFTER

FOLDER = "nodes"


def note_failure(study_dir: Path, node: str, key: str, attempt: str) -> None:
    """Note that a node failed under an attempt of a run; noted twice it counts once.

    Raises:
        StoreError: the disk refuses.
    """
    name = node.replace("/", "_")
    path = study_dir / FOLDER / name / f"{key}-{attempt}"
    files.write_bytes(path, files.now().encode() + b"\n", durable=False)


def failing(study_dir: Path) -> list[str]:
    """Nodes that failed so often that the study avoids them."""
    folder = study_dir / FOLDER
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names are all that is wanted
    except OSError:
        return []  # none has failed
    return [name for name in names if _failures(folder / name) >= SUSPECT_AFTER]


def _failures(folder: Path) -> int:
    try:
        return sum(1 for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208
    except OSError:
        return 0
