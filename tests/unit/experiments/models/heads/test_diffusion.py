"""The truncated diffusion: what it noises, how it goes back, what it learns."""

import pytest
import torch

from experiments.models.heads import DiffusionHead, PlanOutput
from experiments.models.heads.denoising import Noise
from experiments.models.losses import trajectory_loss
from experiments.settings.head import DiffusionConfig
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny
from tests.unit.experiments.models.heads import stubs


def diffusion(**changes: object) -> DiffusionHead:
    head = stubs.head("diffusion", **changes)
    assert isinstance(head, DiffusionHead)
    return head


def test_noise_is_truncated_to_a_few_metres() -> None:
    noise = Noise(DiffusionConfig())
    poses = torch.zeros(1, 500, 8, 3)
    last = torch.tensor([len(noise.kept) - 1])
    noised = noise.add(poses, torch.randn_like(poses), last)
    assert len(noise.kept) == 50
    assert noised[..., 0].std().item() == pytest.approx(4.3, abs=0.2)
    assert noise.add(poses, torch.randn_like(poses), torch.tensor([0]))[..., 0].std() < 0.3


def test_a_step_back_from_the_truth_leaves_the_same_noise_at_less_strength() -> None:
    noise = Noise(DiffusionConfig())
    poses, draw = torch.randn(2, 4, 8, 3) * 10.0, torch.randn(2, 4, 8, 3)
    late, early = torch.tensor([49, 40]), torch.tensor([10, 20])
    back = noise.back(noise.add(poses, draw, late), poses, late, early)
    torch.testing.assert_close(back, noise.add(poses, draw, early), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("steps", "times"), [(1, [49]), (2, [49, 24]), (5, [49, 39, 29, 19, 9])])
def test_a_plan_takes_as_many_steps_as_it_is_told(steps: int, times: list[int]) -> None:
    head = diffusion(diffusion=DiffusionConfig(steps=steps)).eval()
    seen: list[int] = []
    head.time.register_forward_pre_hook(lambda _, given: seen.append(int(given[0][0])))
    head(stubs.tokens(2), stubs.status(2))
    assert head.noise.times == seen == times
    assert head.describe()["denoising_steps"] == steps


def test_each_training_step_draws_other_noise_and_each_sample_its_own_time() -> None:
    head = diffusion()
    seen: list[torch.Tensor] = []
    head.time.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    tokens, status = stubs.tokens(32), stubs.status(32)
    first, second = (head(tokens, status).extra["confidence"] for _ in range(2))
    assert not torch.equal(first, second)
    assert len(set(seen[0].tolist())) > 8
    assert max(seen[0].tolist()) < 50


def test_the_noise_of_a_plan_is_the_same_in_every_process() -> None:
    one = diffusion()
    torch.manual_seed(123)
    assert torch.equal(diffusion().planning_noise, one.planning_noise)
    assert "planning_noise" not in one.state_dict()


def test_the_nearest_anchor_is_corrected_and_chosen() -> None:
    head, batch = diffusion(), tiny.batch(4)
    poses = torch.randn(4, 64, 8, 3, requires_grad=True)
    confidence = torch.zeros(4, 64)
    output = PlanOutput(poses[:, 0], {"poses": poses, "confidence": confidence})
    terms = head.loss(output, batch)
    weighted = (head.anchors[None] - batch["trajectory"][:, None]) * torch.tensor([1.0, 1.0, 5.0])
    nearest = weighted.square().sum(dim=(2, 3)).argmin(dim=1)
    chosen = poses[torch.arange(4), nearest]
    torch.testing.assert_close(terms["regression"], trajectory_loss(chosen, batch["trajectory"]))
    assert terms["classification"].item() == pytest.approx(torch.tensor(64.0).log().item())
    (gradient,) = torch.autograd.grad(terms["regression"], poses)
    corrected = gradient.abs().sum(dim=(2, 3)) > 0
    assert torch.equal(corrected.nonzero()[:, 1], nearest)


def test_a_plan_is_the_best_anchor_corrected() -> None:
    head = diffusion().eval()
    output = head(stubs.tokens(3), stubs.status(3))
    best = output.extra["confidence"].argmax(dim=1)
    assert torch.equal(output.trajectory, output.extra["poses"][torch.arange(3), best])
    away = (output.trajectory - head.anchors[best])[..., :2].norm(dim=-1)
    assert 0.0 < away.max() < 2.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "head.diffusion.steps=0"),
        ({"steps": 60}, "head.diffusion.truncated_at=50"),
        ({"truncated_at": 2000}, "is above 1000"),
    ],
)
def test_schedules_that_cannot_be_are_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DiffusionConfig(**values)
