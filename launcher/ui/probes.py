"""What `launch probe` prints: what will be tried, and what it took."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from launcher import catalog, footprint, ui
from launcher.measures import Measure

if TYPE_CHECKING:
    from launcher.probes import Probe, Result


def show_plan(probes: Sequence[Probe], folder: Path, scheduler: str) -> None:
    """Say what will be tried, and for how long at most."""
    ui.say(f"probes {folder.name} on {scheduler}")
    for probe in probes:
        run, config = probe.run, probe.run.settings.probe
        more = f", for {probe.stands_for} runs that take the same" * (probe.stands_for > 1)
        ui.say(
            f"  {run.name}: {run.shape}, {_many(config.steps, 'step')}, then"
            f" {_many(config.val_batches, 'batch', 'batches')} of validation, at most"
            f" {run.shape.timeout_min} min{more}"
        )


def _many(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def say_how_to_come_back(folder: Path) -> None:
    """The commands that show what detached probes took."""
    word = shlex.quote(catalog.study_word(folder))
    ui.say(f"probes in {folder}\ncome back with\n  launch status {word}\n  launch scaling {word}")


def show_results(results: Sequence[Result], folder: Path) -> None:
    """Print what probes took, and whether it fits, in a sentence each."""
    ui.show(_table(results), title=f"probes {folder.name}")
    console = ui.out_console()
    for result in results:
        console.print(Text(f"{result.probe.run.name}: {verdict(result)}"))
    word = shlex.quote(catalog.study_word(folder))
    if len({result.probe.run.shape.world_size for result in results}) > 1:
        ui.say(f"compare the shapes with\n  launch scaling {word}")


def verdict(result: Result) -> str:
    """Whether it fits, and what says so."""
    measure, outcome = result.measure, result.outcome
    if outcome == "host_oom":
        return f"does not fit: the host ran out of memory{_held(measure)}"
    if outcome == "gpu_oom":
        return f"does not fit: a GPU ran out of memory{_held_on_gpu(measure)}"
    if outcome not in ("completed", "walltime"):
        return f"measured nothing: {outcome or result.status.reason or 'it left without a word'}"
    until = ""
    if outcome == "walltime":
        has_trained = measure is not None and bool(measure.phases("train"))
        until = ", until its time limit came" + ", before the first step" * (not has_trained)
    return f"fits{_held(measure)}{_held_on_gpu(measure)}{until}"


def _held(measure: Measure | None) -> str:
    if measure is None:
        return ""
    phase, peak_gb = footprint.peak_phase(measure), footprint.host_gb(measure)
    if phase is None or peak_gb is None:
        return ""
    of = f" of {measure.mem_gb:.3g}" if measure.mem_gb is not None else ""
    return f", at most {peak_gb:.3g}{of} GB per node {footprint.DOING[phase]}"


def _held_on_gpu(measure: Measure | None) -> str:
    peak_gb = measure.gpu_gb() if measure is not None else None
    if measure is None or peak_gb is None:
        return ""
    size_gb = footprint.gpu_mem_gb(measure)
    of = f" of {size_gb:.3g}" if size_gb is not None else ""
    batch = measure.micro_batch_size
    held = f" with {batch} samples at once" if batch is not None else ""
    return f", {peak_gb:.3g}{of} GB per GPU{held}"


def _table(results: Sequence[Result]) -> Table:
    rows = [_cells(result) for result in results]
    table = Table(box=None, pad_edge=False, header_style="dim")
    names = list(dict.fromkeys(name for row in rows for name in row))
    used = [name for name in names if any(row.get(name) for row in rows)]
    for name in used:
        table.add_column(name, justify="left" if name in ("probe", "shape", "ended") else "right")
    for row in rows:
        table.add_row(*(Text(row.get(name, "")) for name in used))
    return table


def _cells(result: Result) -> dict[str, str]:
    run, measure = result.probe.run, result.measure
    cells = {
        "probe": run.name,
        "shape": str(run.shape),
        "ended": result.outcome or result.status.state,
    }
    if measure is not None:
        cells |= _figures(measure)
    return cells


def _figures(measure: Measure) -> dict[str, str]:
    train, switch = footprint.host_gb(measure, "train"), footprint.host_gb(measure, "switch")
    validate = footprint.host_gb(measure, "validate")
    beside = max((gb for gb in (switch, validate) if gb is not None), default=None)
    return {
        "steps": str(measure.timed_steps or ""),
        "step s": number(measure.step_s),
        "samples/s": number(measure.samples_per_s),
        "data wait": share(measure.data_wait_share),
        "GPU busy": share(measure.gpu_utilization),
        "train GB": number(train),
        "val GB": number(beside),
        "limit GB": number(measure.mem_gb),
        "GPU GB": number(measure.gpu_gb()),
        "start s": number(measure.start_s),
        "val s": number(measure.validation_s),
        "save s": number(measure.checkpoint_s),
    }


def number(value: float | None) -> str:
    """Three digits that count; empty where it is unknown."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def share(value: float | None) -> str:
    """In percent; empty where it is unknown."""
    return "" if value is None else f"{value:.0%}"
