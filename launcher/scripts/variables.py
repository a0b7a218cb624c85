"""Variables of a script, as far as their values are written in it or follow from its directives."""

from __future__ import annotations

import re
from collections.abc import Mapping

from launcher.scripts.asked import Asked
from launcher.scripts.directives import Directives
from launcher.scripts.shell import LITERAL_DOLLAR, tokens

_ASSIGNED = re.compile(r"([A-Za-z_]\w*)(\+?)=(.*)", re.DOTALL)
_USED = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?-([^}]*))?\})")
_ALL = re.compile(r"\$\{(\w+)\[[@*]\]\}")
_DECLARING = ("export", "declare", "readonly", "local", "typeset")


def assignment(word: str) -> tuple[str, str] | None:
    """Name and value of `NAME=value`."""
    found = _ASSIGNED.fullmatch(word)
    return (found.group(1), found.group(3)) if found else None


def slurm_variables(directives: Directives, asked: Asked) -> dict[str, str]:
    """What SLURM sets in a batch script, by the names that scripts use."""
    known = {
        "SLURM_NNODES": asked.nodes,
        "SLURM_JOB_NUM_NODES": asked.nodes,
        "SLURM_NTASKS": asked.ntasks,
        "SLURM_NPROCS": asked.ntasks,
        "SLURM_NTASKS_PER_NODE": asked.tasks_per_node,
        "SLURM_GPUS_ON_NODE": asked.gpus_per_node,
        "SLURM_GPUS_PER_NODE": directives.value("gpus-per-node"),
        "SLURM_CPUS_PER_TASK": asked.cpus_per_task,
        "SLURM_JOB_PARTITION": directives.value("partition"),
    }
    # SLURM leaves these unset where nobody asked for them.
    for name, option in (
        ("SLURM_NTASKS_PER_NODE", "ntasks-per-node"),
        ("SLURM_CPUS_PER_TASK", "cpus-per-task"),
    ):
        if directives.get(option) is None:
            del known[name]
    return {name: str(value) for name, value in known.items() if value is not None}


class Variables:
    """Values of variables at one point of a script."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._values = dict(known)
        self._lists: dict[str, list[str]] = {}
        self.set_by_script: dict[str, tuple[str, int]] = {}
        """Name -> value and line of what the script itself sets."""

    def take(self, words: list[str], line: int) -> list[str]:
        """Learn what a command assigns; the rest of its words, with values filled in."""
        declares = bool(words) and words[0] in _DECLARING
        rest = words[1:] if declares else words
        while rest and (rest[0].startswith("-") if declares else False):
            rest = rest[1:]
        own: dict[str, tuple[str, int]] = {}
        while rest and (found := assignment(rest[0])):
            name, value = found
            if value.startswith("("):
                self._lists[name] = [*self._lists.get(name, []), *self._inner(value)]
            else:
                own[name] = (self.filled(value), line)
            rest = rest[1:]
        self.set_by_script.update(own)
        self._values.update({name: value for name, (value, _) in own.items()})
        return [] if declares else [part for word in rest for part in self._parts(word)]

    def _inner(self, value: str) -> list[str]:
        """Words of an array."""
        inner = tokens(value[1:-1])
        return [self.filled(token.text) for token in inner if not token.is_operator]

    def _parts(self, word: str) -> list[str]:
        whole = _ALL.fullmatch(word)
        if whole and whole.group(1) in self._lists:
            return self._lists[whole.group(1)]
        filled = self.filled(word)
        # A variable that stands alone may hold several words, such as SRUN_ARGS="-N 2 -n 8".
        alone = _USED.fullmatch(word)
        return filled.split() if alone and "$" not in filled else [filled]

    def filled(self, text: str) -> str:
        """Text with the values of the variables in it; unknown ones stay as they are."""

        def value(found: re.Match[str]) -> str:
            name, default = found.group(1) or found.group(2), found.group(3)
            known = self._values.get(name, default)
            return found.group(0) if known is None else known

        return _USED.sub(value, text).replace(LITERAL_DOLLAR, "$")
