"""Takes a measurement apart: what a rank, a worker of each kind and the kernel took of a node."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from launcher.estimates.loaders import STAGES, Loaders, Stage, loaders_seen
from launcher.estimates.needs import NONE, Needs
from launcher.estimates.seen import PhaseSeen, Seen, State
from launcher.estimates.workers import Look
from launcher.measures import Measure
from launcher.records import LoaderUse, Phase, PhaseUse, RankUse

UNSEEN_PROCESS_GB = 0.01
"""What the kernel takes for a process with torch, where no cgroup tells."""
AROUND: dict[Phase, Phase] = {"switch": "validate", "checkpoint": "train", "other": "train"}
"""Short phases, and the long one whose workers live in them."""
LOOKED_AT: tuple[Phase, ...] = ("train", "validate")
"""Phases that last long enough for workers to fill their memory."""
PREFETCH = 2
"""Batches in flight per worker where nobody told: what torch does."""


def apart(measure: Measure, needs: Needs = NONE) -> Seen | None:
    """Take an attempt apart; None where no rank of a node was measured while it trained."""
    ranks = _fullest_node(measure)
    loaders = loaders_seen(measure.loaders)
    looks = {phase: _looks(ranks, phase) for phase in _phases(ranks)}
    if not looks.get("train"):
        return None
    process_gb = _process_gb(looks)
    phases = {
        phase: PhaseSeen(
            node_gb=_node_gb(uses, measure.ranks_per_node),
            workers=_alive(phase, looks, loaders),
        )
        for phase, uses in looks.items()
        if uses
    }
    # Its highest moments are too short to be seen, that in which it reached its limit above all.
    _raise_fullest(phases, _highest_gb(phases) + measure.missed_gb)
    if is_cut_short := measure.outcome == "host_oom":
        _raise_fullest(phases, measure.mem_gb or 0.0)
    loading = {use.stage: _loading(use) for use in measure.loaders}
    has_gpu = ranks[0].gpu_mem_gb is not None or measure.gpu_gb() is not None
    state = _state(ranks[0])
    kept_gb = _kept_gb(state, has_gpu=has_gpu)
    known_gb = {stage: one.flying_gb + needs.worker_gb for stage, one in loading.items()}
    micro = measure.micro_batch_size or 1
    return Seen(
        label=_label(measure, loaders),
        world_size=measure.world_size,
        ranks_per_node=measure.ranks_per_node,
        loaders=loaders,
        phases=phases,
        process_gb=UNSEEN_PROCESS_GB if process_gb is None else process_gb,
        knows_kernel=process_gb is not None,
        worker_looks=tuple(
            _worker_look(use, _kinds(use.workers, phase, loaders), known_gb, kept_gb)
            for phase in LOOKED_AT
            for use in looks.get(phase, [])
            if use.workers
        ),
        in_flight={stage: one.in_flight for stage, one in loading.items()},
        sample_gb={stage: one.batch_gb / micro for stage, one in loading.items()},
        micro_batch_size=micro,
        validations=ranks[0].validations,
        is_cut_short=is_cut_short,
        has_gpu=has_gpu,
        state=state,
        kept_gb=kept_gb,
        needs=needs,
    )


@dataclass(frozen=True)
class _Loading:
    """What a loader has ready."""

    in_flight: float
    """Batches of each worker."""
    batch_gb: float

    @property
    def flying_gb(self) -> float:
        return self.in_flight * self.batch_gb


def _loading(use: LoaderUse) -> _Loading:
    return _Loading(PREFETCH if use.prefetch is None else use.prefetch, use.batch_gb or 0.0)


def _state(rank: RankUse) -> State:
    return State(
        weights_gb=rank.weights_gb or 0.0,
        gradients_gb=rank.gradients_gb or 0.0,
        optimizer_gb=rank.optimizer_gb or 0.0,
    )


def _highest_gb(phases: Mapping[Phase, PhaseSeen]) -> float:
    return max(seen.node_gb for seen in phases.values())


def _raise_fullest(phases: dict[Phase, PhaseSeen], least_gb: float) -> None:
    fullest = max(phases, key=lambda phase: phases[phase].node_gb)
    if phases[fullest].node_gb < least_gb:
        phases[fullest] = replace(phases[fullest], node_gb=least_gb)


def _label(measure: Measure, loaders: Loaders) -> str:
    ranks = measure.ranks_per_node
    per_node = "1 rank" if ranks == 1 else f"{ranks} ranks"
    return f"{per_node} per node, {loaders} (run {measure.run_dir.name}, {measure.attempt})"


def _fullest_node(measure: Measure) -> list[RankUse]:
    def peak_gb(host: str) -> float:
        found = [use.node_gb for rank in measure.node_ranks(host) for use in rank.phases]
        return max((gb for gb in found if gb is not None), default=0.0)

    # A rank whose file is missing would halve the sum: nodes that are complete come first.
    def rank_of(host: str) -> tuple[int, float]:
        return len(measure.node_ranks(host)), peak_gb(host)

    return measure.node_ranks(max(measure.hosts, key=rank_of))


def _phases(ranks: Sequence[RankUse]) -> list[Phase]:
    return list(dict.fromkeys(use.phase for rank in ranks for use in rank.phases))


def _looks(ranks: Sequence[RankUse], phase: Phase) -> list[PhaseUse]:
    """What was seen of a phase by ranks that looked at their processes in it."""
    found = [use for rank in ranks for use in rank.phases if use.phase == phase]
    return found if any(use.rank_gb > 0 for use in found) else []


def _family_gb(uses: Sequence[PhaseUse]) -> float:
    return sum(use.rank_gb + use.workers_gb for use in uses)


def _process_gb(looks: Mapping[Phase, Sequence[PhaseUse]]) -> float | None:
    """What the cgroup holds beyond all processes, by process; None where no cgroup told.

    The two are not looked at in the same moment, so it is the middle of the phases that last.
    """
    beyond = [
        max(max(nodes) - _family_gb(uses), 0.0) / sum(1 + use.workers for use in uses)
        for phase in LOOKED_AT
        if (uses := looks.get(phase))
        and (nodes := [use.node_gb for use in uses if use.node_gb is not None])
    ]
    return statistics.median(beyond) if beyond else None


def _node_gb(uses: Sequence[PhaseUse], ranks_per_node: int) -> float:
    """Most that the job held on the node, by its cgroup, else by its processes."""
    nodes = [use.node_gb for use in uses if use.node_gb is not None]
    if nodes:
        return max(nodes)
    processes = sum(1 + use.workers for use in uses)
    # Ranks whose figures are missing are taken to be like the others.
    scale = ranks_per_node / len(uses)
    return scale * (_family_gb(uses) + processes * UNSEEN_PROCESS_GB)


def _alive(
    phase: Phase, looks: Mapping[Phase, Sequence[PhaseUse]], loaders: Loaders
) -> dict[Stage, int]:
    """Workers of a rank that lived in a phase.

    Few looks fall into a short phase, and some while workers come or go: there are no fewer than
    in the long phase around it.
    """
    around: Phase | None = AROUND.get(phase)
    found = [
        _kinds(max(use.workers for use in looks[one]), one, loaders)
        for one in (phase, around)
        if one is not None and looks.get(one)
    ]
    return {
        stage: loaders.count(stage) if any(kinds[stage] for kinds in found) else 0
        for stage in STAGES
    }


def _kinds(count: int, phase: Phase, loaders: Loaders) -> dict[Stage, int]:
    """What `count` workers of a rank serve: first what the phase is about."""
    first: Stage = "validate" if phase in ("switch", "validate") else "train"
    second: Stage = "train" if first == "validate" else "validate"
    of_first = min(count, loaders.count(first))
    return {first: of_first, second: min(count - of_first, loaders.count(second))}


def _kept_gb(state: State, *, has_gpu: bool) -> dict[Stage, float]:
    """State that workers of a kind keep, while their rank goes on to change its own.

    On CPU those for training are forked before there is more than weights, those for validation
    when there is all of it.
    """
    if has_gpu:
        return {"train": 0.0, "validate": 0.0}
    return {"train": state.weights_gb, "validate": state.all_gb}


def _worker_look(
    use: PhaseUse,
    kinds: dict[Stage, int],
    known_gb: Mapping[Stage, float],
    kept_gb: Mapping[Stage, float],
) -> Look:
    """Workers of a rank, without what is `known_gb` of each.

    What workers of a kind keep together is counted for one that is the only one of its kind.
    """
    held_gb = use.worker_private_gb * use.workers
    held_gb -= sum(count * known_gb.get(stage, 0.0) for stage, count in kinds.items())
    held_gb -= sum(kept_gb[stage] for stage, count in kinds.items() if count == 1)
    return Look(**kinds, own_gb=max(held_gb, 0.0))
