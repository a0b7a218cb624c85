"""`launch data`: look at the data of a config before runs need it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from experiments.data.checking import FilesReport, FilterReport, PartReport, Report, as_json, check
from experiments.data.source import SENSORS, Sensor
from experiments.settings import DataConfig, from_config, register
from launcher.errors import ConfigError, one_of

app = typer.Typer(no_args_is_help=True, help="Look at the data that runs will read.")

ALL = ",".join(SENSORS)
Overrides = Annotated[
    list[str] | None, typer.Argument(help="As of train.py, e.g. data=navsim data.fraction=0.1.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Sensors = Annotated[
    str, typer.Option(help="Whose files are looked for, e.g. image; `none` looks for no files.")
]


@app.callback()
def data() -> None:
    """Look at the data that runs will read."""


@app.command(name="check")
def check_data(
    overrides: Overrides = None,
    as_json_text: AsJson = False,
    sensors: Sensors = ALL,
) -> None:
    """Count scenes and files of a config's data. Exit code 1 if any is missing."""
    config = composed(overrides or [])
    report = check(config, _sensors(sensors))
    typer.echo(json.dumps(as_json(report), indent=2) if as_json_text else rendered(report))
    if not report.is_complete:
        raise typer.Exit(1)


def composed(overrides: list[str]) -> DataConfig:
    """Return the data group that a run with these overrides would have.

    Raises:
        ConfigError: an override is wrong, or there is no conf/config.yaml here or above.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    folder = _conf()
    register()
    try:
        with initialize_config_dir(str(folder), version_base="1.3"):
            return from_config(compose("config", overrides)).data
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(
            f"the overrides do not compose: {_first_line(error)}",
            hint="one run's overrides, as of train.py; sweeps are not checked at once",
        ) from error


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _conf() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "conf" / "config.yaml").is_file():
            return folder / "conf"
    raise ConfigError(
        f"there is no conf/config.yaml in `{here}` or above",
        hint="run this from the folder of train.py",
    )


def _sensors(text: str) -> tuple[Sensor, ...]:
    if text == "none":
        return ()
    for name in text.split(","):
        one_of("--sensors", name, SENSORS)
    return tuple(sensor for sensor in SENSORS if sensor in text.split(","))


def rendered(report: Report) -> str:
    """Return a report as text."""
    lines = [f"source {report.source}, split {report.split}", ""]
    lines += _table(
        ("part", "logs", "drives", "tokens", "published", "sha256 of tokens"),
        [
            *(_part_row(name, part) for name, part in report.parts.items()),
            _part_row(f"train x {report.fraction:g}", report.labelled),
        ],
    )
    lines += [f"label fraction {report.fraction:g} by {report.fraction_unit}"]
    if report.empty_strata:
        lines += [f"no labels of the strata {', '.join(report.empty_strata)}"]
    if report.shared_drives:
        lines += [
            f"{len(report.shared_drives)} drives have logs in more than one part,"
            f" e.g. {report.shared_drives[0]}"
        ]
    lines += ["", "tokens by city: " + ", ".join(f"{c} {n:,}" for c, n in report.cities.items())]
    if report.filters:
        lines += ["", *_filters(report.filters)]
    if report.files:
        lines += ["", *_files(report.files)]
    lines += [f"not as published: {sentence}" for sentence in report.deviations()]
    lines += ["", "complete" if report.is_complete else "INCOMPLETE"]
    return "\n".join(lines)


def _part_row(name: str, part: PartReport) -> tuple[str, ...]:
    published = f"{part.published.tokens:,}" if part.published else "-"
    counts = (f"{count:,}" for count in (part.logs, part.drives, part.tokens))
    return (name, *counts, published, part.tokens_sha256[:16])


def _filters(filters: dict[str, FilterReport]) -> list[str]:
    lines = _table(
        ("filter", "logs listed", "missing", "tokens listed", "found", "published", "sha256"),
        [
            (
                f"{key}={part.name}",
                _or_all(part.logs_listed),
                f"{part.logs_missing:,}",
                _or_all(part.tokens_listed),
                f"{part.tokens_found:,}",
                f"{part.published.tokens:,}" if part.published else "-",
                (part.tokens_sha256 or "-")[:16],
            )
            for key, part in filters.items()
        ],
    )
    for key, part in filters.items():
        lines += [f"missing of {key}: {name}" for name in part.missing]
    return lines


def _or_all(count: int | None) -> str:
    return "all" if count is None else f"{count:,}"


def _files(files: dict[str, FilesReport]) -> list[str]:
    lines = _table(
        ("files", "needed", "missing", "empty", "size"),
        [
            (
                kind,
                f"{part.files:,}",
                f"{part.missing:,}",
                f"{part.empty:,}",
                f"{part.size_bytes / 2**30:.2f} GB",
            )
            for kind, part in files.items()
        ],
    )
    for kind, part in files.items():
        lines += [f"missing or empty of {kind}: {path}" for path in part.examples]
    return lines


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, *rows]
    ]
