"""What holds for each head: a sensible start, all inputs count, any grid, bf16, it learns."""

import math

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from experiments.models.heads import PlanningHead, PlanOutput, build_head
from experiments.models.losses import displacement
from experiments.settings import HeadConfig
from experiments.settings.head import ANCHORED
from tests.unit.experiments.models import tiny
from tests.unit.experiments.models.heads import stubs

every_head = pytest.mark.parametrize("name", stubs.NAMES)
attending = pytest.mark.parametrize("name", ["transformer", "hydra_mdp", "diffusion"])


def total(head: PlanningHead, output: PlanOutput, batch: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(head.loss(output, batch).values())).sum()


def answers(output: PlanOutput) -> list[Tensor]:
    """Return the plan, and the logits of heads whose plan is one of few."""
    return [output.trajectory, *(t for t in output.extra.values() if t.is_floating_point())]


def differ(one: PlanOutput, other: PlanOutput) -> bool:
    return not all(torch.equal(a, b) for a, b in zip(answers(one), answers(other), strict=True))


@every_head
@pytest.mark.parametrize("velocity", [(0.0, 0.0), (6.0, 0.2), (13.0, 0.0)])
def test_a_new_head_plans_close_to_constant_velocity(
    name: str, velocity: tuple[float, float]
) -> None:
    head, status = stubs.head(name).eval(), stubs.status(4, velocity)
    plan = head(stubs.tokens(4), status).trajectory.detach()
    steady = status[:, None, 4:6] * (torch.arange(1, 9) * 0.5).view(1, 8, 1)
    assert plan.shape == (4, 8, 3)
    assert (plan[..., :2] - steady).norm(dim=-1).mean() < 2.0
    assert plan[..., 2].abs().max() < 0.8


@every_head
def test_every_status_entry_matters(name: str) -> None:
    head, tokens, status = stubs.head(name).eval(), stubs.tokens(1), torch.zeros(1, 8)
    still = head(tokens, status)
    for entry in range(8):
        changed = status.clone()
        changed[0, entry] = 1.0
        assert differ(head(tokens, changed), still), entry


@attending
def test_it_matters_where_a_token_is(name: str) -> None:
    head, tokens, status = stubs.head(name).eval(), stubs.tokens(1), stubs.status()
    one, other = (answers(head(seen, status)) for seen in (tokens, tokens.flip(1)))
    # More than the order of a sum makes out.
    assert max((a - b).abs().max().item() for a, b in zip(one, other, strict=True)) > 1e-4


@every_head
@pytest.mark.parametrize("grid_hw", [(1, 1), (18, 73)], ids=["blind", "1314 tokens"])
def test_any_grid_of_tokens_will_do(name: str, grid_hw: tuple[int, int]) -> None:
    head = stubs.head(name, grid_hw)
    output = head(stubs.tokens(2, grid_hw), stubs.status(2))
    batch = tiny.batch(2)
    assert torch.isfinite(output.trajectory).all()
    assert torch.isfinite(total(head, output, batch))


@attending
def test_tokens_of_another_grid_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="`tokens` has shape"):
        stubs.head(name)(stubs.tokens(2, (1, 1)), stubs.status(2))


@every_head
@pytest.mark.parametrize("is_training", [True, False])
def test_bf16_autocast_gives_finite_float32_plans_and_losses(name: str, is_training: bool) -> None:
    head = stubs.head(name).train(is_training)
    batch = tiny.batch(4)
    with torch.autocast("cpu", torch.bfloat16):
        output = head(stubs.tokens(4).bfloat16(), batch["status"])
        loss = total(head, output, batch)
    torch.autograd.backward(loss)
    assert output.trajectory.dtype == loss.dtype == torch.float32
    assert torch.isfinite(output.trajectory).all()
    gradients = [p.grad for p in head.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in gradients)


@every_head
@pytest.mark.parametrize("is_training", [True, False])
def test_a_head_of_bf16_weights_keeps_its_geometry_in_float32(name: str, is_training: bool) -> None:
    head, batch = stubs.head(name).bfloat16().train(is_training), tiny.batch(4)
    output = head(stubs.tokens(4).bfloat16(), batch["status"])
    loss = total(head, output, batch)
    torch.autograd.backward(loss)
    assert output.trajectory.dtype == loss.dtype == torch.float32
    assert torch.isfinite(loss)
    if name in ANCHORED:
        assert torch.equal(head.anchors, stubs.head(name).anchors)


@every_head
def test_every_parameter_gets_a_gradient(name: str) -> None:
    head, batch = stubs.head(name), tiny.batch(4)
    torch.autograd.backward(total(head, head(stubs.tokens(4), batch["status"]), batch))
    assert not [n for n, p in head.named_parameters() if p.grad is None]


@every_head
def test_headings_stay_within_pi_whatever_the_network_says(name: str) -> None:
    head = stubs.head(name).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=30.0)
    heading = head(stubs.tokens(4), stubs.status(4)).trajectory[..., 2]
    assert heading.abs().max() <= math.pi + 1e-5


@every_head
def test_the_same_scene_gets_the_same_plan_whatever_was_drawn_before(name: str) -> None:
    head, tokens, status = stubs.head(name, dropout=0.3).eval(), stubs.tokens(3), stubs.status(3)
    first = head(tokens, status)
    torch.manual_seed(99)
    assert not differ(head(tokens, status), first)
    alone = head(tokens[1:2], status[1:2]).trajectory
    torch.testing.assert_close(alone, first.trajectory[1:2])


@every_head
def test_what_training_draws_comes_from_the_generator_that_resumes(name: str) -> None:
    head, tokens, status = stubs.head(name, anchor_dropout=0.5), stubs.tokens(2), stubs.status(2)
    torch.manual_seed(7)
    first = head(tokens, status)
    torch.manual_seed(7)
    assert not differ(head(tokens, status), first)


@every_head
def test_it_learns_to_drive_by_its_tokens_within_four_hundred_steps(name: str) -> None:
    tokens, batch = stubs.scenes()
    head = stubs.head(name)
    before, optimizer = error_m(head, tokens, batch), torch.optim.Adam(head.parameters(), lr=1e-3)
    for _ in range(400):
        tiny.step(optimizer, total(head, head(tokens, batch["status"]), batch))
    # The nearest of the stubs' anchors are 0.82 m away.
    assert before > 4.0
    assert error_m(head, tokens, batch) < 1.2


def error_m(head: PlanningHead, tokens: Tensor, batch: dict[str, Tensor]) -> float:
    plan = head.eval()(tokens, batch["status"]).trajectory.detach()
    head.train()
    return displacement(plan, batch["trajectory"]).mean().item()


@every_head
def test_the_record_says_how_many_parameters_it_has(name: str) -> None:
    head = stubs.head(name)
    assert head.describe()["parameters"] == sum(p.numel() for p in head.parameters())
    assert (head.describe().get("vocabulary_size") == 64) == (name in ANCHORED)


@every_head
def test_a_composed_config_with_lists_builds_the_same_head(name: str) -> None:
    plain = stubs.config(name)
    composed = OmegaConf.to_object(OmegaConf.structured(plain))
    assert isinstance(composed, HeadConfig)
    anchors = stubs.vocabulary() if name in ANCHORED else None
    built = build_head(composed, stubs.spec(), anchors)
    assert built.describe() == stubs.head(name).describe()
