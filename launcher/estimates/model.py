"""Host memory of a node, predicted from attempts that were measured.

    node = ranks x (rank + workers x worker + val_workers x val_worker) + kernel x processes

in the phase in which that is most, for the workers that live in it. Each attempt gives all terms
(`launcher.estimates.apart`). Of several attempts the mean counts, and for the rank those that
load their data as the wanted run does: in workers, or in the rank itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from launcher.estimates.apart import apart
from launcher.estimates.budget import Budget, Row
from launcher.estimates.loaders import STAGES, Loaders, Stage
from launcher.estimates.needs import NONE, Needs
from launcher.estimates.ranks import Rank, Wanted, rank_of
from launcher.estimates.seen import Seen
from launcher.estimates.workers import Worker, own_gb
from launcher.measures import Measure
from launcher.records import Phase

NAMES: dict[Stage, str] = {"train": "training", "validate": "validation"}
MOST = 8
"""Attempts that count, the newest; older ones ran older code."""


def fit(
    measures: Sequence[Measure], needs: Callable[[Measure], Needs] | None = None
) -> MemoryModel | None:
    """The model of runs that were measured, newest first; None where none of them trained.

    Args:
        measures: Attempts of one profile.
        needs: What the config of an attempt was declared to need.
    """
    found = (apart(measure, needs(measure) if needs else NONE) for measure in measures)
    seen = [one for one in found if one is not None]
    # One that ran out of memory shows less than it needs.
    whole = [one for one in seen if not one.is_cut_short] or seen
    return MemoryModel(tuple(whole[:MOST])) if whole else None


@dataclass(frozen=True)
class MemoryModel:
    """What ranks, workers and the kernel take, as some attempts show."""

    seen: tuple[Seen, ...]
    """Newest first; at least one."""

    def predict(
        self,
        ranks_per_node: int,
        loaders: Loaders,
        micro_batch_size: int | None = None,
        *,
        world_size: int | None = None,
        needs: Needs = NONE,
        margin: float = 0.1,
    ) -> Budget:
        """What a node needs in the phase in which it needs most.

        Args:
            ranks_per_node: Training processes of the node.
            loaders: Dataloader workers of each.
            micro_batch_size: Samples that a rank holds at once; None: as measured.
            world_size: Training processes in all; None: those of the node.
            needs: What the config is declared to need.
            margin: What is added for what was not seen, as a share.
        """
        wanted = Wanted(
            ranks_per_node=ranks_per_node,
            loaders=loaders,
            world_size=world_size or ranks_per_node,
            micro_batch_size=micro_batch_size,
            needs=needs,
        )
        return self.budget(wanted, margin)

    def budget(self, wanted: Wanted, margin: float = 0.1) -> Budget:
        """The same for a question in one piece."""
        return max(self.budgets(wanted, margin), key=lambda budget: budget.peak_gb)

    def budgets(self, wanted: Wanted, margin: float = 0.1) -> list[Budget]:
        """What a node needs in each phase."""
        seen = dict.fromkeys(phase for one in self.seen for phase in one.phases)
        # A validation comes some day, though nobody saw one.
        phases: list[Phase] = list(dict.fromkeys([*seen, "validate"]))
        return [self._budget(wanted, phase, margin) for phase in phases]

    def _budget(self, wanted: Wanted, phase: Phase, margin: float) -> Budget:
        ranks, loaders = wanted.ranks_per_node, wanted.loaders
        alive = [self._alive(stage, phase, loaders) for stage in STAGES]
        rank = rank_of(self.seen, wanted, phase, self.workers, self.process_gb)
        kinds = [self._kind(stage, n, wanted, rank) for stage, n in zip(STAGES, alive, strict=True)]
        assumed = [kind.assumed for kind in kinds]
        if not any("validate" in one.phases for one in self.seen):
            assumed.append("nobody saw it validate")
        if not any(one.knows_kernel for one in self.seen):
            assumed.append("no cgroup told what the kernel takes")
        processes = ranks * (1 + sum(alive))
        rows = [
            *_rank_rows(rank, wanted),
            *(kind.row for kind in kinds),
            Row(what="batches in flight", gb=sum(kind.flying_gb for kind in kinds)),
            *_declared(wanted.needs, ranks, sum(alive)),
            Row(what="kernel", gb=processes * self.process_gb, note=f"{processes} processes"),
        ]
        return Budget(
            rows=tuple(row for row in rows if row.gb > 0),
            phase=phase,
            margin=margin,
            basis=self._basis(assumed),
            guessed_gb=sum(kind.row.gb for kind in kinds if kind.is_guess),
            is_lower_bound=any(one.is_cut_short for one in self.seen),
        )

    @cached_property
    def process_gb(self) -> float:
        """What the kernel takes for a process."""
        known = [one.process_gb for one in self.seen if one.knows_kernel]
        known = known or [one.process_gb for one in self.seen]
        return sum(known) / len(known)

    def _alive(self, stage: Stage, phase: Phase, loaders: Loaders) -> int:
        """Workers of a rank that serve `stage` and live in `phase`: all, unless none was seen."""
        count = loaders.count(stage)
        seen = [
            lives
            for one in self.seen
            if loaders.is_persistent in (None, one.loaders.is_persistent)
            and (lives := one.lives(stage, phase)) is not None
        ]
        return count if not seen or any(seen) else 0

    @cached_property
    def workers(self) -> dict[Stage, Worker]:
        """What a worker of each kind holds, of kinds that were seen."""
        held = own_gb([look for one in self.seen for look in one.worker_looks])
        return {
            stage: Worker(
                own_gb=gb,
                in_flight=_mean(
                    [one.in_flight[stage] for one in self.seen if stage in one.in_flight]
                ),
                sample_gb=_mean(
                    [one.sample_gb[stage] for one in self.seen if stage in one.sample_gb]
                ),
            )
            for stage, gb in held.items()
        }

    def _micro(self, wanted: Wanted) -> int:
        return wanted.micro_batch_size or self.seen[0].micro_batch_size

    def _kind(self, stage: Stage, count: int, wanted: Wanted, rank: Rank) -> _Kind:
        """Workers of one kind on the node, `count` of each rank."""
        worker, assumed = self.workers.get(stage), ""
        if worker is None and (worker := self.workers.get(_other(stage))) is not None:
            assumed = f"a {NAMES[stage]} worker is taken to need as much as one of the other kind"
        is_guess = worker is None
        if worker is None:
            # All pages of its rank that it may come to copy.
            worker = Worker(own_gb=rank.whole_gb)
            assumed = "no worker was measured: each is taken to copy all that its rank holds"
        ranks = wanted.ranks_per_node
        return _Kind(
            row=Row(
                what=f"{NAMES[stage]} workers",
                gb=ranks * count * worker.own_gb,
                note=f"{ranks} x {count} x {worker.own_gb:.3f} GB",
            ),
            flying_gb=ranks * count * worker.in_flight * worker.sample_gb * self._micro(wanted),
            assumed=assumed if count else "",
            is_guess=is_guess,
        )

    def _basis(self, assumed: Iterable[str]) -> str:
        """Which measurements it rests on, and what nobody measured."""
        first, more = self.seen[0], len(self.seen) - 1
        said = f"measured: {first.label}" + (f", and {more} more" if more else "")
        if first.is_cut_short:
            said += ", which ran out of memory: at least"
        return "; ".join([said, *dict.fromkeys(text for text in assumed if text)])


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """The workers of one kind on a node."""

    row: Row
    flying_gb: float
    assumed: str
    is_guess: bool


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _other(stage: Stage) -> Stage:
    return "validate" if stage == "train" else "train"


def _rank_rows(rank: Rank, wanted: Wanted) -> list[Row]:
    ranks = wanted.ranks_per_node
    each: dict[str, float] = {
        "weights": rank.state.weights_gb,
        "optimizer": rank.state.optimizer_gb,
        "gradients": rank.state.gradients_gb,
        "gradients on their way": rank.exchange_gb,
        "processes, libraries, data": rank.other_gb,
    }
    return [
        Row(what=what, gb=ranks * gb, note=f"{ranks} x {gb:.3f} GB") for what, gb in each.items()
    ]


def _declared(needs: Needs, ranks: int, workers: int) -> list[Row]:
    """What the config is declared to need; `workers` of each rank live."""
    rows = [
        Row(what=f"{name} of each rank", gb=ranks * gb, note=f"{ranks} x {gb:.3f} GB, declared")
        for name, gb in needs.per_rank_gb.items()
    ]
    rows += [
        Row(
            what=f"{name} of each worker",
            gb=ranks * workers * gb,
            note=f"{ranks} x {workers} x {gb:.3f} GB, declared",
        )
        for name, gb in needs.per_worker_gb.items()
    ]
    rows += [
        Row(what=f"{name} of the node", gb=gb, note="declared")
        for name, gb in needs.per_node_gb.items()
    ]
    return rows
