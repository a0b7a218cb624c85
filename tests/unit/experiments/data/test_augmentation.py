from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.data import augmentation
from experiments.data.augmentation import Photometric, draw, photometric, vary
from experiments.settings import DataConfig, ExperimentConfig, TrainerConfig
from tests.unit.experiments.models import tiny

ONES = [1.0] * 6


def images(size: int = 3) -> Tensor:
    draws = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (size, 3, 12, 16), generator=draws, dtype=torch.uint8)


def test_factors_of_one_change_nothing() -> None:
    assert torch.equal(vary(images(), torch.tensor([ONES] * 3)), images())


def test_brightness_scales_all_pixels_and_stays_in_range() -> None:
    image = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    image[..., 0] = 250
    brighter = vary(image, torch.tensor([[1.2, 1, 1, 1, 1, 1]]))
    assert brighter[0, :, 0, 1].tolist() == [120] * 3
    assert brighter[0, :, 0, 0].tolist() == [255] * 3


def test_no_saturation_is_grey_and_no_contrast_is_the_mean() -> None:
    grey = vary(images(1), torch.tensor([[1.0, 1, 0, 1, 1, 1]]))[0]
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[0], grey[2])
    flat = vary(images(1), torch.tensor([[1.0, 0, 1, 1, 1, 1]]))
    assert flat.unique().numel() == 1


def test_one_colour_alone_can_change() -> None:
    red = vary(images(1), torch.tensor([[1.0, 1, 1, 0.5, 1, 1]]))
    assert torch.equal(red[:, 1:], images(1)[:, 1:])
    assert not torch.equal(red[:, 0], images(1)[:, 0])


def test_each_visit_is_drawn_by_seed_step_and_sample_alone() -> None:
    together = draw(0, 3, np.array([7, 8, 9]))
    alone = draw(0, 3, np.array([9]))
    assert torch.equal(together[2:], alone)
    assert len({tuple(row) for row in [*together.tolist(), *draw(0, 4, np.array([7])).tolist(),
                                       *draw(1, 3, np.array([7])).tolist()]}) == 5  # fmt: skip
    assert (together - 1).abs().max() <= 0.25


def test_many_images_are_varied_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    factors = draw(0, 0, np.arange(5))
    whole = vary(images(5), factors)
    monkeypatch.setattr(augmentation, "_AT_ONCE", 2)
    assert torch.equal(vary(images(5), factors), whole)


def test_only_training_with_augmentation_has_the_callback() -> None:
    varied = ExperimentConfig(
        data=DataConfig(augmentation="photometric"), trainer=TrainerConfig(seed=4)
    )
    (callback,) = photometric(varied)
    assert isinstance(callback, Photometric)
    assert callback.seed == 4
    assert photometric(ExperimentConfig()) == []


class _Seen(Photometric):
    """Also notes what the model is shown."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.shown: list[Tensor] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, idx: int) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, idx)
        pl_module.shown = batch["image"]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.shown.append(pl_module.shown.clone())


def test_a_resumed_training_sees_what_an_uninterrupted_one_sees(tmp_path: Any) -> None:
    whole, first, second = _Seen(), _Seen(), _Seen()
    tiny.fit(tiny.planning(tiny.transfuser()), max_steps=4, callbacks=[whole])
    run = tiny.fit(tiny.planning(tiny.transfuser()), max_steps=2, callbacks=[first])
    run.save_checkpoint(tmp_path / "a.ckpt")
    tiny.trainer(max_steps=4, callbacks=[second]).fit(
        tiny.planning(tiny.transfuser()),
        tiny.loader(2, 3, 2, 3),
        ckpt_path=tmp_path / "a.ckpt",
        weights_only=True,
    )
    assert len(whole.shown) == 4
    assert len(second.shown) == 2
    seen = [*first.shown, *second.shown]
    assert all(torch.equal(a, b) for a, b in zip(whole.shown, seen, strict=True))
    assert not torch.equal(whole.shown[0], tiny.batch(seed=0)["image"])
