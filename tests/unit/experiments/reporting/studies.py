"""Study folders as a launcher leaves them, with made-up scores; nothing is trained."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from experiments.data import Splits
from experiments.report import RATES
from experiments.settings import DataConfig
from experiments.statistics import Run, TokenScores, save
from launcher import store
from launcher.records import AttemptRecord, RunEntry, StudyRecord, SubmissionRecord
from launcher.studies import Study
from launcher.topology import Shape

SHARES = ("pdms", "nc", "dac", "ep", "ttc", "comfort", "ddc", "collides", "leaves_drivable_area")
ERRORS = ("ade_m", "fde_m", "heading_error_rad")
_SHAPE = Shape(
    nodes=1, gpus_per_node=0, ranks_per_node=1, cpus_per_rank=1, mem_gb=None, timeout_min=60
)
_TIMES = {"started": "2026-01-01T10:00:00+00:00", "ended": "2026-01-01T10:03:00+00:00"}


@dataclass(kw_only=True)
class Scenes:
    """What runs are scored on."""

    tokens: Sequence[str] = tuple(f"token{i:03d}" for i in range(48))
    logs: Sequence[str] = tuple(f"log{i // 3:02d}" for i in range(48))
    cities: Sequence[str] = tuple(("boston", "pittsburgh")[i // 3 % 2] for i in range(48))
    commands: Sequence[str] = tuple(("left", "straight")[i // 6 % 2] for i in range(48))
    data: DataConfig = field(default_factory=DataConfig)

    @classmethod
    def of(cls, splits: Splits, config: DataConfig) -> Scenes:
        """All windows of a world, so that there are enough."""
        index = splits.source.index
        return cls(
            tokens=[token.decode() for token in index.token],
            logs=[index.log_names[log] for log in index.log],
            cities=[index.cities[city] for city in index.city],
            commands=["straight" for _ in index.token],
            data=config,
        )


def write_study(
    folder: Path,
    *,
    arms: Sequence[str] = ("ijepa", "transfuser"),
    fractions: Sequence[float] = (0.25, 1.0),
    seeds: Sequence[int] = (0, 1),
    scenes: Scenes | None = None,
    change: Callable[[Run, dict[str, Any]], None] = lambda run, about: None,
    **changed: Any,
) -> Study:
    """Write a study of completed runs; the second arm is better, more labels help.

    Args:
        folder: Of the study.
        arms: Backbones.
        fractions: Label fractions.
        seeds: Seeds.
        scenes: What they were scored on.
        change: Called with each run and `scorer`, `metric_version`, `state`, which it may change.
        changed: Of the study's record.
    """
    scenes = scenes or Scenes()
    runs = [Run(arm, f, seed) for arm in arms for f in fractions for seed in seeds]
    entries = [_write_run(folder, run, scenes, change, arms) for run in runs]
    record = StudyRecord(
        study_id=folder.name,
        created=_TIMES["started"],
        command=["train.py", "-m", f"backbone={','.join(arms)}"],
        overrides=[f"backbone={','.join(arms)}"],
        runs=entries,
        report="experiments.report:write",
        page="experiments.reporting:write",
    )
    store.write_record(folder / "study.json", record.model_copy(update=changed))
    return Study(folder)


def _write_run(
    folder: Path,
    run: Run,
    scenes: Scenes,
    change: Callable[[Run, dict[str, Any]], None],
    arms: Sequence[str],
) -> RunEntry:
    about = {"scorer": "ours 1234", "metric_version": "pdms_v1", "state": "completed"}
    change(run, about)
    key = f"{run.arm}{100 * run.fraction:.0f}{run.seed}"
    run_dir = folder / key
    config = {
        "data": asdict(scenes.data) | {"fraction": run.fraction},
        "trainer": {"seed": run.seed},
        "backbone": {"name": run.arm},
        "scoring": {"pdm": "auto", "metric_cache": None, "scenes": "maps"},
    }
    number = 1
    submission = SubmissionRecord(
        key=key, name=key, number=number, scheduler="debug", token="t", submitted="",
        shape=_SHAPE, code="c0de", commit="abc123", payload="", config="", job_id=f"job-{key}",
    )  # fmt: skip
    store.write_submission(run_dir, submission)
    path = store.submission_dir(run_dir, number) / "config.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    result = _write_scores(run_dir, run, scenes, about, list(arms).index(run.arm))
    failed = about["state"] != "completed"
    attempt = AttemptRecord(
        attempt="001-000", key=key, job_id=f"job-{key}", host="node1", pid=1, world_size=1,
        outcome="task_error" if failed else "completed", result=None if failed else result,
        error="ValueError: <b>broken</b>" if failed else None, **_TIMES,
    )  # fmt: skip
    store.write_record(store.attempt_path(run_dir, "001-000"), attempt)
    _write_curves(run_dir, run)
    overrides = [f"backbone={run.arm}", f"data.fraction={run.fraction}", f"trainer.seed={run.seed}"]
    name = f"backbone={run.arm} fraction={run.fraction} seed={run.seed}"
    return RunEntry(key=key, name=name, overrides=overrides, run_dir=key)


def _write_scores(
    run_dir: Path, run: Run, scenes: Scenes, about: dict[str, Any], place: int
) -> dict[str, Any]:
    level = 0.4 + 0.2 * place + 0.1 * run.fraction + 0.01 * run.seed
    planners = {
        "planner": level,
        "ego_status": 0.35 + 0.1 * run.fraction + 0.01 * run.seed,
        "constant_velocity": 0.3,
    }
    result: dict[str, Any] = {
        "scorer": about["scorer"],
        "metric_version": about["metric_version"],
        "test_tokens": len(scenes.tokens),
        "data_source": "synthetic",
    }
    steps = np.linspace(1, 9, 8)
    poses = np.stack([steps, 0 * steps, 0 * steps], -1)
    for name, mean in planners.items():
        generator = np.random.default_rng([len(name), run.seed, int(100 * run.fraction)])
        noise = generator.normal(0, 0.05, len(scenes.tokens))
        metrics = {share: np.clip(mean + noise, 0, 1) for share in SHARES}
        metrics |= {error: 3 * (1 - np.clip(mean + noise, 0, 1)) for error in ERRORS}
        table = TokenScores(
            run=Run("x", 1.0, 0),
            scorer=about["scorer"],
            metric_version=about["metric_version"],
            tokens=tuple(scenes.tokens),
            logs=tuple(scenes.logs),
            cities=tuple(scenes.cities),
            commands=tuple(scenes.commands),
            metrics=metrics,
        )
        if name == "constant_velocity":  # the same beside each run
            table = _constant(table)
        save(run_dir / "scores" / f"{name}.parquet", table)
        prefix = "" if name == "planner" else f"{name}/"
        for metric, values in table.metrics.items():
            result[prefix + RATES.get(metric, metric)] = float(values.mean())
        content = io.BytesIO()
        plans = np.tile(poses, (len(scenes.tokens), 1, 1)).astype(np.float32)
        np.savez(content, token=np.array(scenes.tokens, dtype="S"), poses=plans)
        (run_dir / "scores" / f"{name}.npz").write_bytes(content.getvalue())
    return result


def _constant(table: TokenScores) -> TokenScores:
    return replace(
        table, metrics={name: 0 * values + 0.3 for name, values in table.metrics.items()}
    )


def _write_curves(run_dir: Path, run: Run) -> None:
    """Two lives, the second of which does the last steps of the first again."""
    for life, steps in (("001-000", range(10, 60, 10)), ("001-001", range(40, 100, 10))):
        lines = ["step,train/loss,val/ade_m,lr/head"]
        lines += [f"{s},{9 / s + run.seed / 10},{3 - s / 100},0.00{99 - s // 2}" for s in steps]
        path = run_dir / "metrics" / life / "metrics.csv"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(lines) + "\n")
