"""Where everything of a lab lies. One folder holds all of it."""

import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

USER_NAME = "researcher"
USER_ID = 20001

_DEFAULT_DIRECTORY = "/tmp/launcher-lab"
# A unix socket's path has 107 characters; the longest below the folder needs about 40.
MAX_DIRECTORY_LENGTH = 60


def default_directory() -> Path:
    """Return the folder of the lab that is used by hand."""
    return Path(os.environ.get("LAUNCHER_LAB", _DEFAULT_DIRECTORY)).absolute()


@dataclass(frozen=True, slots=True)
class LabLayout:
    """Names every file of a lab by what it is for."""

    directory: Path

    @property
    def etc(self) -> Path:
        """Configuration: slurm.conf and its companions, hosts, passwd, group."""
        return self.directory / "etc"

    @property
    def slurm_conf(self) -> Path:
        """What SLURM_CONF points to."""
        return self.etc / "slurm.conf"

    @property
    def task_prolog(self) -> Path:
        """Run before each task, where the GPUs are real."""
        return self.etc / "task_prolog"

    @property
    def log(self) -> Path:
        """One log per daemon."""
        return self.directory / "log"

    @property
    def run(self) -> Path:
        """Sockets and process ids."""
        return self.directory / "run"

    @property
    def munge(self) -> Path:
        """Key and socket of munged; the only folder that belongs to its user."""
        return self.directory / "munge"

    @property
    def munge_socket(self) -> Path:
        """Where clients and daemons authenticate."""
        return self.munge / "socket"

    @property
    def database(self) -> Path:
        """Data of MariaDB."""
        return self.directory / "database"

    @property
    def database_socket(self) -> Path:
        """Where slurmdbd finds MariaDB."""
        return self.run / "database.socket"

    @property
    def controller(self) -> Path:
        """State of slurmctld."""
        return self.directory / "controller"

    @property
    def spool(self) -> Path:
        """Spool folders, one per node."""
        return self.directory / "spool"

    @property
    def devices(self) -> Path:
        """The pretended GPUs."""
        return self.directory / "dev"

    @property
    def home(self) -> Path:
        """Home of the ordinary user."""
        return self.directory / "home" / USER_NAME

    @property
    def scratch(self) -> Path:
        """Temporary files of the ordinary user, so that none stay in the host's /tmp."""
        return self.directory / "tmp"

    @property
    def plan(self) -> Path:
        """What was asked for, and the ports that were free."""
        return self.directory / "plan.json"

    @property
    def processes(self) -> Path:
        """Process ids of the warden and the supervisor."""
        return self.run / "processes.json"

    @property
    def lock(self) -> Path:
        """Locked as long as the warden or the supervisor lives."""
        return self.directory / "lock"
