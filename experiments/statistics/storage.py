"""Scores by token as one parquet file, with who gave them in its metadata."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.data.errors import DataError
from experiments.statistics.table import Run, TokenScores
from launcher.files import write_bytes

if TYPE_CHECKING:
    import polars as pl

SCHEMA_VERSION = 1
_KEY = "token_scores"
_NAMES = ("token", "log", "city", "command")
_PREFIX = "metric/"
"""Before the name of each metric, so that none is taken for a name of a scene."""


def save(path: Path, scores: TokenScores) -> None:
    """Write `scores` to `path`, whole or not at all."""
    import polars as pl

    names = (scores.tokens, scores.logs, scores.cities, scores.commands)
    columns = {
        name: pl.Series(values, dtype=pl.String) for name, values in zip(_NAMES, names, strict=True)
    }
    metrics = {f"{_PREFIX}{name}": values for name, values in scores.metrics.items()}
    about = {
        "schema_version": SCHEMA_VERSION,
        "scorer": scores.scorer,
        "metric_version": scores.metric_version,
        **scores.run._asdict(),
    }
    content = io.BytesIO()
    pl.DataFrame({**columns, **metrics}).write_parquet(content, metadata={_KEY: json.dumps(about)})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content.getvalue())


def load(path: Path) -> TokenScores:
    """Read what `save` wrote.

    Raises:
        DataError: there is no such file, it is torn, or was written by something else.
    """
    about, frame = _read(path)
    if about.get("schema_version") != SCHEMA_VERSION:
        raise DataError(
            f"`{path}` has schema version {about.get('schema_version')}, this code reads"
            f" {SCHEMA_VERSION}"
        )
    try:
        run = Run(str(about["arm"]), float(about["fraction"]), int(about["seed"]))
        tokens, logs, cities, commands = (tuple(frame[name].to_list()) for name in _NAMES)
        metrics = {
            name.removeprefix(_PREFIX): frame[name].to_numpy()
            for name in frame.columns
            if name.startswith(_PREFIX)
        }
        return TokenScores(
            run=run,
            scorer=about["scorer"],
            metric_version=about["metric_version"],
            tokens=tokens,
            logs=logs,
            cities=cities,
            commands=commands,
            metrics=metrics,
        )
    except DataError as error:
        raise DataError(f"`{path}`: {error.message}", hint=error.hint) from error
    except (KeyError, TypeError, ValueError, _column_error()) as error:
        raise DataError(f"`{path}` lacks `{error}`, so it holds no scores by token") from error


def _read(path: Path) -> tuple[dict[str, Any], pl.DataFrame]:
    import polars as pl

    if not path.is_file():
        raise DataError(f"there are no scores at `{path}`")
    content = path.read_bytes()
    try:
        metadata = pl.read_parquet_metadata(io.BytesIO(content))
        # Not from the path: polars reads square brackets and stars in it as a pattern.
        frame = pl.read_parquet(io.BytesIO(content))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"`{path}` cannot be read as parquet: {error}") from error
    if _KEY not in metadata:
        raise DataError(f"`{path}` is parquet, but holds no scores by token")
    about: dict[str, Any] = json.loads(metadata[_KEY])
    return about, frame


def _column_error() -> type[Exception]:
    import polars as pl

    return pl.exceptions.ColumnNotFoundError
