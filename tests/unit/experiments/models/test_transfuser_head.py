"""NAVSIM's decoder plans and finds vehicles; guesses are matched to vehicles at least cost."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from experiments.models.backbone import BackboneSpec
from experiments.models.heads.base import PlanOutput
from experiments.models.heads.transfuser import TransFuserHead
from experiments.models.heads.transfuser_agents import AgentLosses, assigned, matching_cost
from experiments.settings import HeadConfig


def head(sensors: Any = ("image", "lidar"), grid_hw: tuple[int, int] = (2, 3)) -> TransFuserHead:
    spec = BackboneSpec(
        name="stub",
        token_dim=12,
        grid_hw=grid_hw,
        sensors=frozenset(sensors),
        input_hw=(48, 192),
    )
    sizes = {"dim": 16, "num_heads": 2, "ffn_dim": 32, "num_layers": 1}
    return TransFuserHead(HeadConfig(name="transfuser", **sizes), spec)


def agents(*boxes: tuple[float, ...]) -> dict[str, Tensor]:
    """One sample with these vehicles; the other places are empty."""
    states = torch.zeros(1, 30, 5)
    labels = torch.zeros(1, 30, dtype=torch.bool)
    for place, box in enumerate(boxes):
        states[0, place] = torch.tensor(box)
        labels[0, place] = True
    return {"agent_states": states, "agent_labels": labels}


def test_plan_and_guesses_have_their_shapes_and_ranges() -> None:
    model = head()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5.0)
    output = model(torch.randn(4, 6, 12), torch.randn(4, 8))
    states = output.extra["agent_states"]
    assert output.trajectory.shape == (4, 8, 3)
    assert output.trajectory[..., 2].abs().max() <= math.pi
    assert states.shape == (4, 30, 5)
    assert states[..., :2].abs().max() <= 32.0
    assert states[..., 2].abs().max() <= math.pi
    assert output.extra["agent_logits"].shape == (4, 30)


def test_every_entry_of_the_status_and_every_token_matters() -> None:
    model = head().eval()
    tokens, status = torch.randn(1, 6, 12), torch.randn(1, 8)
    plan = model(tokens, status).trajectory
    for entry in range(8):
        changed = status.clone()
        changed[0, entry] += 1.0
        assert not torch.allclose(model(tokens, changed).trajectory, plan, atol=1e-6), entry
    for token in range(6):
        other = tokens.clone()
        other[0, token] += 1.0
        assert not torch.allclose(model(other, status).trajectory, plan, atol=1e-6), token


def test_matching_has_the_least_cost_of_all_permutations() -> None:
    draw = torch.Generator().manual_seed(2)
    states, truth = (20 * torch.randn(1, 5, 5, generator=draw) for _ in range(2))
    logits = torch.randn(1, 5, generator=draw)
    there = torch.tensor([[True, False, True, True, False]])

    def cost(order: tuple[int, ...]) -> float:
        total = 0.0
        for guess, true in enumerate(order):
            label = there[0, true].float()
            total += 10 * torch.nn.functional.binary_cross_entropy_with_logits(
                logits[0, guess], label
            )
            total += label * (states[0, guess, :2] - truth[0, true, :2]).abs().sum()
        return float(total)

    best = min(itertools.permutations(range(5)), key=cost)
    found = assigned(matching_cost(states, logits, truth), there)[0].tolist()
    assert found == [true if there[0, true] else -1 for true in best]


@pytest.mark.parametrize("vehicles", [0, 1, 7, 30])
def test_matching_leaves_out_nothing_of_the_whole_problem(vehicles: int) -> None:
    draw = torch.Generator().manual_seed(vehicles)
    states, truth = (20 * torch.randn(4, 30, 5, generator=draw) for _ in range(2))
    logits = 3 * torch.randn(4, 30, generator=draw)
    there = torch.stack([torch.randperm(30, generator=draw) < vehicles for _ in range(4)])
    found = assigned(matching_cost(states, logits, truth), there)
    for vehicle, is_there, *of in zip(found, there, states, logits, truth, strict=True):
        matched = vehicle[vehicle >= 0]
        assert sorted(matched.tolist()) == is_there.nonzero().flatten().tolist()
        order = vehicle.clone()
        order[vehicle < 0] = (~is_there).nonzero().flatten()
        cost = whole_cost(*of, is_there)
        rows, columns = linear_sum_assignment(cost)
        assert cost[range(30), order].sum() == pytest.approx(cost[rows, columns].sum(), abs=1e-3)


def whole_cost(states: Tensor, logits: Tensor, truth: Tensor, there: Tensor) -> np.ndarray:
    """(30, 30) of each guess with each entry, vehicle or not."""
    label = there.float().expand(30, 30)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[:, None].expand(30, 30), label, reduction="none"
    )
    gaps = (states[:, None, :2] - truth[None, :, :2]).abs().sum(dim=-1)
    return (10 * entropy + gaps * label).numpy()


def terms_of(
    losses: AgentLosses, states: Tensor, logits: Tensor, truth: dict[str, Tensor]
) -> dict[str, Tensor]:
    found = losses(states, logits, truth["agent_states"], truth["agent_labels"])
    return dict(zip(("agent_class", "agent_box"), found, strict=True))


def test_order_of_vehicles_does_not_matter() -> None:
    losses = AgentLosses(max_angle=None)
    states, logits = 10 * torch.randn(1, 30, 5), torch.randn(1, 30)
    boxes = [(10.0, 2.0, 0.1, 4.5, 2.0), (-5.0, -3.0, 3.0, 4.0, 1.8), (20.0, 0.0, 0.0, 12.0, 2.5)]
    first = terms_of(losses, states, logits, agents(*boxes))
    again = terms_of(losses, states, logits, agents(*reversed(boxes)))
    for name in ("agent_class", "agent_box"):
        torch.testing.assert_close(first[name], again[name])


def test_perfect_guesses_cost_nothing_and_wrong_ones_what_was_published() -> None:
    truth = agents((10.0, 2.0, 0.1, 4.5, 2.0), (-5.0, -3.0, 3.0, 4.0, 1.8))
    sure = torch.full((1, 30), -50.0)
    sure[0, :2] = 50.0
    states = truth["agent_states"].clone()
    perfect = terms_of(AgentLosses(max_angle=None), states, sure, truth)
    assert max(term.item() for term in perfect.values()) < 1e-6
    states[0, 0] += torch.tensor([1.0, -1.0, 0.5, 0.0, 0.25])
    wrong = terms_of(AgentLosses(max_angle=None), states, sure, truth)
    # One of two vehicles is off by 2.75 in all.
    assert wrong["agent_box"] == pytest.approx(2.75 / 2)
    undecided = terms_of(AgentLosses(max_angle=None), states, torch.zeros(1, 30), truth)
    assert undecided["agent_class"] == pytest.approx(10 * math.log(2))


def test_scene_without_vehicles_has_no_box_loss_and_a_finite_gradient() -> None:
    states = torch.randn(2, 30, 5, requires_grad=True)
    logits = torch.zeros(2, 30, requires_grad=True)
    empty = {name: value.expand(2, *value.shape[1:]) for name, value in agents().items()}
    terms = terms_of(AgentLosses(max_angle=None), states, logits, empty)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    assert terms["agent_box"] == 0.0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_without_lidar_vehicles_behind_are_no_targets() -> None:
    ahead, behind = (10.0, 2.0, 0.0, 4.5, 2.0), (-10.0, 0.0, 0.0, 4.5, 2.0)
    states, logits = torch.zeros(1, 30, 5), torch.zeros(1, 30)
    both = agents(ahead, behind)
    cameras, lidar = (
        terms_of(model.agent_losses, states, logits, both) for model in (head(("image",)), head())
    )
    assert cameras["agent_box"] == pytest.approx(10 + 2 + 4.5 + 2)
    assert lidar["agent_box"] == pytest.approx((18.5 + 16.5) / 2)


def test_loss_sums_ten_times_the_mean_error_of_the_plan() -> None:
    model, truth = head(), agents()
    wanted = torch.randn(1, 8, 3)
    output = model(torch.randn(1, 6, 12), torch.randn(1, 8))
    shifted = PlanOutput(wanted + 0.5, output.extra)
    terms = model.loss(shifted, truth | {"trajectory": wanted})
    assert terms["imitation"] == pytest.approx(5.0)
    assert set(terms) == {"imitation", "agent_class", "agent_box"}
    assert model.targets == {"agents"}


def test_it_learns_plans_and_vehicles_together() -> None:
    model = head()
    draw = torch.Generator().manual_seed(0)
    tokens, status = torch.randn(8, 6, 12, generator=draw), torch.randn(8, 8, generator=draw)
    distance = 5 + 10 * torch.rand(8, generator=draw)
    boxes = agents((0.0, 0.0, 0.0, 4.5, 2.0))
    truth = {name: value.repeat(8, *[1] * (value.ndim - 1)) for name, value in boxes.items()}
    truth["agent_states"][:, 0, 0] = distance
    tokens[:, 2, 0] = distance / 5
    seconds = torch.arange(1, 9) * 0.5
    truth["trajectory"] = torch.stack(
        [distance[:, None] * seconds / 4, torch.zeros(8, 8), torch.zeros(8, 8)], dim=-1
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=6e-3)
    first: dict[str, float] = {}
    for _ in range(80):
        terms = model.loss(model(tokens, status), truth)
        first = first or {name: value.item() for name, value in terms.items()}
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        optimizer.step()
    for name, value in terms.items():
        assert value.item() < 0.35 * first[name], name


def test_all_parameters_get_a_gradient_and_bfloat16_is_finite() -> None:
    model = head()
    truth = agents((10.0, 2.0, 0.1, 4.5, 2.0)) | {"trajectory": torch.zeros(1, 8, 3)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = model.loss(model(torch.randn(1, 6, 12), torch.randn(1, 8)), truth)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    grads = {name: p.grad for name, p in model.named_parameters()}
    assert all(grad is not None and grad.isfinite().all() for grad in grads.values())


@pytest.mark.parametrize("entry", ["agent_states", "agent_labels"])
def test_labels_of_another_number_of_agents_are_refused(entry: str) -> None:
    truth = agents()
    truth[entry] = truth[entry][:, :20]
    with pytest.raises(ValueError, match=f"`{entry}` has shape"):
        terms_of(AgentLosses(max_angle=None), torch.zeros(1, 30, 5), torch.zeros(1, 30), truth)
