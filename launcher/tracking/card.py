"""`tracking/card.json`: who a run is for its trackers, fixed by its key before it is sent."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from launcher import store
from launcher.context import RunContext
from launcher.records import Record, StudyRecord, SubmissionRecord
from launcher.tracking import fragments, lives
from launcher.tracking.cleaning import publishable
from launcher.tracking.settings import LONGEST_TAG, WandbConfig

FOLDER = "tracking"
"""In the folder of a run: card, journal, and what W&B keeps on disk, by attempt."""
CARD = "card.json"
_PACKAGES = ("torch", "pytorch-lightning", "numpy", "wandb", "hydra-core")
_TAGGED = ("backbone", "head", "task")
"""Parts of a config whose choice is a tag, where it has them."""


class Card(Record):
    """What W&B is told of a run besides its rows."""

    id: str
    """The run's key, so folder, records and W&B agree; with a number where it was begun anew
    after rows of it had been told, which W&B can neither change nor forget."""
    name: str
    """In what it differs from the other runs of its study."""
    group: str
    """The study."""
    job_type: str
    """The task."""
    tags: list[str] = []  # noqa: RUF012 - pydantic copies it
    project: str
    entity: str | None = None
    mode: str = "offline"
    """`online` or `offline`, as it was asked for."""
    reason: str = ""
    """Why it is offline although it was to be online."""
    checkpoint: str = "reference"
    """How its best checkpoint becomes an artifact."""
    finish_s: float = 30.0
    config: dict[str, Any] = {}  # noqa: RUF012
    """The resolved config, cleaned, with `study`, `slurm`, `git` and `env` beside it."""


def path_of(run_dir: Path | str) -> Path:
    """File of a run's card."""
    return Path(run_dir) / FOLDER / CARD


def read(run_dir: Path | str) -> Card | None:
    """The card of a run, or None if it is not tracked."""
    return store.find_record(path_of(run_dir), Card)


def write(run_dir: Path, card: Card) -> None:
    """Keep a card in a folder that only the user can read."""
    folder = path_of(run_dir).parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    store.write_record(folder / CARD, card)


def make(config: Mapping[str, Any], context: RunContext, settings: WandbConfig) -> Card:
    """The card of the run that this process is a rank of.

    Args:
        config: The resolved config as plain values.
        context: The run.
        settings: What of W&B was asked for.
    """
    sent = store.submission(context.run_dir, context.key)
    study = _study_of(context.run_dir)
    group = study.study_id if study is not None else context.run_dir.parent.name
    is_cut_off = _no_internet(config)
    return Card(
        id=_id(context),
        name=context.name,
        group=group,
        job_type=str(config.get("task", "run")),
        tags=_tags(config, context, sent, settings),
        project=settings.project,
        entity=settings.entity,
        mode="offline" if is_cut_off else settings.mode,
        reason="the cluster's nodes have no internet" if is_cut_off else "",
        checkpoint=settings.checkpoint,
        finish_s=settings.finish_s,
        config={
            **publishable(config),
            "study": {"name": group, "run": context.name, "arm": arm_of(context.name)},
            "slurm": _slurm(context),
            "git": {
                "commit": sent.commit if sent is not None else "",
                "code": sent.code if sent is not None else "",
            },
            "env": _environment(),
        },
    )


def _id(context: RunContext) -> str:
    known = read(context.run_dir)
    if known is None:
        return context.key
    if lives.saved_step(context.run_dir) is not None:
        return known.id
    number = context.attempt.partition("-")[0]
    told = [
        fragment
        for fragment in fragments.of_run(path_of(context.run_dir).parent)
        if fragment.run_id == known.id and fragment.rows
    ]
    is_new = bool(told) and all(f.attempt.partition("-")[0] != number for f in told)
    return f"{context.key}-{int(number)}" if is_new else known.id


def arm_of(name: str) -> str:
    """The name of a run without its seed: runs of one arm are repetitions of each other."""
    return " ".join(word for word in name.split() if not re.match(r"([\w.]*\.)?seed=", word))


def _study_of(run_dir: Path) -> StudyRecord | None:
    return store.find_record(run_dir.parent / "study.json", StudyRecord)


def _no_internet(config: Mapping[str, Any]) -> bool:
    cluster = config.get("cluster")
    return isinstance(cluster, Mapping) and cluster.get("nodes_have_internet") is False


def _tags(
    config: Mapping[str, Any],
    context: RunContext,
    sent: SubmissionRecord | None,
    settings: WandbConfig,
) -> list[str]:
    chosen = (config.get(part) for part in _TAGGED)
    names = [part.get("name") if isinstance(part, Mapping) else part for part in chosen]
    if context.place is not None:
        names.append(context.place.cluster)
    if sent is not None and sent.commit:
        names.append(_code_state(sent.commit))
    found = [str(name)[:LONGEST_TAG] for name in names if name]
    return list(dict.fromkeys([*found, *settings.tags]))


def _code_state(commit: str) -> str:
    if commit == "none":
        return "code not in git"
    return "code changed" if "+" in commit else "code committed"


def _slurm(context: RunContext) -> dict[str, Any]:
    """Where it was first sent; later lives may be elsewhere, `lives` in the summary tells."""
    place = context.place
    return {
        "cluster": place.cluster if place is not None else "",
        "partition": place.partition if place is not None else None,
        "gpu_type": place.gpu_type if place is not None else None,
        "job_id": os.environ.get("SLURM_JOB_ID", ""),
        "nodes": context.num_nodes,
        "ranks_per_node": context.ranks_per_node,
        "cpus_per_rank": context.cpus_per_rank,
        "mem_gb": context.mem_gb,
    }


def _environment() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": sys.platform}
    for package in _PACKAGES:
        try:
            found[package.replace("-", "_")] = version(package)
        except PackageNotFoundError:
            continue
    return found
