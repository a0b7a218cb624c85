"""A site as our user's was, its SLURM played by a script, and attempts that were measured there."""

from __future__ import annotations

import stat
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from launcher import measures
from launcher.planning.questions import Question, question_of
from launcher.records import LoaderUse, Place, RankUse
from launcher.settings import ClusterConfig, PartitionConfig, ResourcesConfig, StudyLauncherConf

SAMPLES, VAL_SAMPLES, EPOCHS = 85_109, 18_179, 40
BATCH = 352
HOUR_S = 3600.0


def site(**changes: Any) -> ClusterConfig:
    """Two partitions: full nodes of 8 fast GPUs, and many nodes of 4 slower ones."""
    values: dict[str, Any] = {
        "name": "site",
        "partition": "auto",
        "max_array_size": 100,
        "partitions": {
            "h200": PartitionConfig(
                gpu_type="h200", gpus_per_node=8, num_nodes=4, max_time_min=7200, speed=1.0
            ),
            "l40s_public": PartitionConfig(
                gpu_type="l40s", gpus_per_node=4, num_nodes=66, max_time_min=2880, speed=0.87
            ),
        },
    }
    return ClusterConfig(**(values | changes))


def question(
    folder: Path,
    cluster: ClusterConfig | None = None,
    resources: ResourcesConfig | None = None,
    **settings: Any,
) -> Question:
    """The training of the user's notes: 40 epochs, effective batch 352, 22 on a GPU."""
    launcher = StudyLauncherConf(
        submitit_folder=str(folder / "submitit"),
        profiles_dir=str(folder / "profiles"),
        cluster=cluster or site(),
        resources=resources or ResourcesConfig(timeout_min=2880),
        **settings,
    )
    trainer = {"batch_size": BATCH, "max_micro_batch_size": 22, "max_epochs": EPOCHS}
    hydra = {"job": {"name": "app"}, "sweep": {"dir": str(folder)}}
    config = OmegaConf.create({"trainer": trainer, "hydra": hydra})
    config.hydra.launcher = OmegaConf.structured(launcher)
    return question_of(config, profile_dir=folder / "profiles" / "p")


def measured(
    asked: Question, partition: str, gpu_type: str | None, gpus: int, epoch_s: float, **use: Any
) -> None:
    """Leave an attempt that took so long for an epoch."""
    run_dir = asked.profile_dir.parent / f"{partition}-{gpus}"
    values: dict[str, Any] = {
        "attempt": "001-000",
        "key": f"{partition}{gpus}",
        "rank": 0,
        "local_rank": 0,
        "host": "n1",
        "world_size": gpus,
        "num_nodes": 1,
        "ranks_per_node": gpus,
        "cpus_per_rank": 1,
        "place": Place(cluster="site", partition=partition, gpu_type=gpu_type),
        "gpu_name": "a card",
        "loaders": [LoaderUse(stage="train", workers=1, samples=SAMPLES)],
        "batch_size": BATCH,
        "timed_steps": 100,
        "samples_per_s": SAMPLES / epoch_s,
        "step_s": BATCH * epoch_s / SAMPLES,
    }
    measures.write_use(run_dir, RankUse(**(values | use)))
    measures.remember(asked.profile_dir, run_dir, values["key"], "001-000")


def slurm(folder: Path, starts_in_s: Mapping[str, float | str]) -> Path:
    """A folder for the PATH in which `sbatch --test-only` answers by partition.

    Args:
        folder: Of the commands.
        starts_in_s: Partition, with `:<nodes>x<GPUs>` where that matters, -> seconds, or a refusal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cases = [_case(name, answer) for name, answer in starts_in_s.items()]
    lines = ["#!/bin/bash", "script=$(cat)", f'echo asked >> "{folder}/asked"', *cases, "exit 1"]
    _command(folder / "sbatch", "\n".join(lines))
    _command(folder / "srun", "#!/bin/bash\n")
    return folder


def _case(name: str, answer: float | str) -> str:
    partition, _, shape = name.partition(":")
    tests = [f"[[ $script == *\"--partition={partition}\"$'\\n'* ]]"]
    if shape:
        nodes, gpus = shape.split("x")
        tests.append(f'[[ $script == *"--nodes={nodes}"$\'\\n\'* && $script == *":{gpus}"* ]]')
    if isinstance(answer, str):
        said = f"echo '{answer}' >&2; exit 1"
    else:
        moment = datetime.fromtimestamp(time.time() + answer).isoformat(timespec="seconds")
        said = (
            f"echo 'sbatch: Job 7 to start at {moment} using 4 processors on nodes n1' >&2;exit 0"
        )
    return f"if {' && '.join(tests)}; then {said}; fi"


def _command(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
