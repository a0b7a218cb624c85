"""How squeue and sacct are asked, and how their answers are read. Pure."""

from collections.abc import Container, Iterable, Sequence

Row = dict[str, str]

# No field of SLURM holds this character.
_SEPARATOR = "\x1f"

_SQUEUE_FIELDS = {
    "id": "%i",
    "base_id": "%F",
    "raw_id": "%A",
    "task": "%K",
    "partition": "%P",
    "name": "%j",
    "user": "%u",
    "state": "%T",
    "reason": "%r",
    "nodes": "%N",
    "dependency": "%E",
    "comment": "%k",
}
SACCT_FIELDS = ("JobID", "JobIDRaw", "JobName", "Partition", "State", "ExitCode", "NodeList")

_TERMINAL_STATES = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}


def squeue_command() -> list[str]:
    """Ask for all jobs, also those that ended within the last minutes; one line per element."""
    layout = _SEPARATOR.join(_SQUEUE_FIELDS.values())
    return ["squeue", "--noheader", "--all", "--array", "--states=all", f"--format={layout}"]


def parse_squeue(text: str) -> list[Row]:
    """Read the answer to `squeue_command`."""
    return _parse(text, list(_SQUEUE_FIELDS))


def sacct_command(job_ids: Iterable[str], fields: Sequence[str], *, with_lives: bool) -> list[str]:
    """Ask for jobs, their array elements and steps; `with_lives` adds those before a requeue."""
    options = [
        "--noheader",
        "--parsable2",
        f"--delimiter={_SEPARATOR}",
        f"--jobs={','.join(job_ids)}",
    ]
    lives = ["--duplicates"] if with_lives else []
    return ["sacct", *options, *lives, f"--format={','.join(fields)}"]


def parse_sacct(text: str, fields: Sequence[str]) -> list[Row]:
    """Read the answer to `sacct_command`."""
    return _parse(text, fields)


def is_terminal(state: str) -> bool:
    """Tell whether a job in this state is done with ("CANCELLED by 0" is such a state)."""
    return state.partition(" ")[0] in _TERMINAL_STATES


def select(queue: Iterable[Row], job_ids: Container[str]) -> list[Row]:
    """Pick jobs, arrays with all their elements, or single elements from the answer of squeue."""
    names = ("id", "base_id", "raw_id")
    return [row for row in queue if any(row[name] in job_ids for name in names)]


def have_ended_in_accounts(queue: Iterable[Row], accounts: Iterable[Row]) -> bool:
    """Tell whether the accounts know of the end of each job of the queue.

    slurmctld sends the begin of a job up to 5 s late. A job that ended before has a row without
    a partition and with a wrong name until then, and its array elements have none.
    """
    ended = {row["JobIDRaw"] for row in accounts if row["Partition"] and is_terminal(row["State"])}
    return all(row["raw_id"] in ended for row in queue)


def _parse(text: str, names: Sequence[str]) -> list[Row]:
    lines = (line.split(_SEPARATOR) for line in text.splitlines() if line)
    return [dict(zip(names, line, strict=True)) for line in lines]
