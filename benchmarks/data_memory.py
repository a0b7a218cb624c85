"""What the index of a large data set costs in memory: `python benchmarks/data_memory.py`.

4 ranks with 8 dataloader workers each read windows of NAVSIM's number (103,288, with teacher
scores of 8192 x 7 bytes each) and, by the same code, of an index of 100. Then all hold still, and
the PSS of all processes is summed. Beside it the usual way: a pickled list of dicts, loaded by each
rank.

Index, splits, datasets and the order of samples are those of a training; camera images are small,
and of a few frames only. Scores are files of holes, which are read like any others. The lists hold
256 x 7 scores for each sample, because 4 x 5.9 GB would not fit into the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments.data import prepare
from experiments.data.columns import written
from experiments.data.images import CAMERAS, read_panorama
from experiments.data.indexing import key_of, open_index, write_index
from experiments.data.keeping import file_name
from experiments.data.logs import FrameTable, frame_table, read_log
from experiments.settings import DataConfig, SyntheticConfig
from experiments.settings.teacher import TAUGHT
from experiments.teacher.store import TeacherFolder, TeacherStore

RANKS, WORKERS, BATCH = 4, 8, 16
SAMPLES_PER_WORKER = 320
NAVTRAIN, FEW = 103_288, 100
VOCABULARY, NAIVE_VOCABULARY, METRICS = 8192, 256, 7
IMAGE_HW = (32, 128)
WINDOWS_PER_LOG = {NAVTRAIN: 87, FEW: 10}
"""NAVSIM's logs have 87 windows on average."""
WORLD = SyntheticConfig(seed=3, num_logs=4, frames_per_log=16, camera_hw=(45, 80))


@dataclass(frozen=True)
class Variant:
    """One way to hold an index of some size, ready to be read."""

    way: str
    """`columns` or `list`."""
    num_samples: int
    folder: Path
    """Of logs and index, or of the pickle."""
    sensors: Path


@dataclass(frozen=True)
class Held:
    """What all processes of a variant held at rest [GB]."""

    variant: Variant
    num_processes: int
    pss_gb: float
    """All pages; less than it should be by what strangers share, e.g. the libraries of torch."""
    private_gb: float
    """Anonymous and shared memory, also what forked processes still have in common."""
    data_gb: float
    """Pages of mapped data files."""

    @property
    def own_gb(self) -> float:
        """What no stranger can share: all but the pages of libraries."""
        return self.private_gb + self.data_gb

    @property
    def libraries_gb(self) -> float:
        """Pages of programs and libraries."""
        return self.pss_gb - self.own_gb


# ---- data ------------------------------------------------------------------------------------


def make_world(folder: Path) -> tuple[Path, list[FrameTable]]:
    """Make a few real frames; returns the folder of their sensor files, and their tables."""
    root = prepare(DataConfig(root=str(folder), synthetic=WORLD))
    logs = sorted((root / "navsim_logs").iterdir())
    return root / "sensor_blobs", [frame_table(path, read_log(path)) for path in logs]


def config_of(variant: Variant) -> DataConfig:
    """The config of a training on an index."""
    folder = variant.folder
    return DataConfig(
        source="openscene",
        root=str(folder),
        logs=str(folder / "logs"),
        sensors=str(variant.sensors),
        image_hw=IMAGE_HW,
        val_share=0.176,
        test_share=0.0,
    )


def make_columns(variant: Variant, tables: list[FrameTable]) -> None:
    """Write an index and teacher scores of `num_samples` windows, as a training looks for them."""
    config, folder = config_of(variant), variant.folder
    (folder / "logs").mkdir(parents=True)
    named = list(_log_sizes(variant.num_samples))
    for name, _ in named:
        (folder / "logs" / f"{name}.pkl").touch()
    logs = sorted((folder / "logs").iterdir())
    key = key_of(config, logs)
    index = folder / file_name(key)
    sizes = dict(named)
    longer = ((log, _table(tables, n, sizes[log.stem])) for n, log in enumerate(logs))
    write_index(index, key, config, longer)
    tokens = np.sort(open_index(index, key).windows.token)
    assert len(tokens) == variant.num_samples
    facts = {"vocabulary": {"size": VOCABULARY}, "windows": {"count": len(tokens)}}
    teacher = TeacherFolder.begin(folder, facts, np.asarray(tokens))
    for shard in range(teacher.layout.num_shards):
        count = len(teacher.layout.rows_of(shard))
        kinds = {name: (kind, (count, *row)) for name, (kind, row) in teacher.layout.kinds.items()}
        with written(teacher.path_of(shard), teacher.key, kinds, {}):
            pass  # the scores stay holes


