"""Processes that read ahead for a training."""

from __future__ import annotations

import os

NICENESS = 5


def give_way(_: int) -> None:
    """Let the process that launches work on a GPU go first on a node whose cores are all busy.

    A rank that its own workers hold up by milliseconds holds up all ranks. What workers do in
    cores that are idle takes as long as before.
    """
    os.nice(NICENESS)
