"""On GPUs with deterministic algorithms a stopped training ends as one that was not, to the bit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from launcher.failures import outcome_of
from tests.local.test_ranks_resume import life
from tests.local.trainings import Setting, StopAt, live, rows

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
GPU = {"accelerator": "gpu", "devices": 1}


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("step", [2, 6, 9])
def test_a_stop_changes_nothing(precision: str, step: int, tmp_path: Path) -> None:
    setting = Setting(trainer={"max_epochs": 3, "deterministic": True, "precision": precision})
    expected = live(setting, tmp_path / "undisturbed", trainer_arguments=GPU)
    first = live(setting, tmp_path / "stopped", StopAt(step), trainer_arguments=GPU)
    assert (first.digest, first.step) == (None, step)
    assert live(setting, tmp_path / "stopped", trainer_arguments=GPU).digest == expected.digest
    assert rows(tmp_path / "stopped") == rows(tmp_path / "undisturbed")


@pytest.mark.skipif(torch.cuda.device_count() < 4, reason="there are no four GPUs here")
@pytest.mark.parametrize("model", ["plain", "crossed"])
def test_four_gpus_that_stop_together_end_as_if_they_had_not(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFE_ACCELERATOR", "gpu")
    expected = life(tmp_path / "undisturbed", model=model)
    assert {end[1] for end in life(tmp_path / "stopped", 5, model)} == {5}
    assert [end[0] for end in life(tmp_path / "stopped", None, model)] == [
        end[0] for end in expected
    ]


def test_too_large_a_tensor_is_a_gpu_out_of_memory() -> None:
    with pytest.raises(torch.OutOfMemoryError) as raised:
        torch.empty(1 << 42, device="cuda")
    assert outcome_of(raised.value) == "gpu_oom"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
