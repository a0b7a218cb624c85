"""Runs of task=vocabulary, task=teacher and task=train on a small world of the test's own."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments import teaching, vocabulary
from experiments.data import datasets, prepare
from experiments.settings import (
    DataConfig,
    ExperimentConfig,
    HeadConfig,
    OptimizerConfig,
    ScoringConfig,
    TrainerConfig,
)
from experiments.settings.teacher import TeacherConfig
from experiments.teacher import store as store_module
from experiments.teacher.places import open_teacher
from experiments.teacher.store import TeacherStore
from launcher.context import RunContext
from tests.unit.experiments.data.worlds import small_config
from tests.unit.experiments.models import tiny

ANCHORS = 5


@dataclass(frozen=True)
class Runs:
    """Configs and folders of the runs of one test."""

    data: DataConfig
    folder: Path

    @classmethod
    def of(cls, world: DataConfig, folder: Path) -> Runs:
        """Copy the world, so that scores beside it are the test's own."""
        target = folder / "data" / prepare(world).name
        if not target.exists():
            shutil.copytree(prepare(world), target)
        return cls(replace(world, root=str(folder / "data")), folder)

    def config(self, task: str = "teacher", *, size: int = ANCHORS, part: str = "0/1",
               scoring: ScoringConfig | None = None, **data: Any) -> ExperimentConfig:  # fmt: skip
        return ExperimentConfig(
            task=task,
            data=replace(self.data, **data),
            backbone=tiny.transfuser(),
            head=HeadConfig(
                name="hydra_mdp",
                teacher="scores",
                ep=True,
                dim=16,
                num_heads=2,
                ffn_dim=16,
                num_layers=1,
                vocabulary_size=size,
            ),
            optimizer=OptimizerConfig(lr=1e-3),
            trainer=TrainerConfig(max_steps=3, batch_size=4, max_micro_batch_size=4),
            teacher=TeacherConfig(part=part),
            scoring=scoring or ScoringConfig(),
        )

    def context(self, name: str, **inputs: str) -> RunContext:
        run_dir = self.folder / "runs" / name
        run_dir.mkdir(parents=True, exist_ok=True)
        folders = {label: self.folder / "runs" / run for label, run in inputs.items()}
        return RunContext(run_dir=run_dir, key=name, name=name, attempt="001-000", inputs=folders)

    def cluster(self, name: str = "vocabulary", **changes: Any) -> dict[str, Any]:
        return vocabulary.build(self.config("vocabulary", **changes), self.context(name))

    def score(self, name: str = "teacher", words: str = "vocabulary", **changes: Any
              ) -> dict[str, Any]:  # fmt: skip
        context = self.context(name, vocabulary=words)
        return teaching.score_vocabulary(self.config(**changes), context)

    def open(self, words: str = "vocabulary", teacher: str = "teacher", **changes: Any
             ) -> TeacherStore:  # fmt: skip
        config = self.config("train", **changes)
        context = self.context("train", vocabulary=words, teacher=teacher)
        store = open_teacher(config, datasets(config.data).source, context)
        assert store is not None
        return store


if __name__ == "__main__":  # a process that a test kills
    store_module._SHARD_ROWS = 2
    Runs.of(small_config(Path(sys.argv[1])), Path(sys.argv[2])).score()
