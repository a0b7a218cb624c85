"""Four ranks stop together when one is asked to, and end as four that were not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch


def life(run_dir: Path, stop: int | None = None, model: str = "plain") -> list[list[Any]]:
    """All ranks of a life; returns digest, step and notes of each."""
    run_dir.mkdir(exist_ok=True)
    port = str(21000 + os.getpid() % 9000)
    ranks = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.local.rank_life",
                str(run_dir),
                *([str(stop)] if stop else []),
            ],
            env={
                **os.environ,
                "LIFE_MODEL": model,
                "LAUNCHER_RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "OMP_NUM_THREADS": "1",
            },
        )
        for rank in range(4)
    ]
    assert [rank.wait(timeout=240) for rank in ranks] == [0] * 4
    return [json.loads((run_dir / f"end{rank}.json").read_text()) for rank in range(4)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """How the training of four ranks ends when nothing happens."""
    return life(tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("step", [2, 5])
def test_ranks_that_stop_together_end_as_if_they_had_not(
    step: int, undisturbed: list[list[Any]], tmp_path: Path
) -> None:
    first = life(tmp_path, step)
    assert {end[1] for end in first} == {step}
    assert {end[0] for end in first} == {None}
    second = life(tmp_path)
    assert [end[2]["resumed_step"] for end in second] == [end[1] for end in first]
    assert [end[0] for end in second] == [end[0] for end in undisturbed]


def test_gradients_are_added_in_the_order_in_which_they_arrived_in_the_first_life(
    tmp_path: Path,
) -> None:
    (undisturbed,) = {end[0] for end in life(tmp_path / "whole", model="crossed")[:1]}
    life(tmp_path / "parts", 2, model="crossed")
    life(tmp_path / "parts", 5, model="crossed")
    (saved,) = sorted((tmp_path / "parts").glob("checkpoints/resume/fit-00/*5.ckpt"))
    kept = torch.load(saved, weights_only=True)["launcher"]["arrival_order"]
    # Weight and bias of `second`, `last`, `first`, as they are made.
    assert sorted(kept) == list(range(6))
    assert [number // 2 for number in kept[::2]] == [1, 0, 2]
    assert life(tmp_path / "parts", model="crossed")[0][0] == undisturbed
