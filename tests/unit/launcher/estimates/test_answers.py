"""Whether a planned run fits, asked as the preflight asks."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from omegaconf import OmegaConf

from launcher.compose import WantedRun
from launcher.errors import ConfigError
from launcher.estimates.memory import MemoryAnswer, Needs, gpu_memory, host_memory
from launcher.hydra_config import pickled
from launcher.measures import Measure
from launcher.records import Place
from launcher.settings import StudyLauncherConf
from launcher.topology import Shape
from tests.unit.launcher.estimates.taken import BATCH_GB, measure, node_gb
from tests.unit.launcher.estimates.test_gpu import trained

CONFIG: dict[str, Any] = {
    "data": {"num_workers": 4, "val_num_workers": None, "persistent_workers": False, "rows": 2},
    "trainer": {"batch_size": 32, "max_micro_batch_size": 16},
}


def wanted(
    mem_gb: float | None,
    *,
    ranks: int = 2,
    needs: str | None = None,
    accelerator: str = "cpu",
    **changes: Any,
) -> WantedRun:
    changed = {
        group: {key: changes.get(key, value) for key, value in values.items()}
        for group, values in CONFIG.items()
    }
    config = OmegaConf.create(changed)
    settings = StudyLauncherConf()
    settings.memory.needs = needs
    settings.cluster.accelerator = accelerator
    return WantedRun(
        key="k",
        name="run",
        overrides=(),
        run_dir=Path("nowhere"),
        pickle=pickled(config),
        settings=settings,
        shape=Shape(
            nodes=1, gpus_per_node=ranks, ranks_per_node=ranks, cpus_per_rank=1,
            mem_gb=mem_gb, timeout_min=60,
        ),
        profile_dir=Path("nowhere"),
    )  # fmt: skip


def measured() -> list[Measure]:
    return [measure(2, 4, 2), measure(2, 2, 4)]


def test_enough_memory_fits() -> None:
    answer = host_memory(wanted(64), measured())
    assert answer.fits is True
    assert answer.budget is not None
    # `null` validation workers are as many as for training.
    assert answer.budget.peak_gb == pytest.approx(node_gb(2, 4, 4), rel=0.01)


def test_too_little_is_refused_with_reason_and_ways_out() -> None:
    answer = host_memory(wanted(12), measured())
    assert answer.fits is False
    assert "the job asks for 12 GB" in answer.reason
    assert answer.proposals


def test_the_margin_of_the_settings_counts() -> None:
    run = wanted(node_gb(2, 4, 4) * 1.05)
    assert host_memory(run, measured()).fits is False
    run.settings.memory.margin = 0.01
    assert host_memory(run, measured()).fits is True


def test_the_micro_batch_follows_from_batch_ranks_and_its_bound() -> None:
    small = host_memory(wanted(64), measured()).peak_gb
    large = host_memory(wanted(64, batch_size=256, max_micro_batch_size=128), measured()).peak_gb
    assert small is not None
    assert large is not None
    # 8 workers of 2 ranks have 2 batches ready, each 8 times as large.
    assert large - small >= 7 * 2 * 8 * 2 * BATCH_GB


def test_nothing_measured_is_unknown_and_says_what_to_do() -> None:
    answer = host_memory(wanted(12), [])
    assert answer.fits is None
    assert "launch probe" in answer.reason


def test_a_site_that_gives_memory_by_itself_leaves_it_open() -> None:
    answer = host_memory(wanted(None), measured())
    assert answer.fits is None
    assert answer.budget is not None


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    found = ModuleType("declared_needs")
    monkeypatch.setitem(sys.modules, "declared_needs", found)
    return found


def test_declared_needs_of_measured_and_wanted_configs_make_the_difference(
    module: ModuleType, tmp_path: Path
) -> None:
    module.of = lambda config: Needs(per_rank_gb={"rows": float(config.data.rows)})  # type: ignore[attr-defined]
    folder = tmp_path / "submissions" / "001"
    folder.mkdir(parents=True)
    OmegaConf.save(OmegaConf.create({"data": {"rows": 1}}), folder / "config.yaml")
    ranks = measure(2, 4, 4, extra_rank_gb=1.0).ranks
    known = Measure(ranks, tmp_path, "001-000")
    answer = host_memory(wanted(64, needs="declared_needs:of", rows=3), [known])
    assert answer.budget is not None
    assert answer.budget.peak_gb == pytest.approx(node_gb(2, 4, 4) + 2 * 3, rel=0.01)


def test_an_attempt_whose_config_is_gone_does_not_count_where_needs_are_declared(
    module: ModuleType,
) -> None:
    module.of = lambda _: Needs()  # type: ignore[attr-defined]
    assert host_memory(wanted(64, needs="declared_needs:of"), measured()).budget is None


def test_needs_of_another_type_are_refused(module: ModuleType) -> None:
    module.of = lambda _: {"rows": 1.0}  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="returned dict in place of Needs"):
        host_memory(wanted(64, needs="declared_needs:of"), measured())


def test_a_card_that_is_too_small_gets_a_smaller_micro_batch() -> None:
    run = wanted(64)
    run.settings.cluster.gpu_mem_gb = 8.0
    answer: MemoryAnswer = gpu_memory(run, [trained(16, ranks=2)])
    assert answer.fits is False
    assert answer.proposals == ("trainer.max_micro_batch_size=9",)


def test_the_measured_card_counts_where_the_site_does_not_say() -> None:
    answer = gpu_memory(wanted(64), [trained(16, ranks=2)])
    assert answer.fits is True
    assert answer.limit_gb == 48.0


def test_a_card_of_another_type_says_nothing_of_the_size() -> None:
    other = trained(16, ranks=2, place=Place(gpu_type="h200", accelerator="gpu"))
    answer = gpu_memory(wanted(64), [other])
    assert (answer.fits, answer.limit_gb) == (None, None)


def test_what_a_cpu_run_held_says_nothing_of_a_gpu_run() -> None:
    answer = host_memory(wanted(64, accelerator="gpu"), measured())
    assert answer.fits is None
    assert "no such run was measured on GPUs" in answer.reason


def test_a_measure_whose_config_is_torn_or_of_another_time_is_left_out(tmp_path: Path) -> None:
    torn = measure(2, 4, 2)
    folder = tmp_path / "submissions" / "001"
    folder.mkdir(parents=True)
    lost = Measure(torn.ranks, tmp_path, torn.attempt)
    for content in ("a: [1,\n", "unknown: 1\n"):
        (folder / "config.yaml").write_text(content)
        run = wanted(64, needs=f"{__name__}:needs_rows")
        assert host_memory(run, [lost]).fits is None


def needs_rows(config: Any) -> Needs:
    return Needs(per_rank_gb={"index": float(config["trainer"]["batch_size"])})


def test_workers_that_are_no_number_are_unknown() -> None:
    assert host_memory(wanted(64, num_workers="auto"), measured()).budget is not None


def test_no_measured_gpu_is_unknown() -> None:
    assert gpu_memory(wanted(64), measured()).fits is None
