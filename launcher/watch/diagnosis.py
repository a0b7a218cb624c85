"""Which ranks keep the others waiting, and the likely cause, from their signs of life. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from launcher.beats import LEFT, REACHED, Beat
from launcher.watch.movement import BUSY


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is wrong."""

    error: str
    """One line."""
    details: list[str]
    """Further lines: evidence, likely cause, what to do."""
    missing: list[str]
    """Ranks that did not join, or fell behind, e.g. `rank 3 on gl002`."""

    @property
    def text(self) -> str:
        """All of it."""
        return "\n  ".join([self.error, *self.details])


@dataclass(frozen=True, kw_only=True)
class Roll:
    """Who belongs to an attempt, and who gave which sign of life when."""

    nodes: Sequence[str]
    """Nodes in the order of the ranks."""
    ranks_per_node: int
    world_size: int
    beats: Mapping[int, Beat]
    ages_s: Mapping[int, float]
    """How old each beat is [s]."""
    silent_after_s: float
    """A beat that is older is no sign of life."""

    @property
    def unseen(self) -> list[int]:
        """Ranks that never gave a sign of life."""
        return [rank for rank in range(self.world_size) if rank not in self.beats]

    @property
    def left(self) -> list[int]:
        """Ranks that reached their end."""
        return [rank for rank, beat in sorted(self.beats.items()) if beat.phase == LEFT]

    @property
    def silent(self) -> list[int]:
        """Ranks that gave signs of life, and no more."""
        late = [rank for rank, age_s in sorted(self.ages_s.items()) if age_s > self.silent_after_s]
        return [rank for rank in late if self.beats[rank].phase != LEFT]

    @property
    def alive(self) -> list[int]:
        """All others."""
        others = {*self.left, *self.silent}
        return [rank for rank in sorted(self.beats) if rank not in others]

    @property
    def waiting(self) -> list[int]:
        """Ranks that wait in the rendezvous."""
        return [rank for rank in self.alive if self.beats[rank].phase == "rendezvous"]

    @property
    def absent(self) -> list[int]:
        """Ranks that do not."""
        waiting = set(self.waiting)
        return [rank for rank in range(self.world_size) if rank not in waiting]

    @property
    def busy(self) -> list[int]:
        """Ranks that work."""
        return [rank for rank in self.alive if self.beats[rank].busy > BUSY]

    def node(self, rank: int) -> str:
        """Node of a rank, as it says itself, else as ranks are laid out."""
        if rank in self.beats:
            return self.beats[rank].host
        return self.nodes[min(rank // self.ranks_per_node, len(self.nodes) - 1)]

    def name(self, rank: int) -> str:
        """E.g. `rank 3 on gl002`."""
        return f"rank {rank} on {self.node(rank)}"

    def names(self, ranks: Iterable[int]) -> str:
        """E.g. `ranks 2, 3 on gl002; rank 5 on gl003`."""
        parts = []
        for node, group in groupby(sorted(ranks), self.node):
            listed = list(group)
            word = "rank" if len(listed) == 1 else "ranks"
            parts.append(f"{word} {', '.join(map(str, listed))} on {node}")
        return "; ".join(parts)


def mismatch(started: int, wanted: int) -> Finding:
    """Not as many ranks were started as the run has."""
    return Finding(
        error=f"SLURM started {started} tasks, the run has {wanted} ranks:"
        " ntasks and devices disagree",
        details=[
            "hint: set neither ntasks nor tasks_per_node (also not in additional_parameters or"
            " srun_args); both follow from hydra.launcher.resources"
        ],
        missing=[],
    )


def unresolved(host: str, reason: str) -> Finding:
    """The address of rank 0 means nothing on this node."""
    return Finding(
        error=f"the address of rank 0, `{host}`, does not resolve here: {reason}",
        details=[
            f"hint: try `getent hosts {host}` on this node; the name must be in /etc/hosts or in"
            " the DNS that /etc/resolv.conf names"
        ],
        missing=[],
    )


def rendezvous(
    roll: Roll,
    *,
    timeout_s: float,
    folder: str,
) -> Finding:
    """Ranks waited for each other in vain.

    Args:
        roll: Who gave a sign of life.
        timeout_s: How long they waited.
        folder: Folder of the run, which all nodes must share.
    """
    busy = [rank for rank in roll.alive if rank not in roll.waiting]
    details = []
    if roll.unseen:
        details += [
            f"no sign of life ever: {roll.names(roll.unseen)}",
            f"  likely cause: the task never started there, or `{folder}` is not shared with it",
        ]
    details += _silent(roll) + _left(roll)
    details += [
        f"not there yet: {roll.name(rank)}, {roll.beats[rank].phase} since"
        f" {roll.beats[rank].since}{_place(roll.beats[rank])}"
        for rank in busy
    ]
    if busy:
        details.append(
            "hint: ranks that prepare something first need a longer"
            " hydra.launcher.recovery.rendezvous_timeout_s"
        )
    if roll.absent:
        who = f"{roll.names(roll.absent)} did not join"
    else:
        who = "all ranks are there, but they did not find each other"
        details += _advice(roll)
    return Finding(
        error=f"{who} within {timeout_s:g} s"
        f" ({len(roll.waiting)} of {roll.world_size} ranks wait in the rendezvous)",
        details=details,
        missing=[roll.name(rank) for rank in [*roll.unseen, *roll.silent]],
    )


def _advice(roll: Roll) -> list[str]:
    """All ranks are there: what calling rank 0 showed, and where to look."""
    called: dict[str, list[int]] = {}
    for rank in roll.waiting:
        if (connection := roll.beats[rank].connection) is not None:
            called.setdefault(connection, []).append(rank)
    failed = {found: ranks for found, ranks in called.items() if not found.endswith(REACHED)}
    shown = [f"{found} from {roll.names(ranks)}" for found, ranks in (failed or called).items()]
    if failed:
        why = "the port is blocked between the nodes, or the name leads to a wrong interface"
    else:
        why = "ranks may talk through a wrong interface"
    return [
        *shown,
        f"likely cause: {why}; set NCCL_SOCKET_IFNAME (GPU) or GLOO_SOCKET_IFNAME (CPU) in"
        " hydra.launcher.cluster.setup",
    ]


def hang(
    roll: Roll, *, silence_s: float, usual_s: float | None, phase: str, step: int | None
) -> Finding:
    """A rank made no progress for long."""
    usual = "" if usual_s is None else f" (usually {_seconds(usual_s)})"
    since = f"since step {step}" if step is not None else f"in {phase}"
    suspects, why = _suspects(roll)
    return Finding(
        error=f"no step for {_seconds(silence_s)}{usual} {since}; {why}",
        details=[
            *(f"{roll.name(rank)}: {_where(roll, rank)}" for rank in sorted(roll.beats)),
            "hint: hydra.launcher.recovery.hang_min_s=... gives slow parts more time",
        ],
        missing=[roll.name(rank) for rank in suspects],
    )


def _suspects(roll: Roll) -> tuple[list[int], str]:
    """Ranks that the others wait for, and how that is known; the strongest sign counts."""
    if roll.silent:
        return roll.silent, _silent(roll)[0]
    if roll.left and roll.alive:
        return roll.left, _left(roll)[0]
    steps = {rank: beat.step for rank, beat in roll.beats.items() if beat.step is not None}
    behind = [rank for rank in sorted(steps) if steps[rank] < max(steps.values())]
    if behind:
        places = (
            f"{roll.name(r)} is behind at step {steps[r]} in {roll.beats[r].phase}"
            f"{_place(roll.beats[r])}"
            for r in behind
        )
        return behind, ", ".join(places)
    functions = {rank: roll.beats[rank].at.partition(" ")[0] for rank in roll.alive}
    usual, count = Counter(functions.values()).most_common(1)[0] if functions else ("", 0)
    odd = [rank for rank in roll.alive if functions[rank] != usual]
    if odd and count > len(odd):
        places = (f"{roll.name(r)} is in {roll.beats[r].at}" for r in odd)
        return odd, f"{', '.join(places)}, the others in {usual}"
    if not functions:
        return [], "its stacks say where"
    if odd:
        return [], "ranks are at different places"
    place = roll.beats[roll.alive[0]].at
    return [], f"all ranks are in {place}" if len(functions) > 1 else f"it is in {place}"


def _silent(roll: Roll) -> list[str]:
    if not roll.silent:
        return []
    age_s = min(roll.ages_s[rank] for rank in roll.silent)
    return [
        f"{roll.names(roll.silent)} gave no sign of life for {_seconds(age_s)}"
        " (its node is gone, or the process is stopped, or a call does not let Python go on)"
    ]


def _left(roll: Roll) -> list[str]:
    if not roll.left:
        return []
    return [f"{roll.names(roll.left)} left already and the others wait for it"]


def _where(roll: Roll, rank: int) -> str:
    beat = roll.beats[rank]
    step = "" if beat.step is None else f" step {beat.step}"
    return f"{beat.phase}{step}{_place(beat)}, seen {_seconds(roll.ages_s[rank])} ago"


def _place(beat: Beat) -> str:
    return f", in {beat.at}" if beat.at else ""


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def overdue(signal: str, waited_s: float, phase: str, step: int | None, at: str) -> Finding:
    """A task goes on long after it was asked to stop."""
    where = phase if step is None else f"{phase}, step {step}"
    return Finding(
        error=f"the task did not stop within {waited_s:.0f} s after {signal}; it was ended",
        details=[
            f"it was in {where}" + (f", in {at}" if at else ""),
            "hint: let `RunStopped` (a SystemExit) pass, call `context.raise_if_stopping()` in"
            " long loops of your own, or raise hydra.launcher.recovery.stop_grace_s",
        ],
        missing=[],
    )
