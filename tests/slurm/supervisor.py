"""The first process of a lab's PID namespace: with it, the kernel ends all others.

Started by the warden only. SIGTERM ends the lab, SIGHUP starts dead daemons again.
"""

import argparse
import contextlib
import os
import select
import signal
import sys
from pathlib import Path

from . import cgroups, namespaces
from .cgroups import Hierarchy
from .cluster import Cluster
from .errors import LabError
from .furnishing import furnish
from .logs import log_tails
from .plan import READY, LabPlan
from .remains import remove_folder
from .view import enter_view

_REMOVAL_TIMEOUT_S = 2.0


def main() -> None:
    """Live until SIGTERM, which comes from the warden or because the warden is gone."""
    if os.getpid() != 1:
        # The end of this process kills all that it sees, which must not be the whole machine.
        raise SystemExit("the supervisor is started by `python -m tests.slurm up`")
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--report-fd", type=int, required=True)
    parser.add_argument("--warden-fd", type=int, required=True)
    parser.add_argument("--keep", default="", help="controllers that were handed down before")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    namespaces.die_with_parent(signal.SIGTERM)
    if select.select([arguments.warden_fd], [], [], 0)[0]:
        sys.exit("the warden ended before its end could be noticed")
    keep = set(arguments.keep.split())
    _supervise(LabPlan.load(arguments.directory), arguments.report_fd, keep)


def _supervise(plan: LabPlan, report_fd: int, keep: set[str]) -> None:
    hierarchies: list[Hierarchy] = []
    try:
        hierarchies += enter_view(plan)
        cluster = _start(plan, hierarchies, report_fd)
        signal.signal(signal.SIGHUP, lambda *_: cluster.revive())
        cluster.watch()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end(plan, hierarchies, keep)


def _start(plan: LabPlan, hierarchies: list[Hierarchy], report_fd: int) -> Cluster:
    # If the starter is gone, the report breaks, and the lab ends.
    with os.fdopen(report_fd, "w") as report:
        try:
            furnish(plan, hierarchies[0].version)
            cluster = Cluster(plan, hierarchies)
            cluster.start()
        except (LabError, OSError) as error:
            report.write(f"{error}\n{log_tails(plan.layout)}")
            raise
        report.write(READY)
    return cluster


def _end(plan: LabPlan, hierarchies: list[Hierarchy], keep: set[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    # The warden does the rest again, but it may be gone.
    cgroups.move_out(hierarchies)
    cgroups.remove(hierarchies, plan.cgroup, _REMOVAL_TIMEOUT_S)
    cgroups.take_back(hierarchies, keep)
    if plan.throw_away:
        remove_folder(plan.directory)


if __name__ == "__main__":
    main()
