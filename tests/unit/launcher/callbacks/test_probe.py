"""A probe trains some steps, validates some batches beside its training loader, and leaves."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from launcher.callbacks.probe import Probe, fewer
from launcher.settings import ProbeConfig
from launcher.stopping import ProbeDone


class Counting(pl.LightningModule):
    """Counts what is done with it, and at which step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.trained = 0
        self.validated: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.trained += 1
        return self.layer(batch[0]).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validated.append(self.trainer.global_step)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(batches: int) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.zeros(2 * batches, 1)), batch_size=2)


def probe(
    tmp_path: Path,
    *,
    steps: int = 3,
    val_batches: int = 2,
    batches: int = 100,
    **trainer: Any,
) -> Counting:
    """A model after the probe of a training of `batches` batches an epoch."""
    module = Counting()
    settings: dict[str, Any] = {"max_epochs": 2, "num_sanity_val_steps": 0, **trainer}
    runner = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[Probe(ProbeConfig(steps=steps, val_batches=val_batches))],
        **settings,
    )
    with pytest.raises(ProbeDone) as done:
        runner.fit(module, loader(batches), loader(9))
    assert done.value.code == 0
    return module


def test_a_validation_comes_after_the_steps_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    module = probe(tmp_path)
    assert module.trained == 3
    assert module.validated == [3, 3]


def test_steps_are_those_of_the_optimizer(tmp_path: Path) -> None:
    module = probe(tmp_path, accumulate_grad_batches=4)
    assert module.trained == 12
    assert module.validated == [3, 3]


def test_validations_that_come_by_themselves_are_as_short(tmp_path: Path) -> None:
    module = probe(tmp_path, steps=5, val_check_interval=2)
    assert module.trained == 5
    assert module.validated == [2, 2, 4, 4, 5, 5]


def test_a_validation_that_is_due_by_itself_after_the_last_step_is_not_repeated(
    tmp_path: Path,
) -> None:
    assert probe(tmp_path, steps=4, val_check_interval=4).validated == [4, 4]


def test_steps_go_on_over_the_end_of_an_epoch(tmp_path: Path) -> None:
    module = probe(tmp_path, steps=5, batches=3)
    assert module.trained == 5
    assert module.validated == [3, 3, 5, 5]


def test_the_last_step_of_an_epoch_ends_with_one_validation(tmp_path: Path) -> None:
    module = probe(tmp_path, steps=3, batches=3)
    assert module.trained == 3
    assert module.validated == [3, 3]


def test_a_training_that_is_shorter_ends_the_probe_before_what_follows_it(tmp_path: Path) -> None:
    module = probe(tmp_path, steps=50, batches=3)
    assert module.trained == 6
    assert module.validated == [3, 3, 6, 6]


@pytest.mark.parametrize("nothing", [{"limit_val_batches": 0}, {"val_batches": 0}])
def test_a_training_without_validation_is_only_trained(
    tmp_path: Path, nothing: dict[str, Any]
) -> None:
    module = probe(tmp_path, **nothing)
    assert module.trained == 3
    assert module.validated == []


def test_a_sanity_check_is_not_taken_for_the_validation(tmp_path: Path) -> None:
    assert probe(tmp_path, num_sanity_val_steps=1).validated == [0, 3, 3]


@pytest.mark.parametrize(
    ("limit", "expected"), [(1.0, 8), (0.01, 8), (None, 8), (0.0, 0), (0, 0), (3, 3), (50, 8)]
)
def test_a_limit_of_the_trainer_is_never_raised_from_nothing(
    limit: float | None, expected: float
) -> None:
    assert fewer(limit, 8) == expected
