"""An evaluation from end to end: means, tables, plans, controls, and when there are no means."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments import fitting
from experiments.data import Splits, datasets
from experiments.data.errors import DataError
from experiments.evaluation import evaluate, score_planner
from experiments.models import PlanningModule, build_planning
from experiments.scoring.pdm.reference import REFERENCE
from experiments.scoring.pdm.score import METRIC_VERSION, scorer_sha
from experiments.settings import (
    BackboneConfig,
    DataConfig,
    ExperimentConfig,
    HeadConfig,
    ScoringConfig,
    TrainerConfig,
)
from experiments.statistics.storage import load
from launcher.context import RunContext
from launcher.errors import ConfigError
from tests.unit.experiments.data.worlds import copy_logs, edit_log, small_config

PDM = {"pdms", "nc", "dac", "ep", "ttc", "comfort", "ddc"}
PLAIN = {"ade_m", "fde_m", "heading_error_rad", "collision_rate", "offroad_rate"}
PLANNERS = ("planner", "constant_velocity", "ego_status")


@dataclass(frozen=True)
class Setup:
    """A world and what is made of it."""

    config: ExperimentConfig
    splits: Splits
    folder: Path

    def module(self, seed: int = 0) -> PlanningModule:
        torch.manual_seed(seed)
        return build_planning(self.config)

    def context(self, name: str, **changes: Any) -> RunContext:
        known = {"run_dir": self.folder / name, "key": name, "name": name, "attempt": "001-000"}
        return RunContext(**(known | changes))

    def score(self, name: str, seed: int = 0, **scoring: Any) -> dict[str, Any]:
        config = replace(self.config, scoring=ScoringConfig(**scoring))
        return score_planner(self.module(seed), self.splits, config, self.context(name))


def setup_of(data: DataConfig, folder: Path) -> Setup:
    config = ExperimentConfig(
        data=data,
        backbone=BackboneConfig(name="blind"),
        head=HeadConfig(hidden_dim=16),
        trainer=TrainerConfig(max_steps=8, batch_size=4, val_every_steps=4),
    )
    return Setup(config, datasets(data), folder)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    folder = tmp_path_factory.mktemp("evaluation")
    return setup_of(small_config(folder / "data"), folder)


@pytest.fixture(scope="module")
def metrics(here: Setup) -> dict[str, Any]:
    return here.score("first")


def test_there_are_means_of_the_planner_and_of_what_plans_without_looking(
    metrics: dict[str, Any], here: Setup
) -> None:
    controls = {f"{name}/{metric}" for name in PLANNERS[1:] for metric in PDM | PLAIN}
    words = {"metric_version", "scorer", "test_tokens", "data_source"}
    assert set(metrics) == PDM | PLAIN | controls | words
    assert metrics["metric_version"] == METRIC_VERSION
    assert metrics["scorer"] == f"ours {scorer_sha()[:12]}, reference {REFERENCE}"
    assert metrics["test_tokens"] == len(here.splits.test)
    assert all(0.0 <= metrics[name] <= 1.0 for name in PDM)


def test_means_are_those_of_the_tables(metrics: dict[str, Any], here: Setup) -> None:
    tokens = [token.decode() for token in here.splits.source.index.token[here.splits.test]]
    for name in PLANNERS:
        table = load(here.folder / "first" / "scores" / f"{name}.parquet")
        table.require_complete(tokens)
        prefix = "" if name == "planner" else f"{name}/"
        for metric in ("pdms", "dac", "ade_m", "heading_error_rad"):
            assert metrics[prefix + metric] == pytest.approx(table.metrics[metric].mean())
        assert metrics[f"{prefix}collision_rate"] == table.metrics["collides"].mean()


def test_plans_are_kept_beside_the_tables(metrics: dict[str, Any], here: Setup) -> None:
    tokens = here.splits.source.index.token[here.splits.test]
    driven = here.splits.source.future[here.splits.test]
    for name in PLANNERS:
        kept = np.load(here.folder / "first" / "scores" / f"{name}.npz")
        assert kept["poses"].dtype == np.float32
        assert kept["token"].tolist() == tokens.tolist()
        error_m = np.linalg.norm((kept["poses"] - driven)[..., :2], axis=-1).mean()
        prefix = "" if name == "planner" else f"{name}/"
        assert metrics[f"{prefix}ade_m"] == pytest.approx(error_m, rel=1e-5)


def test_controls_are_the_same_beside_each_run_and_with_new_references(
    metrics: dict[str, Any], here: Setup
) -> None:
    (kept,) = Path(here.config.data.root).glob("references-*.columns")
    kept.unlink()
    other = here.score("second", seed=1)
    assert list(Path(here.config.data.root).glob("references-*.columns")) == [kept]
    for name, value in metrics.items():
        if "/" in name:
            assert other[name] == value, name
    assert other["ade_m"] != metrics["ade_m"]
    tables = [here.folder / run / "scores" / "ego_status.parquet" for run in ("first", "second")]
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_the_number_of_threads_does_not_change_a_score(
    metrics: dict[str, Any], here: Setup
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3 if threads != 3 else 2)
    try:
        other = here.score("threads")
    finally:
        torch.set_num_threads(threads)
    assert {name: other[name] for name in metrics if "velocity" in name} == {
        name: value for name, value in metrics.items() if "velocity" in name
    }


def test_one_run_scores_what_another_has_trained(metrics: dict[str, Any], here: Setup) -> None:
    best = fitting.checkpoint_dir(here.folder / "training") / "best.ckpt"
    best.parent.mkdir(parents=True)
    module = here.module()
    fitting.save(best, {"state_dict": module.state_dict()})
    inputs = {"train": here.folder / "training"}
    found = evaluate(replace(here.config, task="evaluate"), here.context("later", inputs=inputs))
    assert found == metrics


def test_without_the_pdm_score_the_rest_is_told(here: Setup) -> None:
    found = here.score("plain", pdm=False)
    assert {name for name in found if "/" not in name} >= PLAIN
    assert not {name.rpartition("/")[2] for name in found} & PDM
    assert found["metric_version"] == "displacement_v1"


def test_only_the_first_rank_scores(here: Setup) -> None:
    context = here.context("rank", ranks_per_node=2, rank=1)
    assert score_planner(here.module(), here.splits, here.config, context) == {}
    assert not context.run_dir.exists()


def test_a_scorer_that_is_wrong_on_this_machine_scores_nothing(
    here: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preflight = importlib.import_module("experiments.scoring.pdm.preflight")
    cases = json.loads(preflight.CASES.read_text())
    cases[3]["official"]["ep"] += 1e-4
    monkeypatch.setattr(preflight, "CASES", tmp_path / "golden.json")
    preflight.CASES.write_text(json.dumps(cases))
    with pytest.raises(RuntimeError, match="is wrong on this machine: `ep`"):
        here.score("wrong")
    assert not (here.folder / "wrong").exists()


@pytest.fixture
def recorded(here: Setup, tmp_path: Path) -> DataConfig:
    """All logs of the world, as recorded data that may be damaged."""
    return copy_logs(here.config.data, tmp_path / "recorded", 6)


def test_a_metric_cache_that_lacks_windows_is_refused(
    here: Setup, recorded: DataConfig, tmp_path: Path
) -> None:
    cache = Path(__file__).parents[2] / "golden" / "metric_cache"
    count = len(here.splits.test)
    with pytest.raises(DataError, match=f"{count} of {count} scenes are not in the metric cache"):
        setup_of(recorded, tmp_path).score(
            "lacking", metric_cache=str(cache), scenes="metric_cache"
        )
    with pytest.raises(ConfigError, match="holds none of the scenes"):
        here.score("generated", metric_cache=str(cache), scenes="metric_cache")


def test_a_broken_scene_refuses_the_mean_and_the_other_scores_are_kept(
    here: Setup, metrics: dict[str, Any], recorded: DataConfig, tmp_path: Path
) -> None:
    assert metrics  # its tables are compared with
    index, test = here.splits.source.index, here.splits.test
    token = index.token[test[0]].decode()

    def break_it(frames: list[dict[str, Any]]) -> None:
        (frame,) = (frame for frame in frames if frame["token"] == token)
        frame["traffic_lights"] = [("no such connector", True)]

    log = index.log_names[index.log[test[0]]]
    edit_log(Path(recorded.root) / "navsim_logs" / f"{log}.pkl", break_it)
    broken = setup_of(recorded, tmp_path)
    assert broken.splits.test_tokens_sha256 == here.splits.test_tokens_sha256
    with pytest.raises(DataError, match=f"1 of {len(test)} scenes could not be scored") as refused:
        broken.score("broken")
    assert f"no mean: {token}. " in refused.value.message
    assert "a light closes `no such connector`" in refused.value.message
    folder = tmp_path / "broken" / "scores"
    whole = load(here.folder / "first" / "scores" / "constant_velocity.parquet")
    kept = load(folder / "constant_velocity.parquet")
    assert kept.tokens == whole.tokens[1:]
    np.testing.assert_allclose(kept.metrics["pdms"], whole.metrics["pdms"][1:], atol=1e-12)
    assert len(np.load(folder / "planner.npz")["poses"]) == len(test)
