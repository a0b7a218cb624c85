"""What there is to show of a study at W&B, from what is on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from launcher.errors import LauncherError
from launcher.studies import Study
from launcher.tracking import card as cards
from launcher.tracking import journal, links
from launcher.trees import leaves

MOST_SUBMETRICS = 12
"""Numbers of the results that get a panel of their own."""
_FOLDER = re.compile(r"(^|[=,\[])(/|~)")
"""Words of a command that name a folder of somebody's machine."""
_SEED = re.compile(r"(^|[._])seed$")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What there is to show of a study."""

    study: str
    project: str
    entity: str
    command: str
    commits: tuple[str, ...]
    metric: str
    """The result by which runs are compared, as W&B names it, e.g. `result/pdms`."""
    submetrics: tuple[str, ...]
    """The other results."""
    swept: dict[str, tuple[Any, ...]]
    """Dotted keys of the config in which runs differ, seeds left out, with their values."""
    curves: tuple[str, ...]
    """What was logged along the training."""
    rows: tuple[dict[str, Any], ...]
    """The finished runs: id, arm, metric."""


def look(study: Study, metric: str | None = None, entity: str | None = None) -> Shown:
    """Find out what a study has to show.

    Args:
        study: On disk.
        metric: The result by which runs are compared; None takes the first that runs return.
        entity: User or team at W&B, where the study's config names none.

    Raises:
        LauncherError: no run is tracked or finished, or none returns such a metric.
    """
    record = study.record
    found = [(run, cards.read(run.run_dir)) for run in record.runs]
    tracked = [(run, card) for run, card in found if card is not None]
    if not tracked:
        raise LauncherError(
            f"no run of study `{study.path.name}` is tracked by W&B",
            hint="tracking=wandb or tracking=[csv,wandb_offline] with the study's command",
        )
    results = {result.key: _numbers(result.metrics) for result in study.results()}
    names = list(dict.fromkeys(name for values in results.values() for name in values))
    chosen = _chosen(names, metric, study.path.name)
    first = tracked[0][1]
    return Shown(
        study=record.study_id,
        project=first.project,
        entity=entity or first.entity or _entity_of(run.run_dir for run, _ in tracked),
        command=" ".join(word for word in record.command if not _FOLDER.search(word)),
        commits=tuple(
            sorted({str(card.config.get("git", {}).get("commit")) for _, card in tracked})
        ),
        metric=f"result/{chosen}",
        submetrics=tuple(f"result/{name}" for name in names if name != chosen)[:MOST_SUBMETRICS],
        swept=_swept([card.config for _, card in tracked]),
        curves=_curves(run.run_dir for run, _ in tracked),
        rows=tuple(
            {
                "id": card.id,
                "run": card.name,
                "arm": card.config["study"]["arm"],
                chosen: results[run.key].get(chosen),
            }
            for run, card in tracked
            if run.key in results
        ),
    )


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """Measured numbers of a result; whole ones are counts, `baseline/pdms` is of something else."""
    return {k: v for k, v in metrics.items() if isinstance(v, float) and "/" not in k}


def _chosen(names: list[str], metric: str | None, study: str) -> str:
    if not names:
        raise LauncherError(
            f"no run of study `{study}` has returned a number yet", hint="see `launch status`"
        )
    chosen = (metric or names[0]).removeprefix("result/")
    if chosen not in names:
        raise LauncherError(
            f"no run of study `{study}` returns `{chosen}`", hint=f"--metric: {', '.join(names)}"
        )
    return chosen


def _entity_of(run_dirs: Iterable[str]) -> str:
    """The one in the address that W&B gave a run; empty where none was online yet."""
    for run_dir in run_dirs:
        if url := links.url_of(run_dir):
            return url.split("/runs/")[0].split("/")[-2]
    return ""


def _swept(configs: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """What differs between configs, without seeds and without what says only where and when."""
    science = ({k: v for k, v in c.items() if k not in _NOT_SWEPT} for c in configs)
    flat = [dict(leaves(config)) for config in science]
    found: dict[str, tuple[Any, ...]] = {}
    for key in dict.fromkeys(key for config in flat for key in config):
        values = {json.dumps(config.get(key)): config.get(key) for config in flat}
        if len(values) > 1 and not _SEED.search(key):
            found[key] = tuple(values.values())
    return _named_first(found)


_NOT_SWEPT = ("study", "slurm", "git", "env", "facts", "resources", "requires", "recovery")


def _named_first(found: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """Of a group whose choice differs, its name stands for all else that it brings."""
    groups = {key.removesuffix(".name") for key in found if key.endswith(".name")}
    return {
        key: values
        for key, values in found.items()
        if key.endswith(".name") or key.split(".")[0] not in groups
    }


def _curves(run_dirs: Iterable[str]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for run_dir in run_dirs:
        for row in journal.read(cards.path_of(run_dir).parent / journal.NAME):
            names.update(dict.fromkeys(row.values))
    # What was validated says more than what was minimised.
    return tuple(sorted((n for n in names if "/" in n), key=lambda n: not n.startswith("val/")))
