"""What processes hold: shared pages by part, private ones alone, batches on their way."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from launcher.telemetry import processes
from launcher.telemetry.processes import Family
from tests.unit.launcher.telemetry.fresh import in_fresh_process

MB = 2**20
ROLLUP = """\
5581-7ffc ---p 00000000 00:00 0                          [rollup]
Rss:                9000 kB
Pss:                6000 kB
Pss_Anon:           3000 kB
Pss_File:           2000 kB
Pss_Shmem:          1000 kB
Shared_Clean:       1580 kB
Private_Clean:      4000 kB
Private_Dirty:      2500 kB
"""
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel counts for Linux only")


def test_files_do_not_count() -> None:
    assert processes.parse(ROLLUP) == processes.Held(4000 * 1024, 2500 * 1024, 1000 * 1024)


def test_an_old_kernel_that_does_not_tell_files_apart_counts_all() -> None:
    lines = [line for line in ROLLUP.splitlines(True) if not line.startswith("Pss_")]
    assert processes.parse("".join(lines)) == processes.Held(6000 * 1024, 2500 * 1024, 0)


def test_a_process_that_is_ending_holds_nothing_to_tell() -> None:
    assert processes.parse("") is None


def _hold(connection: Connection, size: int) -> None:
    held = b"x" * size
    connection.send(os.getpid())
    connection.recv()
    del held


@contextmanager
def worker(size: int, *, daemon: bool = True, method: str = "fork") -> Iterator[int]:
    """A child that holds so many bytes alone; yields its process id."""
    kinds: Any = multiprocessing.get_context(method)
    ours, theirs = kinds.Pipe()
    child = kinds.Process(target=_hold, args=(theirs, size), daemon=daemon)
    child.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        child.join()


@on_linux
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_daemonic_children_of_multiprocessing_are_workers_and_helpers_are_not(method: str) -> None:
    helper = subprocess.Popen(["sleep", "60"])
    try:
        with worker(1, method=method) as first, worker(1, daemon=False):
            assert processes.worker_pids() == [first]
    finally:
        helper.kill()
        helper.wait()
    assert processes.worker_pids() == []


def _of_two_workers() -> tuple[Family, Family]:
    """Before two workers start, one of which fills 60 MB, and while they live."""
    shared = b"y" * (100 * MB)
    before = processes.look([])
    with worker(60 * MB) as first, worker(0) as second:
        family = processes.look([first, second])
    del shared
    return before, family


@on_linux
def test_what_a_worker_holds_alone_is_seen_with_it_and_what_it_shares_is_not() -> None:
    before, family = in_fresh_process(_of_two_workers)
    assert family.workers == 2
    assert family.worker_private_gb * 1024 == pytest.approx(30, abs=6)
    # Three processes share what was there before; the sum is as if they did not.
    assert (family.all_gb - before.rank_gb) * 1024 == pytest.approx(60, abs=12)
    assert family.rank_gb < before.rank_gb - 100 / 2 / 1024


def _of_a_mapped_file(path: Path) -> float:
    """What the pages of a file of 50 MB add [GB]."""
    path.write_bytes(b"z" * (50 * MB))
    before = processes.look([]).rank_gb
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        for page in range(0, len(mapped), mmap.PAGESIZE):
            assert mapped[page] == ord("z")
        return processes.look([]).rank_gb - before


@on_linux
def test_pages_of_a_file_are_nobodys(tmp_path: Path) -> None:
    assert in_fresh_process(partial(_of_a_mapped_file, tmp_path / "data")) * 1024 < 20


def _open_batch(connection: Connection, size: int) -> None:
    """Leaves a batch as torch does: written to shared memory, sent, and mapped by nobody."""
    path = f"/dev/shm/launcher-test-{os.getpid()}"
    with open(path, "wb") as file:
        Path(path).unlink()
        file.write(b"x" * size)
        file.flush()
        connection.send(os.getpid())
        connection.recv()


def _of_a_waiting_batch() -> Family:
    """While a worker waits for its batch of 40 MB to be fetched."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_open_batch, args=(theirs, 40 * MB), daemon=True)
    child.start()
    try:
        return processes.look([ours.recv()])
    finally:
        ours.send(None)
        child.join()


@on_linux
def test_a_batch_that_waits_to_be_fetched_counts_for_its_worker() -> None:
    family = in_fresh_process(_of_a_waiting_batch)
    assert family.worker_private_gb * 1024 == pytest.approx(43, abs=6)


@on_linux
def test_a_worker_that_has_just_ended_is_left_out() -> None:
    with worker(0) as pid:
        pass
    assert processes.look([pid]).workers == 0


def _of_all_and_of_some() -> tuple[Family, Family]:
    """Of three workers that are alike: all looked at, and some."""
    with worker(20 * MB) as first, worker(20 * MB) as second, worker(20 * MB) as third:
        pids = [first, second, third]
        return processes.look(pids), processes.look(pids, processes.sample(pids))


@on_linux
def test_workers_that_are_not_looked_at_count_like_those_that_are() -> None:
    whole, sampled = in_fresh_process(_of_all_and_of_some)
    assert sampled.workers == 3
    assert sampled.workers_gb == pytest.approx(whole.workers_gb, rel=0.05)
    assert sampled.worker_private_gb == pytest.approx(whole.worker_private_gb, rel=0.05)


def test_of_several_loaders_a_worker_of_each_is_looked_at() -> None:
    assert processes.sample([14, 11, 12, 13]) == [11, 14]
    assert processes.sample([11]) == [11]
    assert processes.sample([]) == []


def _of_growth() -> tuple[int, int]:
    """What 50 MB of our own add to what is held, and then as much of shared memory [bytes]."""
    before = processes.unfiled([])
    held = b"x" * (50 * MB)
    owned = processes.unfiled([]) - before
    area = mmap.mmap(-1, 50 * MB)
    area.write(held)
    return owned, processes.unfiled([]) - before - owned


@on_linux
def test_growth_is_seen_without_a_walk_over_all_pages() -> None:
    owned, shared = in_fresh_process(_of_growth)
    assert owned == pytest.approx(50 * MB, rel=0.1)
    assert shared == pytest.approx(50 * MB, rel=0.1)
