"""Nothing of a lab is left on the machine, however it ends."""

import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm import Lab, LabError, LabOptions, start, stop, temporary_lab
from tests.slurm.cgroups import find_hierarchies
from tests.slurm.layout import REPOSITORY, LabLayout
from tests.slurm.lifecycle import is_up
from tests.slurm.waiting import wait_until

pytestmark = pytest.mark.usefixtures("permit_slurm")

_SMALL = LabOptions(nodes=2, accounting=False)
_END_S = 20.0
_START_AND_SLEEP = """
import sys, time
from pathlib import Path
from tests.slurm import LabOptions, start
lab = start(Path(sys.argv[1]), LabOptions(nodes=2, accounting=False))
lab.sbatch("sleep 600")
print("up", flush=True)
time.sleep(600)
"""


@dataclasses.dataclass(frozen=True)
class Trace:
    """What the host would show of a lab."""

    directory: Path
    cgroup: str
    namespace: int
    system_files: dict[str, bytes]
    mounts: str

    @classmethod
    def of(cls, directory: Path) -> "Trace":
        """Look at a lab that is up."""
        lab = Lab(directory)
        return cls(
            directory,
            lab.plan.cgroup,
            lab.processes["namespace"],
            _system_files(),
            Path("/proc/self/mountinfo").read_text(),
        )

    def processes(self) -> list[int]:
        """List the processes in its namespace, and the outer ones that name its folder."""
        return [
            int(path.name)
            for path in Path("/proc").glob("[0-9]*")
            if int(path.name) != os.getpid() and self._owns(path)
        ]

    def cgroups(self) -> list[Path]:
        """List its folders."""
        tops = [hierarchy.root / self.cgroup for hierarchy in find_hierarchies()]
        return [top for top in tops if top.exists()]

    def assert_gone(self) -> None:
        """Wait a little, for an end takes time, then look at everything."""
        wait_until(lambda: not self.processes(), f"no process is left of {self}", _END_S)
        wait_until(lambda: not self.cgroups(), f"no cgroup is left of {self}", _END_S)
        wait_until(lambda: not self.directory.exists(), f"no file is left of {self}", _END_S)
        assert _system_files() == self.system_files
        assert Path("/proc/self/mountinfo").read_text() == self.mounts

    def _owns(self, process: Path) -> bool:
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            namespace = (process / "ns/pid").stat().st_ino
        except OSError:
            return False
        return namespace == self.namespace or str(self.directory) in command


def _system_files() -> dict[str, bytes]:
    return {name: Path("/etc", name).read_bytes() for name in ("hosts", "passwd", "group")}


@pytest.fixture(name="directory")
def _directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="lab-"))
    yield path
    stop(path)


@pytest.fixture(name="owner")
def _owner(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run another process that has started a lab in the folder."""
    command = (sys.executable, "-c", _START_AND_SLEEP, str(directory))
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_lab_that_is_stopped_leaves_nothing(directory: Path) -> None:
    lab = start(directory, _SMALL)
    trace = Trace.of(directory)
    lab.sbatch("sleep 600")
    wait_until(lambda: lab.squeue()[0]["state"] == "RUNNING", "the job runs", _END_S)
    assert len(trace.processes()) > 5
    assert trace.cgroups()
    stop(directory)
    trace.assert_gone()


@pytest.mark.parametrize("victim", ["supervisor", "warden"])
def test_killed_part_leaves_nothing(directory: Path, victim: str) -> None:
    lab = start(directory, _SMALL)
    trace = Trace.of(directory)
    lab.sbatch("sleep 600")
    os.kill(lab.processes[victim], signal.SIGKILL)
    # This process is the warden's parent, so it has to bury it.
    wait_until(lambda: not is_up(directory), "the lab is down", _END_S)
    stop(directory)
    trace.assert_gone()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_lab_ends_with_its_owner(
    directory: Path, owner: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert owner.stdout is not None
    assert owner.stdout.readline() == "up\n"
    trace = Trace.of(directory)
    owner.send_signal(number)
    owner.wait(_END_S)
    trace.assert_gone()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.3])
def test_lab_ends_with_its_owner_during_the_start(
    directory: Path, owner: subprocess.Popen[str], number: signal.Signals, delay_s: float
) -> None:
    wait_until(LabLayout(directory).processes.exists, "the supervisor lives", _END_S)
    time.sleep(delay_s)
    trace = Trace.of(directory)
    owner.send_signal(number)
    owner.wait(_END_S)
    trace.assert_gone()


def test_failed_start_tells_why_and_leaves_nothing(directory: Path) -> None:
    broken = dataclasses.replace(_SMALL, extra_conf=("NoSuchKey=1",))
    with pytest.raises(LabError, match="NoSuchKey"):
        start(directory, broken)
    assert not directory.exists()
    assert not is_up(directory)


def test_folder_with_something_else_is_not_touched(directory: Path) -> None:
    (directory / "thesis.tex").touch()
    with pytest.raises(LabError, match="is no lab"):
        start(directory, _SMALL)
    assert (directory / "thesis.tex").exists()
    (directory / "thesis.tex").unlink()


def test_two_labs_do_not_disturb_each_other() -> None:
    with temporary_lab(_SMALL) as first:
        job = first.sbatch("sleep 2; hostname")
        with temporary_lab(_SMALL) as second:
            other = second.sbatch("hostname")
            second.wait(other)
        first.wait(job)
        assert (first.home / f"slurm-{job}.out").read_text() == "gl001\n"
