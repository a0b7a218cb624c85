"""To the official NAVSIM devkit and back: predictions out, its per-token table in.

The devkit is known by its module `navsim.agents.abstract_agent` and never by the name of a
distribution: the `navsim` of the package index is a simulator that has nothing to do with it.
Numbers that come back name the devkit as their scorer, so they are never mistaken for ours.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.data.assembly import Indices
from experiments.data.errors import DataError
from experiments.data.selection import few
from experiments.data.source import SceneIndex
from experiments.scoring.displacement import as_poses
from experiments.scoring.pdm.score import METRIC_VERSION
from experiments.settings import COMMANDS, POSE_INTERVAL_S, POSES
from experiments.statistics.table import Run, TokenScores
from launcher.errors import ConfigError

_MODULE = "navsim.agents.abstract_agent"
_COLUMNS = {
    "no_at_fault_collisions": "nc",
    "drivable_area_compliance": "dac",
    "ego_progress": "ep",
    "time_to_collision_within_bound": "ttc",
    "comfort": "comfort",
    "driving_direction_compliance": "ddc",
    "score": "pdms",
}
"""Columns of the devkit's table, and what they are called here."""
_AVERAGE = "average"
_MEAN_ATOL = 1e-6
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Devkit:
    """An importable devkit."""

    folder: Path
    """Of its package."""
    is_v1: bool
    """Whether it computes the PDMS; v2 computes the EPDMS."""
    trajectory: Any
    """Its class Trajectory."""
    sampling: Any
    """nuPlan's class TrajectorySampling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """Who hands in; NAVSIM's submission names them."""

    team_name: str
    authors: str
    email: str
    institution: str
    country: str


def devkit() -> Devkit:
    """Return the official devkit.

    Raises:
        ConfigError: it is not importable; says so where only its namesake is installed.
    """
    try:
        agents = importlib.import_module(_MODULE)
        data = importlib.import_module("navsim.common.dataclasses")
        sampling = importlib.import_module(
            "nuplan.planning.simulation.trajectory.trajectory_sampling"
        )
    except ImportError as error:
        raise _unavailable(error) from error
    fields = getattr(data.PDMResults, "__dataclass_fields__", {})
    return Devkit(
        folder=Path(str(agents.__file__)).parents[1],
        is_v1=set(_COLUMNS) <= set(fields),
        trajectory=data.Trajectory,
        sampling=sampling.TrajectorySampling,
    )


def _unavailable(error: ImportError) -> ConfigError:
    top = importlib.util.find_spec("navsim")
    hint = "install it from its repository, autonomousvision/navsim at v1.1, with nuplan-devkit"
    if top is None:
        return ConfigError("the NAVSIM devkit is not installed: no module `navsim`", hint=hint)
    where = next(iter(top.submodule_search_locations or [str(top.origin)]))
    if (error.name or "").startswith(_MODULE.rsplit(".", 1)[0]):
        return ConfigError(
            f"`{where}` is not the NAVSIM devkit: it has no `{_MODULE}`",
            hint=f"the `navsim` of the package index is another project; {hint}",
        )
    return ConfigError(f"the NAVSIM devkit in `{where}` cannot be imported: {error}", hint=hint)


def write_submission(path: Path, predictions: Mapping[str, ArrayLike], team: Team) -> None:
    """Write predictions as the submission that the devkit scores.

    Arrays are pickled by their values, so that the devkit's own old numpy can read what a new
    one has written.

    Args:
        path: the pickle to write, for `run_pdm_score_from_submission.py submission_file_path=`.
        predictions: (8, 3) local poses at 0.5 s by token.
        team: who hands in.

    Raises:
        ConfigError: the devkit is not importable, or is v2.
        ValueError: there are no predictions, or poses of another shape or not finite.
    """
    kit = devkit()
    if not kit.is_v1:
        raise ConfigError(
            f"the devkit in `{kit.folder}` is not v1, whose submissions are written",
            hint="v2 wants another form and computes another score (EPDMS)",
        )
    if not predictions:
        raise ValueError("there are no predictions to hand in")
    tokens = list(predictions)
    poses = as_poses(np.array([predictions[token] for token in tokens])).astype(np.float32)
    sampling = kit.sampling(num_poses=POSES, interval_length=POSE_INTERVAL_S)
    entry = {
        token: kit.trajectory(plan, sampling) for token, plan in zip(tokens, poses, strict=True)
    }
    submission = {
        "team_name": team.team_name,
        "authors": team.authors,
        "email": team.email,
        "institution": team.institution,
        "country / region": team.country,
        "predictions": [entry],
    }
    content = BytesIO()
    _PortablePickler(content, protocol=4).dump(submission)
    path.write_bytes(content.getvalue())


