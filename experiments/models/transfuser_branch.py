"""The ResNet of one sensor inside TransFuser."""

from __future__ import annotations

from timm.models.resnet import BasicBlock, downsample_conv
from torch import Tensor, nn
from torch.nn import functional


class Stem(nn.Module):
    """The first layers of a ResNet, owned by it."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    def forward(self, x: Tensor) -> Tensor:
        """Reduce (B, in, H, W) to (B, channels[0], H/4, W/4)."""
        return functional.max_pool2d(
            functional.relu(self.norm(self.conv(x))), 3, stride=2, padding=1
        )


class ResNetBranch(nn.Module):
    """A ResNet of basic blocks without its classifier; state names are those of timm.

    With blocks (3, 4, 6, 3) and channels (64, 128, 256, 512) it is a ResNet-34. The stem is as
    wide as the first stage, so narrow networks stay cheap.
    """

    def __init__(
        self, in_channels: int, blocks: tuple[int, ...], channels: tuple[int, ...]
    ) -> None:
        super().__init__()
        stem = channels[0]
        self.conv1 = nn.Conv2d(in_channels, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(stem, channels[0], blocks[0], stride=1)
        self.layer2 = _stage(channels[0], channels[1], blocks[1], stride=2)
        self.layer3 = _stage(channels[1], channels[2], blocks[2], stride=2)
        self.layer4 = _stage(channels[2], channels[3], blocks[3], stride=2)
        self._init_weights()

    def stem(self) -> Stem:
        """Return what comes before the stages."""
        return Stem(self.conv1, self.bn1)

    def stages(self) -> list[nn.Module]:
        """Return the four stages; each but the first halves height and width."""
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock):
                module.zero_init_last()


def _stage(width_in: int, width: int, num_blocks: int, *, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or width_in != width:
        shortcut = downsample_conv(width_in, width, kernel_size=1, stride=stride)
    first = BasicBlock(width_in, width, stride=stride, downsample=shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(num_blocks - 1)))
