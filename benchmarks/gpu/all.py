"""All benchmarks for a machine with so many GPUs, one after the other, each with a limit of time.

python benchmarks/gpu/all.py --folder /tmp/gpu --archive slurm.tar.xz
python benchmarks/gpu/all.py --only steps scaling-decoded-64 --out /tmp/figures
python benchmarks/gpu/all.py --gpus 4 --list

Figures go to gpu/results, from which `python benchmarks/results.py` makes README.md. Data that
several need are made once below `--folder`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import results  # noqa: E402


@dataclass(frozen=True, kw_only=True)
class Work:
    """A script, and how long it may take."""

    name: str
    """Of the file with its figures."""
    script: str
    words: tuple[str, ...] = ()
    limit_s: int = 150
    gpus: int = 1
    """At least."""
    needs_data: bool = False
    """Whether it takes `--folder`."""


def scaling(name: str, *words: str, limit_s: int = 150) -> Work:
    """Shapes of one model."""
    return Work(
        name=f"scaling-{name}",
        script="scaling.py",
        words=words,
        limit_s=limit_s,
        needs_data=True,
    )


ONE = (
    Work(name="steps-1", script="steps.py", words=("--ranks",)),
    Work(name="loading", script="loading.py", limit_s=330),
    Work(
        name="extraction",
        script="../features.py",
        words=("--device", "cuda", "--batch-size", "128", "--images", "16000", "--decode"),
    ),
    Work(name="teacher", script="teacher.py"),
    Work(name="telemetry", script="telemetry.py", needs_data=True),
    Work(name="recovery-memory", script="recovery.py", words=("--only", "memory"), limit_s=240),
)
SEVERAL = (
    Work(name="slurm", script="slurm.py", limit_s=220, gpus=4),
    Work(name="recovery", script="recovery.py", words=("--only", "faults"), limit_s=240),
    Work(name="steps-2", script="steps.py", words=("--ranks", "2")),
    Work(name="steps-4", script="steps.py", words=("--ranks", "4", "--last", "1"), gpus=4),
    scaling("decoded-64", "--kinds", "weak", limit_s=200),
    scaling("visited-64", "--kinds", "weak", "--decode", "visited", limit_s=200),
    scaling("jpeg-64", "--kinds", "weak", "--decode", "scaled", limit_s=200),
    scaling("decoded-128", "--kinds", "weak", "--per-gpu", "128", limit_s=200),
    scaling("strong-64", "--kinds", "strong", limit_s=200),
    *(
        scaling(
            *(name.replace("_", "-"), "--kinds", "weak", "--model", name, "--steps", "24"),
            limit_s=240,  # the first draws random weights
        )
        for name in ("vith_frozen", "vith_last4")
    ),
)


def command(work: Work, arguments: argparse.Namespace) -> list[str]:
    """What is run."""
    words = [sys.executable, str((HERE / work.script).resolve()), *work.words]
    words += ["--out", str(arguments.out / f"{work.name}.json")]
    if work.needs_data:
        # Runs apart, data together.
        words += ["--folder", str(arguments.folder / work.name)]
        words += [f"paths.data_dir={arguments.folder}/data"] * (work.script == "scaling.py")
    if work.script == "slurm.py" and arguments.archive is not None:
        words += ["--archive", str(arguments.archive)]
    return words


def main() -> None:
    """Run what is wanted; fail if something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=torch.cuda.device_count())
    parser.add_argument("--only", nargs="*", default=None, help="names, as `--list` shows them")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/gpu-benchmarks"))
    parser.add_argument("--archive", type=Path, default=None, help="SLURM for a bare host")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if not arguments.list:
        results.require_gpus(max(arguments.gpus, 1), "`--gpus 4 --list` shows what would run")
    known = ONE if arguments.gpus < 2 else [w for w in SEVERAL if w.gpus <= arguments.gpus]
    names = [work.name for work in known]
    unknown = sorted(set(arguments.only or ()) - set(names))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(names)}")
    wanted = [work for work in known if arguments.only is None or work.name in arguments.only]
    failed = []
    for folder in (arguments.out, arguments.folder):
        folder.mkdir(parents=True, exist_ok=True)
    for work in wanted:
        if arguments.list:
            print(f"{work.name:20} {work.limit_s:4} s  {shlex.join(command(work, arguments))}")
            continue
        began = time.monotonic()
        code = run(command(work, arguments), work.limit_s)
        print(f"== {work.name}: {code}, {time.monotonic() - began:.0f} s", flush=True)
        failed += [work.name] * bool(code)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def run(words: list[str], limit_s: int) -> int | str:
    """Exit code, or that it took too long; what it starts ends with it."""
    process = subprocess.Popen(words, start_new_session=True)
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 15)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
        return f"took more than {limit_s} s"


if __name__ == "__main__":
    main()
