"""The daemons of a cluster: how each is started, and as whom."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from .plan import LabPlan

_MUNGE_USER = "munge"
NODE_DAEMON = "slurmd."


@dataclass(frozen=True, kw_only=True, slots=True)
class Daemon:
    """A process that stays in the foreground; its output is its log."""

    name: str
    argv: tuple[str, ...]
    user: str | None = None
    hostname: str | None = None
    """Give it a host name of its own, which its jobs see too."""

    environment: dict[str, str] = field(default_factory=dict)


def munged(plan: LabPlan) -> Daemon:
    """Authenticate users to daemons."""
    layout = plan.layout
    argv = (
        "munged",
        "--foreground",
        f"--key-file={layout.munge}/key",
        f"--socket={layout.munge_socket}",
        f"--pid-file={layout.munge}/pid",
        f"--seed-file={layout.munge}/seed",
        "--origin=127.0.0.1",
    )
    return Daemon(name="munged", argv=argv, user=_MUNGE_USER)


def database_installation(plan: LabPlan) -> tuple[str, ...]:
    """Return the command that makes an empty MariaDB."""
    return (
        "mariadb-install-db",
        *_database_settings(plan),
        "--skip-test-db",
        "--skip-name-resolve",
        "--auth-root-authentication-method=socket",
        "--auth-root-socket-user=root",
    )


def mariadbd(plan: LabPlan) -> Daemon:
    """Keep the tables of slurmdbd; only a socket leads to it."""
    layout = plan.layout
    argv = (
        "mariadbd",
        *_database_settings(plan),
        f"--socket={layout.database_socket}",
        f"--pid-file={layout.run}/mariadbd.pid",
        "--skip-networking",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-lock-wait-timeout=900",
    )
    return Daemon(name="mariadbd", argv=argv)


def slurmdbd(plan: LabPlan) -> Daemon:
    """Keep the accounts of the cluster."""
    # libmariadb looks here when slurmdbd asks for localhost.
    environment = {"MYSQL_UNIX_PORT": str(plan.layout.database_socket)}
    return Daemon(name="slurmdbd", argv=("slurmdbd", "-D"), environment=environment)


def slurmctld(plan: LabPlan) -> Daemon:
    """Control the cluster."""
    return Daemon(name="slurmctld", argv=("slurmctld", "-D", "-f", str(plan.layout.slurm_conf)))


def slurmds(plan: LabPlan) -> Iterator[Daemon]:
    """Run the jobs, one daemon per node."""
    for name in plan.options.node_names:
        argv = ("slurmd", "-D", "-N", name, "-f", str(plan.layout.slurm_conf))
        yield Daemon(name=f"{NODE_DAEMON}{name}", argv=argv, hostname=name)


def _database_settings(plan: LabPlan) -> tuple[str, ...]:
    return (
        "--no-defaults",
        # The long form would make mariadb-install-db change the owner of a file of the host.
        "-uroot",
        f"--datadir={plan.layout.database}",
        f"--tmpdir={plan.layout.run}",
        # Nothing in it outlives the lab, so nothing has to survive a power cut.
        "--innodb-flush-method=nosync",
        "--innodb-log-file-size=8M",
        "--innodb-buffer-pool-size=64M",
    )
