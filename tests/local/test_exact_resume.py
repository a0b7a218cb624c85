"""A training that is stopped after any of its steps ends as one that was not, to the bit."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from launcher.settings import RecoveryConfig
from tests.local.trainings import End, Setting, StopAt, live, rows

SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(name="epochs", trainer={"max_epochs": 3}),
        Setting(name="accumulation", trainer={"max_epochs": 3, "accumulate_grad_batches": 2}),
        Setting(
            name="steps with validation in between",
            trainer={"max_steps": 14, "val_check_interval": 3, "check_val_every_n_epoch": None},
        ),
        Setting(name="own generator", trainer={"max_epochs": 3}, own_generator=True),
        Setting(
            name="bf16 and clipping",
            trainer={"max_epochs": 2, "precision": "bf16-mixed", "gradient_clip_val": 0.5},
        ),
        Setting(name="validation each step", trainer={"max_epochs": 2, "val_check_interval": 1}),
        Setting(name="no validation", trainer={"max_epochs": 2, "limit_val_batches": 0}),
    )
}
STEPS = {"epochs": 18, "accumulation": 9, "steps with validation in between": 14}
STEPS |= {"own generator": 18, "bf16 and clipping": 12, "validation each step": 12}
STEPS |= {"no validation": 12}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """How each training ends when nothing happens, and what it logs."""

    @cache
    def end(name: str) -> tuple[End, list[dict[str, str]]]:
        folder = tmp_path_factory.mktemp("undisturbed")
        return live(SETTINGS[name], folder), rows(folder)

    return end


@pytest.mark.parametrize(("name", "step"), [(n, s) for n in SETTINGS for s in range(1, STEPS[n])])
def test_a_stop_after_any_step_changes_nothing(
    name: str, step: int, undisturbed: Any, tmp_path: Path
) -> None:
    expected, logged = undisturbed(name)
    first = live(SETTINGS[name], tmp_path, StopAt(step))
    assert first.digest is None
    assert first.step in (step, step + 1)
    second = live(SETTINGS[name], tmp_path)
    assert second.notes["resumed_step"] == first.step
    assert second.digest == expected.digest
    assert rows(tmp_path) == logged


@pytest.mark.parametrize("step", [2, 3, 5, 7])
def test_workers_that_augment_stand_where_they_stood(step: int, tmp_path: Path) -> None:
    setting = Setting(num_workers=2, trainer={"max_epochs": 2})
    expected = live(setting, tmp_path / "undisturbed")
    live(setting, tmp_path / "stopped", StopAt(step))
    assert live(setting, tmp_path / "stopped").digest == expected.digest


@pytest.mark.parametrize("step", [2, 8, 12])
def test_workers_that_draw_ahead_draw_the_order_of_their_epoch(step: int, tmp_path: Path) -> None:
    setting = Setting(num_workers=1, by_epoch=True, trainer={"max_epochs": 3})
    expected = live(setting, tmp_path / "undisturbed")
    live(setting, tmp_path / "stopped", StopAt(step))
    assert live(setting, tmp_path / "stopped").digest == expected.digest


@pytest.mark.parametrize("batch", [0, 1])
def test_a_stop_in_a_validation_repeats_it_and_nothing_else(batch: int, tmp_path: Path) -> None:
    setting = SETTINGS["steps with validation in between"]
    expected = live(setting, tmp_path / "undisturbed")
    first = live(setting, tmp_path / "stopped", StopAt(6, batch))
    assert (first.digest, first.step) == (None, 6)
    assert live(setting, tmp_path / "stopped").digest == expected.digest
    assert rows(tmp_path / "stopped") == rows(tmp_path / "undisturbed")


def test_ten_stops_in_a_row_change_nothing(tmp_path: Path) -> None:
    setting = SETTINGS["epochs"]
    expected = live(setting, tmp_path / "undisturbed")
    for step in range(1, 17):
        assert live(setting, tmp_path / "stopped", StopAt(step)).digest is None
    assert live(setting, tmp_path / "stopped").digest == expected.digest
    assert rows(tmp_path / "stopped") == rows(tmp_path / "undisturbed")


class Vanish(StopAt):
    """Ends a life without a word, as kill -9 does."""

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        if trainer.global_step == self.step:
            raise KeyError("vanished")


@pytest.mark.parametrize("step", [1, 4, 6, 7, 9, 12, 13])
def test_a_life_that_vanishes_costs_at_most_the_interval(step: int, tmp_path: Path) -> None:
    setting = Setting(trainer={"max_epochs": 3}, recovery=RecoveryConfig(checkpoint_every_steps=3))
    expected = live(setting, tmp_path / "undisturbed")
    with pytest.raises(KeyError):
        live(setting, tmp_path / "gone", Vanish(step))
    end = live(setting, tmp_path / "gone")
    assert end.digest == expected.digest
    assert step - end.notes.get("resumed_step", 0) <= 3


def test_a_training_that_had_ended_is_not_continued(tmp_path: Path) -> None:
    first = live(SETTINGS["epochs"], tmp_path)
    again = live(SETTINGS["epochs"], tmp_path)
    assert again.step == first.step == again.notes["resumed_step"]
    assert (again.digest, again.metrics) == (first.digest, first.metrics)


def test_an_early_stop_stays_one(tmp_path: Path) -> None:
    def early() -> EarlyStopping:
        return EarlyStopping("val/loss", patience=1, mode="max", min_delta=100)

    setting = Setting(trainer={"max_epochs": 6})
    first = live(setting, tmp_path, extra=[early()])
    assert first.step < 36
    assert live(setting, tmp_path, extra=[early()]).step == first.step


def test_the_best_checkpoint_of_all_lives_is_kept(tmp_path: Path) -> None:
    def best(folder: Path) -> ModelCheckpoint:
        return ModelCheckpoint(folder / "best", "{step}", monitor="val/loss", save_top_k=1)

    setting = Setting(trainer={"max_epochs": 3})
    expected = best(tmp_path / "a")
    live(setting, tmp_path / "a", extra=[expected])
    live(setting, tmp_path / "b", StopAt(8), extra=[best(tmp_path / "b")])
    found = best(tmp_path / "b")
    live(setting, tmp_path / "b", extra=[found])
    assert Path(found.best_model_path).name == Path(expected.best_model_path).name
    assert found.best_model_score == expected.best_model_score
