"""Workers of a training share what its rank held before they were forked."""

import gc

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from launcher.callbacks.heap import SharedHeap


class Numbers(torch.utils.data.Dataset[torch.Tensor]):
    """Says how many objects the collector of the process that reads would leave alone."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, n: int) -> torch.Tensor:
        return torch.tensor([float(gc.get_freeze_count())])


class Learner(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.frozen: list[float] = []

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        self.frozen += batch.flatten().tolist()
        return self.layer(batch / 1e6).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def test_the_collector_of_a_worker_leaves_alone_what_its_rank_held() -> None:
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, callbacks=[SharedHeap()], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    learner = Learner()
    trainer.fit(learner, DataLoader(Numbers(), batch_size=2, num_workers=1))
    assert len(learner.frozen) == 4
    assert min(learner.frozen) > 10_000
    assert gc.get_freeze_count() == 0, "an interpreter that goes on collects as before"
