"""What a rank itself takes of a node, for another batch, number of ranks and way of loading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launcher.estimates.loaders import STAGES, Loaders, Stage
from launcher.estimates.needs import NONE, Needs
from launcher.estimates.seen import Seen, State
from launcher.estimates.workers import Worker
from launcher.records import Phase

BATCHES_HELD = 2
"""Batches that a rank holds: the one that it works on, and the next."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A run on one node, as far as its memory goes."""

    ranks_per_node: int
    loaders: Loaders
    world_size: int
    """Ranks of all nodes."""
    micro_batch_size: int | None = None
    """None: what was measured."""
    needs: Needs = NONE


@dataclass(frozen=True, kw_only=True)
class Rank:
    """One rank in one phase [GB]."""

    state: State
    """Tensors in host memory; none of a GPU run."""
    exchange_gb: float
    """Gradients once more, as DDP sends them."""
    other_gb: float
    """Python, libraries, the data set, activations."""

    @property
    def whole_gb(self) -> float:
        """All of it."""
        return self.state.all_gb + self.exchange_gb + self.other_gb


def rank_of(
    seen: Sequence[Seen],
    wanted: Wanted,
    phase: Phase,
    workers: Mapping[Stage, Worker],
    process_gb: float,
) -> Rank:
    """The mean over those attempts that load their data most like the wanted run.

    Args:
        seen: Attempts that were measured, at least one.
        wanted: The run in question.
        phase: What it is doing.
        workers: What one of each kind holds, of kinds that were seen.
        process_gb: What the kernel takes for each process.
    """
    known = [one for one in seen if phase in one.phases] or list(seen)
    fewest = min(_unlike(one, wanted) for one in known)
    alike = [one for one in known if _unlike(one, wanted) == fewest]
    points = []
    for one in alike:
        took = phase if phase in one.phases else "train"
        held_gb = one.rank_gb(took, workers, process_gb)
        changes_gb = _loading_gb(one, wanted, workers) + _changes_gb(one, wanted)
        points.append((one.micro_batch_size, held_gb + changes_gb))
    whole = _at_batch(points, alike, wanted.micro_batch_size)
    state = State() if alike[0].has_gpu else alike[0].state
    exchange_gb = state.gradients_gb if wanted.world_size > 1 else 0.0
    return Rank(
        state=state,
        exchange_gb=exchange_gb,
        other_gb=max(whole - state.all_gb - exchange_gb, 0.0),
    )


def _inline(loaders: Loaders) -> set[Stage]:
    """What a rank loads itself, having no workers for it."""
    return {stage for stage in STAGES if not loaders.count(stage)}


def _unlike(one: Seen, wanted: Wanted) -> int:
    return len(_inline(one.loaders) ^ _inline(wanted.loaders))


def _loading_gb(one: Seen, wanted: Wanted, workers: Mapping[Stage, Worker]) -> float:
    """By how much the rank differs because it loads itself what workers loaded, or they now do.

    It takes over memory and batch of one worker. What it loaded itself stays counted, since
    nobody saw how much that was.
    """
    micro = wanted.micro_batch_size or one.micro_batch_size
    was, will = _inline(one.loaders), _inline(wanted.loaders)
    moved = [workers[stage] for stage in will - was if stage in workers]
    changes_gb = sum(worker.own_gb + worker.sample_gb * micro for worker in moved)
    changes_gb -= sum(one.kept_gb[stage] for stage in will - was)
    return changes_gb + sum(one.kept_gb[stage] for stage in was - will)


def _changes_gb(one: Seen, wanted: Wanted) -> float:
    """By how much the rank differs because shape and declared needs do."""
    changes_gb = -one.needs.rank_gb
    if not one.has_gpu:
        changes_gb += one.state.gradients_gb * ((wanted.world_size > 1) - (one.world_size > 1))
    return changes_gb


def _at_batch(
    points: Sequence[tuple[int, float]], seen: Sequence[Seen], micro_batch_size: int | None
) -> float:
    """A rank with a micro-batch, by what it held with others.

    What a rank holds of a batch besides its tensors shows only where several sizes were measured:
    on CPU all activations, with a GPU next to nothing. Far from what was measured the differences
    of two close ones mean little.
    """
    mean_gb = sum(gb for _, gb in points) / len(points)
    mean_n = sum(n for n, _ in points) / len(points)
    if micro_batch_size is None:
        return mean_gb
    slope = BATCHES_HELD * max(gb for one in seen for gb in [0.0, *one.sample_gb.values()])
    least, most = min(n for n, _ in points), max(n for n, _ in points)
    if most >= 2 * least and micro_batch_size <= 2 * most - least:
        spread = sum((n - mean_n) ** 2 for n, _ in points)
        slope = max(sum((n - mean_n) * (gb - mean_gb) for n, gb in points) / spread, slope)
    return max(mean_gb + slope * (micro_batch_size - mean_n), 0.0)
