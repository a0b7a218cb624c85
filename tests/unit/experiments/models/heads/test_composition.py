"""Numbers of parameters of the hydra head against those published for GTRS' (V2-99) model.

Published: 8.48 M in the trajectory head, 69.52 M in the V2-99, 81.97 M in all with 8192 anchors
and 82.95 M with 16384. Each difference of ours is named here, to the parameter.
"""

import numpy as np
import pytest

from experiments.models.backbone import BackboneSpec
from experiments.models.heads import HydraMdpHead, build_head
from experiments.settings import HeadConfig
from experiments.vocabulary import Vocabulary

DIM, FFN, LAYERS = 256, 1024, 3
METRIC = DIM * FFN + FFN + FFN + 1
LAYER = 2 * (4 * DIM * DIM + 4 * DIM) + 2 * DIM * FFN + FFN + DIM + 3 * 2 * DIM
V2_99 = 69.52e6
PUBLISHED_HEAD = 8_482_568
"""Vocabulary 8192 x 120, its perceptron, one encoder and three decoder layers, eight scorers."""


def head(num_anchors: int) -> HydraMdpHead:
    config = HeadConfig(name="hydra_mdp", vocabulary_size=num_anchors, teacher="scores", ep=True)
    spec = BackboneSpec(
        name="vovnet",
        token_dim=1024,
        grid_hw=(16, 64),
        sensors=frozenset({"image"}),
        input_hw=(512, 2048),
    )
    anchors = np.zeros((num_anchors, 8, 3), np.float32)
    built = build_head(config, spec, Vocabulary(anchors, ""))
    assert isinstance(built, HydraMdpHead)
    return built


def size(module: object) -> int:
    return sum(p.numel() for p in module.parameters())  # type: ignore[attr-defined]


def test_the_trajectory_head_has_the_published_composition_but_for_what_is_named() -> None:
    ours = head(8192)
    assert size(ours.decoder) == LAYERS * LAYER + 2 * DIM
    assert size(ours.metrics) == 5 * METRIC
    assert size(ours.imitation) == METRIC + FFN * FFN + FFN
    trajectory_head = size(ours) - size(ours.memory) + ours.anchors.numel()
    differences = {
        "8 poses of an anchor are kept, not 40": 8192 * (40 - 8) * 3,
        "and embedded": (40 - 8) * 3 * FFN,
        "direction and traffic lights belong to another score, lane keeping is not learnt, "
        "comfort is": 2 * METRIC,
        "norms come first, so there is one at the end": -2 * DIM,
    }
    assert trajectory_head + sum(differences.values()) == PUBLISHED_HEAD
    assert pytest.approx(8.48e6, abs=5e3) == PUBLISHED_HEAD


@pytest.mark.parametrize(("num_anchors", "published"), [(8192, 81.97e6), (16384, 82.95e6)])
def test_the_published_totals_hold_what_is_not_built_here(
    num_anchors: int, published: float
) -> None:
    ours = head(num_anchors)
    vocabulary = (num_anchors - 8192) * 40 * 3
    projection = 1024 * DIM + DIM
    learned_positions, four_frames_of_status = 16 * 64 * DIM, 4 * 8 * DIM + DIM
    never_used = LAYERS * LAYER + 0.27e6  # a decoder and an agent head that no loss reaches
    theirs = V2_99 + PUBLISHED_HEAD + vocabulary + projection + learned_positions
    assert theirs + four_frames_of_status + never_used == pytest.approx(published, abs=3e4)
    # Positions are fixed here, the status is of one frame, and a norm comes before the projection.
    assert size(ours.memory) == projection + 8 * DIM + DIM + 2 * 1024
    total = V2_99 + size(ours) + ours.anchors.numel()
    assert total == pytest.approx({8192: 76.86e6, 16384: 77.05e6}[num_anchors], abs=1e4)
