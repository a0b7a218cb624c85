"""One command at a time per folder, told with processes that are really killed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.lock import SILENT_S, FolderLock, locked
from tests.programs import REPOSITORY

PRELUDE = """
import errno, fcntl, os, subprocess, sys, time
from pathlib import Path
from launcher.lock import locked

def refuse(*_):
    raise OSError(errno.ENOLCK, "No locks available")

if sys.argv[1] == "no_flock":
    fcntl.flock = refuse
folders = [Path(name) for name in sys.argv[2:]]
"""
COUNT = """
counter = folders[0].parent / "counter"
for _ in range(5):
    with locked(folders, lambda holder: None):
        value = int(counter.read_text())
        time.sleep(0.01)
        counter.write_text(str(value + 1))
"""
HOLD = """
with locked(folders, lambda holder: None):
    print("held", flush=True)
    time.sleep(600)
"""
HOLD_WITH_CHILD = """
with locked(folders, lambda holder: None) as descriptors:
    child = subprocess.Popen(["sleep", "600"], pass_fds=descriptors, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    time.sleep(600)
"""
LAYERS = ["flock", "no_flock"]
TIMEOUT_S = 100
"""Only ends a test that hangs."""


def start(program: str, layer: str, *folders: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + program, layer, *map(str, folders)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def holding(
    program: str, layer: str, *folders: Path
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that has the lock, with the first line that it printed."""
    process = start(program, layer, *folders)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def exit_codes(processes: list[subprocess.Popen[str]]) -> list[int]:
    try:
        return [process.wait(TIMEOUT_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(TIMEOUT_S)


def use_layer(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if layer == "no_flock":
        monkeypatch.setattr(fcntl, "flock", raising(errno.ENOLCK))


def raising(number: int) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def tries(folder: Path, times: int = 3) -> bool:
    """Whether the lock is got in a few looks; the first may only break what is dead."""
    lock = FolderLock(folder=folder)
    got = any(lock._try() for _ in range(times))
    if got:
        lock.release()
    return got


def write_lease(folder: Path, *, age_s: float, **changes: object) -> Path:
    lease = folder / ".lease"
    identity = {"token": "theirs", "host": "another", "pid": 1, "started": 0.0, **changes}
    lease.write_text(json.dumps(identity))
    stamp = lease.stat().st_mtime - age_s
    os.utime(lease, (stamp, stamp))
    return lease


@pytest.mark.parametrize("layer", LAYERS)
def test_several_processes_lose_no_update(layer: str, tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    processes = [start(COUNT, layer, tmp_path / "study") for _ in range(4)]
    assert exit_codes(processes) == [0] * 4
    assert (tmp_path / "counter").read_text() == "20"


@pytest.mark.parametrize("layer", LAYERS)
def test_a_living_holder_keeps_us_out_and_is_named(
    layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding(HOLD, layer, tmp_path) as (process, _):
        use_layer(layer, monkeypatch)
        assert not tries(tmp_path)
        assert FolderLock(folder=tmp_path)._holder() == (
            f"process {process.pid} on {socket.gethostname()}"
        )


@pytest.mark.parametrize("layer", LAYERS)
def test_a_holder_that_is_killed_frees_it_at_once(
    layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding(HOLD, layer, tmp_path) as (process, _):
        kill(process)
        use_layer(layer, monkeypatch)
        assert (tmp_path / ".lease").exists()
        assert tries(tmp_path)


def test_it_stays_held_while_a_child_that_inherited_it_outlives_its_killed_parent(
    tmp_path: Path,
) -> None:
    with holding(HOLD_WITH_CHILD, "flock", tmp_path) as (process, child):
        try:
            kill(process)
            assert not tries(tmp_path)
        finally:
            os.kill(int(child), signal.SIGKILL)
        waited = []
        with locked([tmp_path], waited.append):
            pass
        assert tries(tmp_path)


def test_who_waits_is_told_once_for_whom_and_gets_it_afterwards(tmp_path: Path) -> None:
    told: list[str] = []
    with holding(HOLD, "flock", tmp_path) as (process, _):

        def end_the_holder(holder: str) -> None:
            told.append(holder)
            kill(process)

        with locked([tmp_path], end_the_holder):
            assert not tries(tmp_path)
    assert told == [f"process {process.pid} on {socket.gethostname()}"]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_lease_that_another_host_touched_lately_keeps_us_out(
    layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_layer(layer, monkeypatch)
    lease = write_lease(tmp_path, age_s=SILENT_S / 2)
    assert not tries(tmp_path)
    assert json.loads(lease.read_text())["token"] == "theirs"


@pytest.mark.parametrize("layer", LAYERS)
def test_a_lease_of_another_host_that_fell_silent_is_broken(
    layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_layer(layer, monkeypatch)
    write_lease(tmp_path, age_s=SILENT_S * 2)
    assert tries(tmp_path)
    assert not list(tmp_path.glob(".lease*"))


def test_without_flock_a_process_of_the_same_number_that_is_another_one_is_no_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_layer("no_flock", monkeypatch)
    write_lease(tmp_path, age_s=0, host=socket.gethostname(), pid=os.getpid(), started=1.0)
    assert tries(tmp_path)


def test_a_lease_that_is_damaged_is_broken_only_when_it_is_silent(tmp_path: Path) -> None:
    lease = write_lease(tmp_path, age_s=SILENT_S / 2)
    stamp = lease.stat().st_mtime
    lease.write_text("{")
    os.utime(lease, (stamp, stamp))
    assert not tries(tmp_path)
    os.utime(lease, (stamp - SILENT_S, stamp - SILENT_S))
    assert tries(tmp_path)


def test_a_lease_that_changed_hands_while_it_was_judged_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two find the same dead lease; the slower one must not take what the faster one took."""
    write_lease(tmp_path, age_s=SILENT_S * 2)
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        write_lease(tmp_path, age_s=0, token="faster")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    assert not tries(tmp_path, times=1)
    assert json.loads((tmp_path / ".lease").read_text())["token"] == "faster"


def test_releasing_leaves_a_lease_that_is_not_ours(tmp_path: Path) -> None:
    lock = FolderLock(folder=tmp_path)
    lock.acquire(lambda _: None)
    lease = write_lease(tmp_path, age_s=0)
    lock.release()
    assert lease.exists()


def test_a_file_system_without_flock_passes_no_descriptors_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked([tmp_path], lambda _: None) as descriptors:
        assert len(descriptors) == 1
    use_layer("no_flock", monkeypatch)
    with locked([tmp_path], lambda _: None) as descriptors:
        assert descriptors == ()


def test_an_error_of_flock_that_is_not_about_its_absence_is_not_swallowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", raising(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        tries(tmp_path)


@pytest.mark.parametrize("layer", LAYERS)
def test_two_commands_that_name_two_folders_in_other_order_do_not_wait_for_each_other(
    layer: str, tmp_path: Path
) -> None:
    (tmp_path / "counter").write_text("0")
    one, two = tmp_path / "one", tmp_path / "two"
    processes = [start(COUNT, layer, one, two), start(COUNT, layer, two, one)]
    assert exit_codes(processes) == [0, 0]
    assert (tmp_path / "counter").read_text() == "10"


def test_folders_are_locked_in_one_order_whatever_the_order_in_which_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Path] = []
    monkeypatch.setattr(FolderLock, "acquire", lambda self, waiting: taken.append(self.folder))
    one, two = tmp_path / "one", tmp_path / "two"
    for folders in ((one, two), (two, one)):
        with locked(folders, lambda _: None):
            pass
    assert taken == [one, two, one, two]


def test_a_folder_that_is_named_twice_is_locked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "study"
    with locked([folder, Path("study"), folder], lambda _: None) as descriptors:
        assert len(descriptors) == 1


def test_nothing_but_the_lock_file_is_left(tmp_path: Path) -> None:
    with locked([tmp_path], lambda _: None):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
