"""The encoder that sees nothing: what a head makes of the ego status alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from experiments.models.backbone import Backbone, BackboneSpec, Encoded, pair


class BlindBackbone(Backbone):
    """One token that is always zero. No sensor is read, no parameter learns.

    A head on it is the control of NAVSIM's ego-status MLP: what it scores was not seen.
    """

    def __init__(self, *, image_hw: tuple[int, int]) -> None:
        super().__init__()
        self.spec = BackboneSpec(
            name="blind",
            token_dim=1,
            grid_hw=(1, 1),
            sensors=frozenset(),
            input_hw=pair(image_hw),
        )

    def encode(self, batch: Mapping[str, Tensor]) -> Encoded:
        """Return zeros (B, 1, 1)."""
        status = batch["status"]
        return Encoded(status.new_zeros(len(status), 1, 1))

    def blocks(self) -> list[nn.Module]:
        """Return nothing: there is no structure to freeze."""
        return []

    def describe(self) -> dict[str, Any]:
        """Say that this is a control."""
        return {"control": "ego status only"}
