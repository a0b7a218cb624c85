"""The plan of one lab: options, ports and names, written before anything starts."""

import hashlib
import json
import random
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from .controllers import LAB_PREFIX
from .errors import LabError
from .layout import MAX_DIRECTORY_LENGTH, LabLayout
from .options import LabOptions

READY = "ready"
"""What the supervisor reports when the lab is up."""

# Below the range that Linux hands out to clients, so that no client takes a port meanwhile.
_PORTS = range(20_000, 32_000)
_ATTEMPTS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class LabPlan:
    """Everything that the processes of a lab have to agree on."""

    directory: Path
    options: LabOptions
    first_port: int
    """slurmctld, slurmdbd, then one slurmd after the other."""

    throw_away: bool
    """Remove the folder with the lab."""

    @property
    def layout(self) -> LabLayout:
        """Return where its files are."""
        return LabLayout(self.directory)

    @property
    def controller_port(self) -> int:
        """Return the port of slurmctld."""
        return self.first_port

    @property
    def database_port(self) -> int:
        """Return the port of slurmdbd."""
        return self.first_port + 1

    def node_port(self, index: int) -> int:
        """Return the port of the slurmd of one node."""
        return self.first_port + 2 + index

    @property
    def cgroup(self) -> str:
        """Name the lab's own cgroup; it follows from the folder, so that remains can be found."""
        digest = hashlib.sha256(str(self.directory).encode()).hexdigest()
        return f"{LAB_PREFIX}{digest[:10]}"

    def save(self) -> None:
        """Write the plan where `load` finds it."""
        write_record(self.layout.plan, asdict(self) | {"directory": str(self.directory)})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the plan of a lab that was started earlier."""
        record = json.loads(LabLayout(directory).plan.read_text())
        options = record["options"]
        options |= {key: tuple(options[key]) for key in ("extra_conf", "expose")}
        return cls(
            directory=Path(record["directory"]),
            options=LabOptions(**options),
            first_port=record["first_port"],
            throw_away=record["throw_away"],
        )


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write JSON that nobody sees half of."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(record, indent=2))
    draft.replace(path)


def make_plan(directory: Path, options: LabOptions, *, throw_away: bool) -> LabPlan:
    """Choose what the options leave open.

    Raises:
        LabError: The folder's path is too long for sockets, or no ports are free.
    """
    if len(str(directory)) > MAX_DIRECTORY_LENGTH:
        raise LabError(
            f"the path of the lab has more than {MAX_DIRECTORY_LENGTH} characters",
            where=f"`{directory}`",
            hint="unix sockets need a short one: export LAUNCHER_LAB=/tmp/lab",
        )
    first_port = _find_ports(options.nodes + 2)
    return LabPlan(
        directory=directory, options=options, first_port=first_port, throw_away=throw_away
    )


def _find_ports(count: int) -> int:
    # Two labs that start at once should not try the same ports first.
    for _ in range(_ATTEMPTS):
        first = random.choice(_PORTS[:-count])
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise LabError(f"no {count} free ports in a row", where=f"{_PORTS.start}-{_PORTS.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        try:
            candidate.bind(("", port))
        except OSError:
            return False
    return True
