"""The outer process of a lab: stays on the host, ends the lab with its owner, then tidies up.

Started by `lifecycle.start` only. If it is killed itself, the supervisor ends the lab.
"""

import argparse
import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from . import cgroups, namespaces
from .layout import REPOSITORY
from .plan import LabPlan, write_record
from .remains import remove_remains

_END_TIMEOUT_S = 15.0


def main() -> None:
    """Live as long as the supervisor and the owner do, or until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--report-fd", type=int, required=True)
    parser.add_argument("--owner-fd", type=int)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    plan = LabPlan.load(arguments.directory)
    with plan.layout.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _guard(plan, arguments.report_fd, arguments.owner_fd, lock.fileno())


def _guard(plan: LabPlan, report_fd: int, owner_fd: int | None, lock_fd: int) -> None:
    hierarchies = cgroups.find_hierarchies()
    keep = cgroups.handed_down(hierarchies)
    try:
        # Not within the lab's namespace, where the host's processes can not be put aside.
        cgroups.create(hierarchies, plan.cgroup)
        with _supervisor(plan, (report_fd, lock_fd), keep) as process:
            os.close(report_fd)
            _write_processes(plan, process.pid)
            _wait_for_any_end(process.pid, owner_fd)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        remove_remains(plan)
        cgroups.take_back(hierarchies, keep)


@contextlib.contextmanager
def _supervisor(
    plan: LabPlan, handles: tuple[int, int], keep: set[str]
) -> Iterator[subprocess.Popen[bytes]]:
    # From here on this process can have only one more child, the first of the new namespace.
    namespaces.unshare(namespaces.PIDS)
    own_fd = os.pidfd_open(os.getpid())
    command = [sys.executable, "-m", f"{__package__}.supervisor", str(plan.directory)]
    command += [f"--report-fd={handles[0]}", f"--warden-fd={own_fd}", f"--keep={' '.join(keep)}"]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, pass_fds=(*handles, own_fd), start_new_session=True
    )
    try:
        yield process
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_supervisor(process)


def _write_processes(plan: LabPlan, supervisor: int) -> None:
    namespace = Path(f"/proc/{supervisor}/ns/pid").stat().st_ino
    record = {"warden": os.getpid(), "supervisor": supervisor, "namespace": namespace}
    write_record(plan.layout.processes, record)


def _wait_for_any_end(supervisor: int, owner_fd: int | None) -> None:
    poll = select.poll()
    poll.register(os.pidfd_open(supervisor), select.POLLIN)
    if owner_fd is not None:
        poll.register(owner_fd, select.POLLIN)
    poll.poll()


def _end_supervisor(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
