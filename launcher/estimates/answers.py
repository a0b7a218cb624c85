"""The two questions of a preflight: do the nodes hold the run, and do its GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from launcher import store
from launcher.errors import ConfigError, LauncherError
from launcher.estimates.budget import PHASES, Budget
from launcher.estimates.gpu import GpuModel, fit_gpu
from launcher.estimates.loaders import loaders_of
from launcher.estimates.model import MemoryModel, fit
from launcher.estimates.needs import NONE, Needs
from launcher.estimates.ranks import Wanted
from launcher.estimates.ways_out import proposals
from launcher.measures import Measure
from launcher.topology import split_batch

if TYPE_CHECKING:
    from launcher.compose import WantedRun

PROBE = "`launch probe` with the same overrides measures it"


@dataclass(frozen=True, kw_only=True)
class MemoryAnswer:
    """Whether a run fits."""

    fits: bool | None
    """None: nobody knows."""
    reason: str
    """One line."""
    budget: Budget | None = None
    """Of a node; None where nothing was measured, and for GPUs."""
    peak_gb: float | None = None
    """What it is predicted to need, without margin [GB]."""
    limit_gb: float | None = None
    """What it may hold; None where nobody knows."""
    proposals: tuple[str, ...] = ()
    """Overrides with which it would fit."""


def host_memory(run: WantedRun, measures: Sequence[Measure]) -> MemoryAnswer:
    """Whether each node of a run holds its ranks, workers and what its config needs.

    Raises:
        ConfigError: `memory.needs` is no function, or fails for the run's config.
    """
    config, settings = run.config, run.settings
    needs_of = _needs_function(run)
    limit_gb = run.shape.mem_gb
    needs = needs_of(config) if needs_of else NONE
    # A CPU holds what a GPU would, and a GPU's driver holds what a CPU run never has.
    alike = [one for one in measures if one.is_on_gpu == run.is_on_gpu]
    model = fit(*_with_needs(alike, needs_of))
    if model is None:
        where = " on GPUs" if run.is_on_gpu else " on CPUs"
        said = f"no such run was measured{where if measures else ''}; {PROBE}"
        return MemoryAnswer(fits=None, reason=said, limit_gb=limit_gb)
    wanted = Wanted(
        ranks_per_node=run.shape.ranks_per_node,
        world_size=run.shape.world_size,
        loaders=loaders_of(config, settings.config_keys) or model.seen[0].loaders,
        micro_batch_size=micro_batch_size(run, config),
        needs=needs,
    )
    budget = model.budget(wanted, settings.memory.margin)
    answer = MemoryAnswer(
        fits=None if limit_gb is None else budget.fits(limit_gb),
        reason=_host_reason(budget, limit_gb),
        budget=budget,
        peak_gb=budget.peak_gb,
        limit_gb=limit_gb,
    )
    return answer if answer.fits is not False else _with_ways_out(answer, run, model, wanted)


def gpu_memory(run: WantedRun, measures: Sequence[Measure]) -> MemoryAnswer:
    """Whether each GPU of a run holds the model and one micro-batch."""
    card_gb = _card_gb(run, measures)
    model = fit_gpu(measures)
    micro = micro_batch_size(run, run.config)
    if (failed := _ran_out(run, measures, micro)) is not None:
        return failed
    if model is None:
        return MemoryAnswer(
            fits=None, reason=f"no such run was measured on a GPU; {PROBE}", limit_gb=card_gb
        )
    limit_gb = card_gb
    micro = micro or model.micro_batch_size
    margin, world_size = run.settings.memory.margin, run.shape.world_size
    peak_gb = model.peak_gb(micro, world_size)
    fits = None if limit_gb is None else peak_gb * (1 + margin) <= limit_gb
    holds = f"the GPU has {limit_gb:.4g} GB" if limit_gb is not None else "its size is unknown"
    return MemoryAnswer(
        fits=fits,
        reason=f"a micro-batch of {micro} needs {peak_gb * (1 + margin):.3g} GB of a GPU,"
        f" {margin:.0%} margin included; {holds}; {model.basis}",
        peak_gb=peak_gb,
        limit_gb=limit_gb,
        proposals=_smaller_batch(run, model, limit_gb) if fits is False and limit_gb else (),
    )


def _of_its_type(run: WantedRun, measures: Sequence[Measure]) -> list[Measure]:
    """Measures on the type of GPU that a run will have."""
    kind = run.settings.cluster.gpu_type
    return [one for one in measures if one.is_on_gpu and one.place.gpu_type == kind]


def _card_gb(run: WantedRun, measures: Sequence[Measure]) -> float | None:
    """Memory of the GPU: as torch saw one of that type, else as the profile says [GB]."""
    seen = [one.ranks[0].gpu_mem_gb for one in _of_its_type(run, measures)]
    known = [gb for gb in (*seen[:1], run.settings.cluster.gpu_mem_gb) if gb is not None]
    return min(known, default=None)


def _ran_out(run: WantedRun, measures: Sequence[Measure], micro: int | None) -> MemoryAnswer | None:
    """The answer where as large a micro-batch did not fit on such a GPU, and none since did."""
    for one in _of_its_type(run, measures):
        tried = one.micro_batch_size
        if tried is None or (micro is not None and (one.outcome == "gpu_oom") == (tried > micro)):
            continue
        if one.outcome != "gpu_oom":
            return None  # as many fitted
        key = run.settings.config_keys.max_micro_batch_size
        return MemoryAnswer(
            fits=False,
            reason=f"a micro-batch of {tried} ran out of the GPU's memory"
            f" (run {one.run_dir.name}, {one.attempt})",
            limit_gb=_card_gb(run, measures),
            proposals=(f"{key}={max(tried // 2, 1)}",),
        )
    return None


def micro_batch_size(run: WantedRun, config: DictConfig) -> int | None:
    """Samples that a rank of a run holds at once; None where its config does not say.

    Raises:
        ConfigError: the batch does not divide over the ranks.
    """
    keys = run.settings.config_keys
    found = [
        OmegaConf.select(config, key, throw_on_resolution_failure=False)
        for key in (keys.batch_size, keys.max_micro_batch_size)
    ]
    batch_size, most = found
    if not isinstance(batch_size, int) or not isinstance(most, int):
        return None
    return split_batch(batch_size, run.shape.world_size, most).micro_batch_size


def _host_reason(budget: Budget, limit_gb: float | None) -> str:
    said = (
        f"a node needs {budget.with_margin_gb:.3g} GB {PHASES[budget.phase]},"
        f" {budget.margin:.0%} margin included"
    )
    asks = "" if limit_gb is None else f"; the job asks for {limit_gb:.4g} GB"
    return f"{said}{asks}; {budget.basis}"


def _with_ways_out(
    answer: MemoryAnswer, run: WantedRun, model: MemoryModel, wanted: Wanted
) -> MemoryAnswer:
    assert answer.limit_gb is not None
    config = run.config
    ways = proposals(
        model,
        wanted,
        answer.limit_gb,
        keys=run.settings.config_keys,
        has_key=lambda key: _has(config, key),
        node_gb=run.settings.cluster.mem_gb_per_node,
        margin=run.settings.memory.margin,
    )
    return replace(answer, proposals=tuple(ways))


def _has(config: DictConfig, key: str) -> bool:
    absent = object()
    found = OmegaConf.select(config, key, default=absent, throw_on_resolution_failure=False)
    return found is not absent


def _smaller_batch(run: WantedRun, model: GpuModel, card_gb: float) -> tuple[str, ...]:
    largest = model.largest(card_gb, run.shape.world_size, run.settings.memory.margin)
    key = run.settings.config_keys.max_micro_batch_size
    if not largest:
        return ("weights, gradients and optimizer alone do not fit: take a larger GPU",)
    return (f"{key}={largest}",)


def _needs_function(run: WantedRun) -> Callable[[Any], Needs] | None:
    path = run.settings.memory.needs
    if path is None:
        return None
    from launcher.compose import load_function  # estimates know nothing of Hydra

    function = load_function(path)

    def needs_of(config: Any) -> Needs:
        found = function(config)
        if not isinstance(found, Needs):
            raise ConfigError(
                f"`{path}` returned {type(found).__name__} in place of Needs",
                hint="return launcher.estimates.memory.Needs(per_rank_gb={'index': 1.5})",
            )
        return found

    return needs_of


def _with_needs(
    measures: Sequence[Measure], needs_of: Callable[[Any], Needs] | None
) -> tuple[list[Measure], Callable[[Measure], Needs] | None]:
    """Measures of which it is known what their configs need, and what that is."""
    if needs_of is None:
        return list(measures), None
    known = {}
    for one in measures:
        try:
            config = _config_of(one)
            if config is not None:
                known[one.run_dir, one.attempt] = needs_of(config)
        except (OmegaConfBaseException, LauncherError, YAMLError, LookupError, OSError):
            continue  # of another time: the config has not what is asked for, or is torn
    usable = [one for one in measures if (one.run_dir, one.attempt) in known]
    return usable, lambda one: known[one.run_dir, one.attempt]


def _config_of(measure: Measure) -> Any:
    """The frozen config of an attempt; None where it is gone."""
    number = int(measure.attempt.partition("-")[0])
    path = store.config_file(measure.run_dir, number)
    return OmegaConf.load(path) if path is not None else None