class _PortablePickler(pickle.Pickler):
    """Pickles arrays as calls of `numpy.array`, a name that numpy 1 and 2 share."""

    def reducer_override(self, obj: object) -> Any:
        if type(obj) is np.ndarray:
            return np.array, (obj.tolist(), obj.dtype.str)
        return NotImplemented


def read_official_scores(
    path: Path, *, run: Run, index: SceneIndex, rows: Indices, version: str
) -> TokenScores:
    """Read the table that the devkit's `run_pdm_score*.py` has written.

    Args:
        path: its CSV, one row per token and one of averages.
        run: which run was scored.
        index: windows of the data.
        rows: windows that were to be scored, all of them.
        version: of the devkit, such as "v1.1" or a commit; the scorer is called "navsim" and that.

    Returns:
        Scores in the order of `rows`.

    Raises:
        DataError: the table is torn, of another version of the metric, lacks tokens or has others,
            has failed ones, or its average is not that of its rows.
    """
    table, average = _rows(path)
    tokens = [token.decode() for token in index.token[rows]]
    _require_tokens(path, tokens, table)
    values = np.array([table[token] for token in tokens])
    off = np.abs(values.mean(axis=0) - average).max()
    if not off <= _MEAN_ATOL:
        raise DataError(f"the averages in `{path}` are off by {off:.3g} from those of its rows")
    return TokenScores(
        run=run,
        scorer=f"navsim {version}",
        metric_version=METRIC_VERSION,
        tokens=tuple(tokens),
        logs=tuple(index.log_names[log] for log in index.log[rows]),
        cities=tuple(index.cities[city] for city in index.city[rows]),
        commands=tuple(COMMANDS[command] for command in index.command[rows]),
        metrics=dict(zip(_COLUMNS.values(), values.T, strict=True)),
    )


def _rows(path: Path) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """Return the values of each token, in the order of _COLUMNS, and their averages."""
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            names, entries = list(reader.fieldnames or []), list(reader)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the devkit's table `{path}`: {error}") from error
    absent = [name for name in ("token", "valid", *_COLUMNS) if name not in names]
    if absent:
        raise DataError(
            f"`{path}` is no table of NAVSIM v1.1: it has no {', '.join(absent)}",
            hint="v2 of the devkit computes another score (EPDMS), which is not read as PDMS",
        )
    failed = [e["token"] for e in entries if e["valid"] != "True" and e["token"] != _AVERAGE]
    if failed:
        raise DataError(
            f"the devkit failed on {len(failed)} scenes in `{path}`: {few(failed)}",
            hint="its mean leaves them out, which makes it another number; mend these scenes",
        )
    table: dict[str, NDArray[np.float64]] = {}
    for entry in entries:
        if entry["token"] in table:
            raise DataError(f"`{path}` holds token `{entry['token']}` twice")
        table[entry["token"]] = _values(path, entry)
    if _AVERAGE not in table:
        raise DataError(f"`{path}` is cut short: it has no row of averages")
    return table, table.pop(_AVERAGE)


def _values(path: Path, entry: dict[str, str]) -> NDArray[np.float64]:
    try:
        values = np.array([float(entry[name]) for name in _COLUMNS])
    except (TypeError, ValueError) as error:
        raise DataError(f"token `{entry['token']}` in `{path}` has no number: {error}") from error
    if not ((values >= -_ROUNDING) & (values <= 1 + _ROUNDING)).all():
        raise DataError(f"token `{entry['token']}` in `{path}` has {values.tolist()}, beyond 0..1")
    return values


def _require_tokens(path: Path, tokens: list[str], table: Mapping[str, object]) -> None:
    known = set(tokens)
    missing = [token for token in tokens if token not in table]
    extra = [token for token in table if token not in known]
    if missing:
        raise DataError(
            f"`{path}` has no scores of {len(missing)} of {len(tokens)} tokens: {few(missing)}",
            hint="the devkit skips scenes without a metric cache; cache them, and score again",
        )
    if extra:
        raise DataError(
            f"`{path}` has scores of {len(extra)} tokens that nobody asked for: {few(extra)}",
            hint="was it scored on another split?",
        )


if __name__ == "__main__":
    from experiments.scoring.navsim_command import main

    sys.exit(main())
