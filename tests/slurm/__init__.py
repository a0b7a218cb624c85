"""A throw-away SLURM cluster on one machine, for tests and for trying things by hand."""

from .errors import CommandFailedError, LabError
from .lab import Lab
from .lifecycle import is_up, start, stop, temporary_lab
from .options import LabOptions
from .requirements import why_not

__all__ = [
    "CommandFailedError",
    "Lab",
    "LabError",
    "LabOptions",
    "is_up",
    "start",
    "stop",
    "temporary_lab",
    "why_not",
]