def _log_sizes(num_windows: int) -> Iterator[tuple[str, int]]:
    each, number = WINDOWS_PER_LOG[num_windows], 0
    while num_windows > 0:
        num_frames = min(each, num_windows) + 13  # 4 frames of history, 10 of future
        yield f"2021.05.12.22.{number:06d}_veh-35_01008_{num_frames:05d}", num_frames
        num_windows, number = num_windows - each, number + 1


def _table(tables: list[FrameTable], log: int, num_frames: int) -> FrameTable:
    """Return a log of any length, made of the rows of a real one."""
    source = tables[log % len(tables)]
    rows = np.arange(num_frames) % len(source)
    columns = {name: getattr(source, name)[rows] for name in FrameTable.__slots__}
    tokens = np.array([f"{log:08x}{frame:08x}" for frame in range(num_frames)], "S16")
    table = FrameTable(**columns)
    return replace(table, token=tokens, has_route=np.ones(num_frames, np.bool_))


def make_list(variant: Variant, tables: list[FrameTable]) -> None:
    """Pickle a list of dicts, one for each sample."""
    samples = []
    for name, num_frames in _log_sizes(variant.num_samples):
        table = _table(tables, len(samples), num_frames)
        for frame in range(3, num_frames - 10):
            scores = np.zeros((NAIVE_VOCABULARY, METRICS), np.uint8)
            samples.append(
                {
                    "token": table.token[frame].decode(),
                    "log_name": name,
                    "city": str(table.city[frame]),
                    "status": np.zeros(8, np.float32),
                    "trajectory": np.zeros((8, 3), np.float32),
                    "cameras": [str(path) for path in table.cameras[frame]],
                    "teacher": scores,
                }
            )
    variant.folder.mkdir(parents=True)
    (variant.folder / "samples.pkl").write_bytes(pickle.dumps(samples))


# ---- one rank --------------------------------------------------------------------------------


def rank_main(variant: Variant, rank: int) -> None:
    """Read with all workers, then hold still until standard input ends."""
    import torch
    from torch.utils.data import DataLoader

    from experiments.sampling import StepBatches
    from launcher.callbacks.heap import freeze
    from launcher.topology import split_batch

    torch.set_num_threads(1)
    dataset, kept = (
        _columns_dataset(variant) if variant.way == "columns" else _list_dataset(variant)
    )
    num_batches = WORKERS * -(-SAMPLES_PER_WORKER // BATCH)
    order = StepBatches(
        num_samples=len(dataset),
        batch_size=RANKS * BATCH,
        split=split_batch(RANKS * BATCH, RANKS, BATCH),
        seed=0,
        max_steps=10 * num_batches,
        rank=rank,
        world_size=RANKS,
    )
    freeze()  # as in a training
    batches = iter(DataLoader(dataset, batch_sampler=order, num_workers=WORKERS))
    for _ in range(num_batches):
        batch = next(batches)
        assert len(batch["teacher"]) == BATCH
    del batch
    print("ready", flush=True)
    sys.stdin.read()
    del kept
    os._exit(0)  # workers are daemons; nothing is to be saved


def _columns_dataset(variant: Variant) -> tuple[Any, Any]:
    from experiments.data import datasets
    from experiments.data.dataset import PlanningDataset

    splits = datasets(config_of(variant))
    (stored,) = variant.folder.glob("teacher-*")
    scores = TeacherStore.open(stored, TAUGHT)
    both = np.sort(np.concatenate([splits.train, splits.val]))
    assert len(both) == variant.num_samples
    train, val = (
        PlanningDataset(splits.source, part, ["image"], teacher=scores)
        for part in np.split(both, [_num_training(variant)])
    )
    return train, val


def _num_training(variant: Variant) -> int:
    """As many of the samples as in NAVSIM's split: 85,109 and 18,179."""
    return variant.num_samples * 85_109 // 103_288


def _list_dataset(variant: Variant) -> tuple[Any, Any]:
    samples = pickle.loads((variant.folder / "samples.pkl").read_bytes())
    cut = _num_training(variant)
    return _Listed(samples[:cut], variant.sensors), samples[cut:]


class _Listed:
    """Samples of a list, as many a project holds them."""

    def __init__(self, samples: list[dict[str, Any]], sensors: Path) -> None:
        self.samples, self.sensors = samples, sensors

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, n: int) -> dict[str, Any]:
        sample = self.samples[n]
        paths = [self.sensors / path for path in sample["cameras"]]
        image = read_panorama(paths, CAMERAS, IMAGE_HW, scaled=False)
        return {"image": image, **{k: sample[k] for k in ("status", "trajectory", "teacher")}}


