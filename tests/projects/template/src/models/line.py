import pytorch_lightning as pl
import torch


class LineModule(pl.LightningModule):
    """Fits a line with the network and the optimizer that the config names."""

    def __init__(self, net, optimizer):
        super().__init__()
        self.net = net
        self.optimizer = optimizer

    def loss(self, batch):
        x, y = batch
        return torch.nn.functional.mse_loss(self.net(x), y)

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} in step {self.global_step}")
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.loss(batch))

    def configure_optimizers(self):
        return self.optimizer(self.parameters())
