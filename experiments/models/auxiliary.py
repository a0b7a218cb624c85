"""Learning the semantic map of the surroundings beside the plan, as NAVSIM's TransFuser does."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from experiments.models.backbone import require_shape
from experiments.models.resampling import Resample

CLASSES = (
    "background",
    "road",
    "walkway",
    "centreline",
    "static object",
    "vehicle",
    "pedestrian",
)
"""What the numbers 0 to 6 of a semantic map mean."""
WEIGHT = 10.0
"""Of the cross-entropy, as published."""


class TopDown(nn.Module):
    """Grow the last fused map to a quarter of the histogram's edge, with fewer channels."""

    def __init__(self, dim: int, channels: int, last_hw: tuple[int, int], bev_px: int) -> None:
        super().__init__()
        middle, last = (2 * last_hw[0], 2 * last_hw[1]), (bev_px // 4, bev_px // 4)
        self.lateral = nn.Conv2d(dim, channels, kernel_size=1)
        self.grow = Resample.bilinear(last_hw, middle)
        self.smooth = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.grow_again = Resample.bilinear(middle, last)
        self.smooth_again = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, bev: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, channels, bev_px / 4, bev_px / 4)."""
        x = functional.relu(self.lateral(bev))
        x = functional.relu(self.smooth(self.grow(x)))
        return functional.relu(self.smooth_again(self.grow_again(x)))


class SemanticMap(nn.Module):
    """Predict the classes of the ground ahead from bird's-eye-view features.

    The map of labels shows half of the histogram's area, at its resolution. As published, all
    features are stretched over it: which place a feature speaks of is learnt too.
    """

    def __init__(self, channels: int, bev_px: int) -> None:
        super().__init__()
        self.map_hw = (bev_px // 2, bev_px)
        edge = bev_px // 4
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, len(CLASSES), kernel_size=1),
        )
        self.grow = Resample.bilinear((edge, edge), self.map_hw)

    def forward(self, bev: Tensor) -> Tensor:
        """Map features (B, channels, P / 4, P / 4) to logits (B, 7, P / 2, P)."""
        logits: Tensor = self.grow(self.layers(bev))
        return logits


class SemanticLoss(nn.Module):
    """How far a semantic map is from the labels."""

    def __init__(self, semantics: SemanticMap) -> None:
        super().__init__()
        self.semantics = semantics

    def forward(self, bev: Tensor, wanted: Tensor) -> tuple[Tensor]:
        """Return 10 x the mean cross-entropy to labels uint8 (B, P / 2, P)."""
        require_shape("bev_semantics", wanted, self.semantics.map_hw)
        # In rows: the two-dimensional loss of CUDA adds up in an unspecified order. Each by itself:
        # its mean over rows is one thread block's work.
        rows = self.semantics(bev).float().permute(0, 2, 3, 1).reshape(-1, len(CLASSES))
        losses = functional.cross_entropy(rows, wanted.reshape(-1).long(), reduction="none")
        return (WEIGHT * losses.mean(),)