# ---- all ranks -------------------------------------------------------------------------------


def measure(variant: Variant) -> Held:
    """Start the ranks, wait until all have read, and sum what their processes hold."""
    with _ranks(variant) as ranks:
        time.sleep(2.0)  # for workers to fill their queues
        processes = [process for rank in ranks for process in _tree(rank.pid)]
        assert len(processes) == RANKS * (1 + WORKERS), f"{len(processes)} processes"
        kinds = [_rollup_gb(process.pid) for process in processes]
        data_gb = sum(_mapped_gb(process.pid, variant.folder) for process in processes)
    return Held(
        variant=variant,
        num_processes=len(processes),
        pss_gb=sum(kind["Pss"] for kind in kinds),
        private_gb=sum(kind["Pss_Anon"] + kind["Pss_Shmem"] for kind in kinds),
        data_gb=data_gb,
    )


@contextmanager
def _ranks(variant: Variant) -> Iterator[list[subprocess.Popen[str]]]:
    spec = json.dumps(asdict(variant), default=str)
    command = [sys.executable, "-W", "ignore", __file__, "--rank"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ranks: list[subprocess.Popen[str]] = []
    try:
        for rank in range(RANKS):
            ranks.append(
                subprocess.Popen(
                    [*command, str(rank), spec],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
        for process in ranks:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line == "ready\n", f"a rank ended early: {line!r}"
        yield ranks
    finally:
        for process in ranks:
            for member in _tree(process.pid):
                member.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _tree(pid: int) -> list[psutil.Process]:
    try:
        rank = psutil.Process(pid)
        return [rank, *rank.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _rollup_gb(pid: int) -> dict[str, float]:
    """Proportional set size of a process, of all pages and by kind."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    values = dict(line.split(":") for line in lines)
    return {name: _gb(values[name]) for name in ("Pss", "Pss_Anon", "Pss_Shmem")}


def _mapped_gb(pid: int, folder: Path) -> float:
    """Proportional set size of the files below `folder` that a process has mapped."""
    total, is_data = 0.0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if "-" in name:
            is_data = f"{folder}/" in line
        elif name == "Pss" and is_data:
            total += _gb(value)
    return total


def _gb(value: str) -> float:
    return int(value.split()[0]) * 1024 / 1e9


MAKE: dict[str, Callable[[Variant, list[FrameTable]], None]] = {
    "columns": make_columns,
    "list": make_list,
}
ALL = tuple((way, num_samples) for way in MAKE for num_samples in (FEW, NAVTRAIN))


def compare(folder: Path, wanted: Sequence[tuple[str, int]] = ALL) -> list[Held]:
    """Measure ways and numbers of samples, one after the other."""
    sensors, tables = make_world(folder)
    found = []
    for way, num_samples in wanted:
        variant = Variant(way, num_samples, folder / f"{way}-{num_samples}", sensors)
        MAKE[way](variant, tables)
        found.append(measure(variant))
    return found


def render(found: list[Held]) -> Table:
    """Rows of `compare`, each beside the first."""
    table = Table(
        title=f"{RANKS} ranks x {WORKERS} workers: PSS of {RANKS * (1 + WORKERS)} processes"
    )
    for name in ("index", "samples", "scores"):
        table.add_column(name, no_wrap=True)
    for name in ("PSS", "private", "data", "libs", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    for held in found:
        way, num_samples = held.variant.way, held.variant.num_samples
        vocabulary = VOCABULARY if way == "columns" else NAIVE_VOCABULARY
        parts = (held.pss_gb, held.private_gb, held.data_gb, held.libraries_gb)
        table.add_row(
            way,
            f"{num_samples:,}",
            f"{vocabulary} x {METRICS}",
            *(f"{part:.2f} GB" for part in parts),
            f"{held.own_gb / found[0].own_gb:.2f}",
        )
    return table


def main() -> None:
    """Measure, or be one rank."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rank", nargs=2, metavar=("RANK", "SPEC"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank:
        rank, spec = arguments.rank
        values = json.loads(spec)
        paths = {name: Path(values[name]) for name in ("folder", "sensors")}
        rank_main(Variant(**{**values, **paths}), int(rank))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = compare(Path(folder))
    Console().print(render(found))
    full_gb = NAVTRAIN * VOCABULARY * METRICS / 1e9
    print("ratio: private and data, beside the first row; libraries are the same for all")
    print(f"with 8192 x 7 scores the lists would hold {RANKS} x {full_gb:.1f} GB of scores alone")


if __name__ == "__main__":
    main()
