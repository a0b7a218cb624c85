"""Heads with a vocabulary take the one they were built with, and no other."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from experiments.models.heads import build_head
from experiments.models.heads.anchors import PRIOR_STD_MPS, squared_distances
from experiments.settings.head import ANCHORED
from experiments.vocabulary import Vocabulary
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny
from tests.unit.experiments.models.heads import stubs

anchored = pytest.mark.parametrize("name", ANCHORED)


@anchored
def test_a_head_without_its_vocabulary_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"`head.name={name}` needs a vocabulary"):
        build_head(stubs.config(name), stubs.spec())


@anchored
def test_a_vocabulary_of_another_length_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"`head.vocabulary_size=32`.* has 64 anchors"):
        build_head(stubs.config(name, vocabulary_size=32), stubs.spec(), stubs.vocabulary())


@anchored
def test_a_checkpoint_of_another_vocabulary_is_refused(name: str) -> None:
    moved = replace(stubs.vocabulary(), anchors=stubs.vocabulary().anchors + np.float32(0.1))
    other = build_head(stubs.config(name), stubs.spec(), moved)
    head = stubs.head(name)
    head.load_state_dict(stubs.head(name).state_dict())
    with pytest.raises(RuntimeError, match="the checkpoint belongs to another vocabulary"):
        head.load_state_dict(other.state_dict())


@anchored
def test_the_record_names_the_vocabulary(name: str) -> None:
    said = stubs.head(name).describe()
    assert said["vocabulary_sha256"] == stubs.vocabulary().sha256
    assert said["vocabulary_numbers"] == 64 * 24


@anchored
def test_the_prior_ranks_anchors_by_their_distance_to_a_steady_drive(name: str) -> None:
    head, status = stubs.head(name), stubs.status(1, (6.3, 0.4))
    seconds = torch.arange(1, 9) * 0.5
    steady = status[0, 4:6] * seconds[:, None]
    apart = (head.anchors[..., :2] - steady).norm(dim=-1) / (PRIOR_STD_MPS * seconds)
    expected = -0.5 * apart.square().mean(dim=1)
    prior = head.log_prior(status)[0]
    torch.testing.assert_close(prior - prior[0], expected - expected[0], atol=1e-4, rtol=1e-4)
    assert not stubs.head(name, velocity_prior=False).log_prior(status).any()


def test_distances_sum_over_the_poses_and_go_around_the_circle() -> None:
    anchors, human = torch.zeros(2, 8, 3), torch.zeros(1, 8, 3)
    anchors[0, :, 0], anchors[1, :, 2] = 3.0, torch.pi - 0.1
    human[..., 2] = 0.0
    torch.testing.assert_close(squared_distances(anchors, human, 0.0), torch.tensor([[72.0, 0.0]]))
    human[..., 2] = -torch.pi + 0.1
    turned = squared_distances(anchors, human, 5.0)[0, 1]
    torch.testing.assert_close(turned, torch.tensor(8 * (5.0 * 0.2) ** 2))


def test_two_vocabularies_of_one_size_have_different_names() -> None:
    ours = stubs.vocabulary()
    assert Vocabulary(ours.anchors[::-1], ours.tokens_sha256).sha256 != ours.sha256


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that is made within it."""

    numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for value in made if isinstance(made, tuple) else [made]:
            # A tensor that is expanded, not copied, counts what it holds.
            if isinstance(value, torch.Tensor):
                self.numbers = max(self.numbers, value.untyped_storage().nbytes() // 4)
        return made


@anchored
def test_no_tensor_grows_with_the_square_of_the_vocabulary(name: str) -> None:
    many = 1024
    anchors = np.resize(stubs.vocabulary().anchors, (many, 8, 3))
    sizes = stubs.config(name, vocabulary_size=many, dim=8, ffn_dim=16)
    head, batch = build_head(sizes, stubs.spec(), Vocabulary(anchors, "")), tiny.batch(2)
    with Largest() as largest:
        output = head(stubs.tokens(2), batch["status"])
        torch.autograd.backward(torch.stack([*head.loss(output, batch).values()]).sum())
    assert many * 24 <= largest.numbers < many * many / 4
