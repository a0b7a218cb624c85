"""Which folder of shards a run may read: what its required runs filled, or one that fits."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, TypeVar

from experiments.data.errors import DataError
from experiments.data.facts import Facts, differences
from experiments.data.keeping import homes_of
from experiments.data.sharded import ShardFolder
from experiments.settings import DataConfig
from launcher.context import RunContext
from launcher.files import write_json

log = logging.getLogger(__name__)
Folder = TypeVar("Folder", bound=ShardFolder[Any])


def point_to(store: ShardFolder[Any], run_dir: Path) -> None:
    """Leave in the folder of a run which shards it has filled."""
    write_json(run_dir / store.description(), {"schema_version": 1, "store": store.folder.name})


def fitting(
    kind: type[Folder],
    expected: Facts,
    data: DataConfig,
    context: RunContext,
    *,
    label: str,
    hint: str,
) -> Folder:
    """Return the folder that a run needs.

    Args:
        kind: What is looked for.
        expected: All that the run knows of it.
        data: Says where such folders lie.
        context: Names the runs that this one required.
        label: Of those; a spread requirement is `<label>/<number>`.
        hint: What to do where there is none.

    Raises:
        DataError: there is none, or it holds something else; then all that differs is named,
            with both values.
    """
    candidates = [kind.at(folder) for folder in _candidates(kind, data, context, label)]
    ours = [s for s in candidates if not differences(s.facts, expected, kind.SKIPPED)]
    if not ours:
        raise _none_fits(kind, data, candidates, expected, hint)
    if len(ours) > 1:
        names = ", ".join(f"`{store.folder}`" for store in ours)
        raise DataError(
            f"several {kind.NOUN}s fit, of different windows or versions: {names}",
            hint=f"remove those that are not wanted, or let `{label}` be required",
        )
    log.info("%s from %s", label, ours[0].folder)
    return ours[0]


def _candidates(
    kind: type[Folder], data: DataConfig, context: RunContext, label: str
) -> list[Path]:
    runs = [
        run_dir
        for name, run_dir in context.inputs.items()
        if name == label or name.startswith(f"{label}/")
    ]
    named = {_pointed_to(kind, run_dir) for run_dir in runs}
    patterns = sorted(named) or [f"{kind.PREFIX}-*"]
    found = {
        path.parent.name: path.parent
        for home in reversed(homes_of(data))
        for pattern in patterns
        for path in home.glob(f"{pattern}/{kind.description()}")
    }
    missing = sorted(named - found.keys())
    if missing:
        folders = ", ".join(f"`{home}`" for home in homes_of(data))
        raise DataError(
            f"the {kind.NOUN} `{missing[0]}` has been made, but is not in {folders}",
            hint=f"rm -r {' '.join(map(str, runs))}  # then it is made anew",
        )
    return list(found.values())


def _pointed_to(kind: type[Folder], run_dir: Path) -> str:
    path = run_dir / kind.description()
    try:
        return str(json.loads(path.read_text())["store"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"`{path}` does not say which {kind.NOUN} was filled: {error!r}",
            hint=f"rm -r {run_dir}  # then it is made anew",
        ) from error


def _none_fits(
    kind: type[Folder], data: DataConfig, candidates: list[Folder], expected: Facts, hint: str
) -> DataError:
    if not candidates:
        folders = ", ".join(f"`{home}`" for home in homes_of(data))
        return DataError(f"there is no {kind.NOUN} in {folders}", hint=hint)
    differing = {s.folder: differences(s.facts, expected, kind.SKIPPED) for s in candidates}
    nearest = min(differing, key=lambda folder: len(differing[folder]))
    return DataError(
        f"the {kind.NOUN} `{nearest}` is of something else: {'; '.join(differing[nearest])}",
        hint=hint,
    )
