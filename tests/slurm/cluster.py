"""Starts the daemons of a cluster in order, and again if asked to. Runs inside the lab's view."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable

from . import cgroups, daemons, namespaces
from .cgroups import Hierarchy
from .daemons import Daemon
from .errors import LabError
from .plan import LabPlan
from .waiting import wait_until

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DAEMON_TIMEOUT_S = 60.0
_NODES_TIMEOUT_S = 30.0


class Cluster:
    """Knows the daemons of one lab and which of them live."""

    def __init__(self, plan: LabPlan, hierarchies: list[Hierarchy]) -> None:
        """Prepare for a start; nothing runs yet."""
        self._plan = plan
        self._hierarchies = hierarchies
        self._environment = {"PATH": _PATH, "SLURM_CONF": str(plan.layout.slurm_conf)}
        self._daemons: dict[str, Daemon] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start all daemons and return when every node is ready for jobs.

        Raises:
            LabError: A daemon ended or took too long.
        """
        plan = self._plan
        self._spawn(daemons.munged(plan))
        if plan.options.accounting:
            self._start_accounting()
        self._await("munged", plan.layout.munge_socket.exists)
        self._spawn(daemons.slurmctld(plan))
        self._await("slurmctld", lambda: _is_listening(plan.controller_port))
        for daemon in daemons.slurmds(plan):
            self._spawn(daemon)
        wait_until(self._are_nodes_idle, "all nodes are idle", _NODES_TIMEOUT_S)

    def watch(self) -> None:
        """Bury the dead, orphans of jobs included, until a signal handler raises."""
        while True:
            pid, status = os.waitpid(-1, 0)
            for name, process in self._processes.items():
                if process.pid == pid:
                    process.returncode = os.waitstatus_to_exitcode(status)
                    _say(f"{name} ended with {process.returncode}")

    def revive(self) -> None:
        """Start those daemons again that have ended."""
        for name, process in list(self._processes.items()):
            if process.poll() is not None:
                _say(f"{name} is started again")
                self._spawn(self._daemons[name])

    def _start_accounting(self) -> None:
        plan = self._plan
        self._run(daemons.database_installation(plan))
        self._spawn(daemons.mariadbd(plan))
        self._await("mariadbd", plan.layout.database_socket.exists)
        self._spawn(daemons.slurmdbd(plan))
        self._await("slurmdbd", lambda: _is_listening(plan.database_port))

    def _spawn(self, daemon: Daemon) -> None:
        with (self._plan.layout.log / f"{daemon.name}.log").open("ab") as log:
            process = subprocess.Popen(
                daemon.argv,
                env=self._environment | daemon.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._plan.directory,
                user=daemon.user,
                group=daemon.user,
                extra_groups=[] if daemon.user else None,
                start_new_session=True,
                preexec_fn=lambda: self._become_host(daemon),
            )
        self._daemons[daemon.name] = daemon
        self._processes[daemon.name] = process
        (self._plan.layout.run / f"{daemon.name}.ns-pid").write_text(str(process.pid))

    def _become_host(self, daemon: Daemon) -> None:
        if daemon.hostname:
            namespaces.unshare(namespaces.HOSTNAME)
            socket.sethostname(daemon.hostname)
            cgroups.move_into_service(self._hierarchies, daemon.name)

    def _await(self, name: str, is_ready: Callable[[], bool]) -> None:
        def is_reached() -> bool:
            if (code := self._processes[name].poll()) is not None:
                raise LabError(f"`{name}` ended with {code} while it started")
            return is_ready()

        wait_until(is_reached, f"{name} is ready", _DAEMON_TIMEOUT_S)

    def _are_nodes_idle(self) -> bool:
        command = ("sinfo", "--noheader", "--Node", "--partition=gpu", "--format=%T")
        result = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False
        )
        return result.stdout.split() == ["idle"] * self._plan.options.nodes

    def _run(self, command: tuple[str, ...]) -> None:
        result = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise LabError(
                f"`{command[0]}` ended with {result.returncode}",
                where=f"{result.stdout}\n{result.stderr}",
            )


def _is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _say(message: str) -> None:
    sys.stdout.write(f"{message}\n")
    sys.stdout.flush()
