"""Figures measured on GPUs as files, and the part of README.md that is made from them.

python benchmarks/results.py            write it
python benchmarks/results.py --check    fail if it is not what the files say

Scripts in gpu/ save theirs with `--out benchmarks/gpu/results/NAME.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"
FILES = HERE / "gpu" / "results"
BEGIN, END = "<!-- from gpu/results -->", "<!-- end -->"
HEAD = "| what | figure | measured or computed | where and when | command |\n|---|---|---|---|---|"
NAVTRAIN = 103_288
OFFICIAL_MS = 4.4
"""Of the official code per plan and core, on another machine."""
Row = tuple[str, str, str]
"""What it is, the figure, and whether it is measured or computed."""


def save(path: Path | None, kind: str, found: Any) -> None:
    """Write what was found, beside how, when and on what; nothing without a path."""
    if path is None:
        return
    import torch

    card = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor()
    script = Path(sys.argv[0]).resolve()
    where = script.relative_to(HERE.parent) if script.is_relative_to(HERE.parent) else script.name
    content = {
        "kind": kind,
        "command": shlex.join(["python", str(where), *without_places(sys.argv[1:])]),
        "date": time.strftime("%Y-%m-%d"),
        "card": card,
        "torch": torch.__version__,
        "cores": len(os.sched_getaffinity(0)),
        "note": "",
        "found": found,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def require_gpus(count: int, otherwise: str = "") -> None:
    """End the program, with exit code 2 and a message, where there are fewer GPUs."""
    import torch

    there = torch.cuda.device_count()
    if there < count:
        told = f"this needs {count} NVIDIA GPU{'s' * (count > 1)}, torch sees {there} here"
        print(f"{told}; {otherwise}" if otherwise else told, file=sys.stderr)
        raise SystemExit(2)


def without_places(words: list[str]) -> list[str]:
    """The arguments that matter to a reader: not where files went on that machine."""
    places = ("--out", "--folder", "--archive")
    kept = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if word not in places and before not in places
    ]
    return [word for word in kept if not word.startswith("paths.")]


def scaling(found: dict[str, Any]) -> Iterator[Row]:
    """Speeds of each shape."""
    for kind, rows in found["kinds"].items():
        for row in rows:
            gpus = f"{row['ranks']} GPU{'s' * (row['ranks'] > 1)}"
            what = f"{found['subject']}: {kind}, {row['batch_size']} windows a step on {gpus}"
            figure = (
                f"{row['samples_per_s']:.0f} windows/s, efficiency {row['efficiency']:.0%},"
                f" data-wait {row['data_wait_share']:.1%}, {row['gpu_gb']:.1f} GB"
            )
            if row["outcome"] != "completed":
                figure += f"; the run ended as {row['outcome']}"
            yield what, figure, "measured"


def recovery(found: list[dict[str, Any]]) -> Iterator[Row]:
    """What came of each fault."""
    for row in found:
        figure = (
            f"{'green' if row['green'] else 'RED'}: {', '.join(row['outcomes']) or 'completed'}"
        )
        if row["green"] and row.get("sha256"):
            figure += ", state equal to the bit"
        if "longest pause [s]" in row and row["outcomes"]:
            figure += f"; {row['longest pause [s]']} s to the next step"
            figure += f", {row['steps done twice']} steps done twice"
        yield f"fault: {row['fault']}", figure, "measured"


def slurm(found: list[dict[str, Any]]) -> Iterator[Row]:
    """Which ranks had which cards."""
    for row in found:
        cards = {card["card"] for card in row["cards"]}
        figure = f"{'green' if row['green'] else 'RED'}: {len(row['cards'])} ranks on"
        figure += f" {len(cards)} cards, sha256 of the state at the end {row['sha256'][:12]}"
        what = f"SLURM and NCCL, `resources.gpus=4` on nodes as {row['shape']}"
        yield what, figure, "measured"


def teacher(found: dict[str, Any]) -> Iterator[Row]:
    """Plans per second, and what all of navtrain would take."""
    task, alone = found["task_ms_per_plan"], found["ms_per_plan"]
    yield "task=teacher, scenes read and shards written", f"{1e3 / task:,.0f} plans/s", "measured"
    yield "scoring scenes that are in memory", f"{1e3 / alone:,.0f} plans/s", "measured"
    hours = task / 3.6e6 * 8192 * NAVTRAIN
    official = OFFICIAL_MS / 3.6e6 * 8192 * NAVTRAIN
    yield (
        f"8,192 plans on {NAVTRAIN:,} windows",
        f"{hours:.1f} h at that rate; the official code {official:,.0f} core-hours",
        "computed from the rates",
    )


def extraction(found: dict[str, Any]) -> Iterator[Row]:
    """Images per second of a ViT-H/14, and what part of the matmul rate that is."""
    rate = found["matmul_flop_per_s"]
    yield "matrix product 8192 x 8192 x 8192, bf16", f"{rate / 1e12:.0f} TFLOP/s", "measured"
    for what, images in found["images_per_s"].items():
        share = images * found["flop_per_image"] / rate
        yield f"ViT-H/14, {what}", f"{images:,.0f} images/s, {share:.0%} of that", "measured"


def telemetry(found: dict[str, list[float]]) -> Iterator[Row]:
    """The record against nvidia-smi."""
    for what, (ours, theirs) in found.items():
        figure = f"{ours:.4g} in the record, {theirs:.4g} from nvidia-smi"
        yield f"telemetry: {what}", figure, "measured"


def steps(found: dict[str, Any]) -> Iterator[Row]:
    """Times of steps without loaders."""
    for what, ms in found["ms"].items():
        yield f"step of {found['windows']} windows a rank, {what}", f"{ms:.1f} ms", "measured"


def loading(found: dict[str, Any]) -> Iterator[Row]:
    """Windows that reach a training."""
    for what, per_s in found["per_s"].items():
        files = f"images of {found['kib']:.0f} KiB"
        yield f"a training that is fed on {what}, {files}", f"{per_s:,.0f} windows/s", "measured"


KINDS: dict[str, Callable[[Any], Iterator[Row]]] = {
    "scaling": scaling,
    "recovery": recovery,
    "slurm": slurm,
    "steps": steps,
    "loading": loading,
    "teacher": teacher,
    "extraction": extraction,
    "telemetry": telemetry,
}


def rendered() -> str:
    """The table of all files."""
    lines = [HEAD]
    for path in sorted(FILES.glob("*.json")):
        result = json.loads(path.read_text())
        where = f"{result['card']}, {result['cores']} cores, torch {result['torch']}"
        where += f", {result['date']}"
        command = f"`{result['command']}`" + (f" ({result['note']})" if result["note"] else "")
        for what, figure, source in KINDS[result["kind"]](result["found"]):
            lines.append(f"| {what} | {figure} | {source} | {where} | {command} |")
    return "\n".join(lines)


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    is_check = parser.parse_args().check
    text = README.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    wanted = f"{before}{BEGIN}\n{rendered()}\n{END}{after}"
    if is_check and wanted != text:
        raise SystemExit("README.md is not what gpu/results says: python benchmarks/results.py")
    if not is_check:
        README.write_text(wanted)


if __name__ == "__main__":
    main()
