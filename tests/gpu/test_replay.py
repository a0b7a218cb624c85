"""An encoder whose operations are replayed as one gives the tokens that it gives by itself."""

import numpy as np
import pytest
import torch

from experiments.features.encoding import encoded
from experiments.models.finetune import FrozenBackbone
from experiments.settings import SENSORS_OF
from tests.unit.experiments.models import tiny
from tests.unit.experiments.models.test_backbones import build

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
GPU = torch.device("cuda")


@pytest.mark.parametrize("name", [name for name in SENSORS_OF if name != "blind"])
def test_tokens_of_replayed_batches_are_the_encoders_own(name: str) -> None:
    torch.manual_seed(0)
    backbone = FrozenBackbone(build(name)).to(GPU, torch.bfloat16)
    # The first is called, the second recorded, the next replayed, and the last has another shape.
    batches = [tiny.batch(size, seed=seed) for seed, size in enumerate((4, 4, 4, 4, 2))]
    found = list(encoded(backbone, batches, device=GPU, dtype=torch.float16))
    assert len(found) == len(batches)
    for batch, tokens in zip(batches, found, strict=True):
        with torch.no_grad():
            alone = backbone({key: value.to(GPU) for key, value in batch.items()}).tokens
        np.testing.assert_array_equal(tokens, alone.half().cpu().numpy())
    assert not np.array_equal(found[2], found[3])
