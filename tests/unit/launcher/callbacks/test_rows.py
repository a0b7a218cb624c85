"""Rows are those that Lightning writes, though later, and are all there when it matters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.loggers import CSVLogger

from launcher.callbacks import rows
from launcher.callbacks.rows import Rows
from launcher.callbacks.underway import Underway


class Late(Underway):
    """Numbers of a GPU that never gets done by itself."""

    @property
    def is_there(self) -> bool:
        return False


class Logging(BoringModel):
    """Losses of steps and epochs, a count, and a row of its own."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)["loss"]
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        self.log("train/count", batch_idx)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(self.layer(batch)))

    def on_validation_end(self) -> None:
        rows.log(self.trainer, {"mine": torch.tensor(3)}, self.trainer.global_step)


def written(folder: Path, *callbacks: pl.Callback) -> str:
    torch.manual_seed(0)
    logger = CSVLogger(folder, name="csv", version="0")
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, limit_train_batches=6, limit_val_batches=2, logger=logger,
        log_every_n_steps=2, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, num_sanity_val_steps=0, callbacks=[*callbacks],
    )  # fmt: skip
    trainer.fit(Logging())
    assert "log_metrics" not in vars(trainer._logger_connector)
    return Path(logger.log_dir, "metrics.csv").read_text()


def test_rows_are_those_of_lightning(tmp_path: Path) -> None:
    expected = written(tmp_path / "lightning")
    assert expected.count("\n") == 1 + 6 + 2 * 2 + 2
    assert written(tmp_path / "there", Rows()) == expected


def test_late_rows_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = written(tmp_path / "lightning")
    monkeypatch.setattr(rows, "Underway", Late)
    assert written(tmp_path / "late", Rows()) == expected


class Asks(pl.Callback):
    """Has all rows written now and then, as checkpoints do."""

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == 8:
            rows.write_all(trainer)


def test_a_row_under_way_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "Underway", Late)
    taken: list[int] = []
    original = Rows._write

    def noted(self: Rows, trainer: pl.Trainer, *, most: int) -> None:
        original(self, trainer, most=most)
        taken.append(len(self._waiting))

    monkeypatch.setattr(Rows, "_write", noted)
    expected = written(tmp_path / "late", Rows(), Asks())
    assert max(taken) == 4  # further ones wait for the first
    monkeypatch.undo()
    assert written(tmp_path / "there", Rows()) == expected


def test_a_training_that_fails_has_written_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connectors: list[Any] = []

    class Fails(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
            connectors.append(trainer._logger_connector)
            if trainer.global_step == 5:
                raise RuntimeError("on purpose")

    monkeypatch.setattr(rows, "Underway", Late)
    with pytest.raises(RuntimeError, match="on purpose"):
        written(tmp_path, Rows(), Fails())
    text = (tmp_path / "csv" / "0" / "metrics.csv").read_text()
    assert text.count("\n") == 1 + 2
    assert "log_metrics" not in vars(connectors[0])


def test_numbers_keep_their_order_and_kind() -> None:
    values = {"a": torch.tensor(2), "b": 1.5, "c": torch.tensor([0.25]), "d": torch.tensor(0.1)}
    assert list(Underway(values).numbers().items()) == [
        ("a", 2), ("b", 1.5), ("c", 0.25), ("d", torch.tensor(0.1).item()),
    ]  # fmt: skip
