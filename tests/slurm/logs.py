"""Reads the ends of the daemons' logs, for messages."""

from .layout import LabLayout

_NUM_LINES = 15
_MAX_CHARACTERS = 6_000


def log_tails(layout: LabLayout, num_lines: int = _NUM_LINES) -> str:
    """Join the last lines of every log under its name."""
    return "\n".join(
        f"--- {path.name}\n{_tail(path.read_text(errors='replace'), num_lines)}"
        for path in sorted(layout.log.glob("*.log"))
    )


def _tail(text: str, num_lines: int) -> str:
    # Every daemon complains of a library for MPI, which the lab does without.
    lines = [line for line in text.splitlines() if "mpi/pmix" not in line]
    return "\n".join(lines[-num_lines:])[-_MAX_CHARACTERS:]
