"""Hydra-MDP: what it learns, from whom, and by which rule it chooses."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from experiments.data import DataError
from experiments.models.heads import HydraMdpHead, PlanOutput
from experiments.models.heads.hydra_rules import formula, total_score
from experiments.settings import HeadConfig
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny
from tests.unit.experiments.models.heads import stubs

PDM = ("nc", "dac", "ttc", "ep", "comfort")


def hydra(**changes: Any) -> HydraMdpHead:
    head = stubs.head("hydra_mdp", **changes)
    assert isinstance(head, HydraMdpHead)
    return head


def planned(head: HydraMdpHead, size: int = 4) -> PlanOutput:
    output: PlanOutput = head(stubs.tokens(size), stubs.status(size))
    return output


def with_scores(scores: Tensor) -> dict[str, Tensor]:
    return {**tiny.batch(len(scores)), "teacher": scores}


def logits(**values: float) -> dict[str, Tensor]:
    """Return logits (1, 1) of these probabilities."""
    return {name: torch.logit(torch.tensor([[value]])) for name, value in values.items()}


def test_it_plans_with_an_anchor() -> None:
    head = hydra().eval()
    plan = planned(head).trajectory
    nearest = (head.anchors[None] - plan[:, None]).abs().amax(dim=(2, 3)).amin(dim=1)
    assert not nearest.any()


def test_the_imitation_target_is_a_softmax_of_squared_distances() -> None:
    head = hydra(imitation_sigma_m2=0.5)
    human = tiny.batch(1)["trajectory"]
    distances = (head.anchors - human).square().sum(dim=(1, 2))
    target = torch.softmax(-distances / 0.5, dim=0)
    output = PlanOutput(human, {"imitation": torch.randn(1, 64), "rows": torch.arange(64)})
    expected = -(target * output.extra["imitation"][0].log_softmax(dim=0)).sum()
    terms = head.loss(output, {"trajectory": human})
    assert list(terms) == ["imitation"]
    torch.testing.assert_close(terms["imitation"], expected)


def test_without_a_teacher_only_imitation_is_learnt_and_that_is_said() -> None:
    head = hydra()
    assert head.targets == frozenset()
    assert set(planned(head).extra) == {"imitation", "rows"}
    said = head.describe()
    assert (said["teacher"], said["learns"], said["rule"]) == ("none", ["imitation"], None)
    assert said["score"] == "S_im (no teacher, so head.rule is not used)"


@pytest.mark.parametrize("ep", [True, False])
def test_with_a_teacher_each_metric_has_one_logit_per_anchor(ep: bool) -> None:
    head = hydra(teacher="scores", ep=ep)
    learnt = [m for m in PDM if m != "ep" or ep]
    assert head.targets == {"teacher"}
    extra = planned(head).extra
    assert all(extra[name].shape == (4, 64) for name in ["imitation", *learnt])
    assert head.describe()["learns"] == ["imitation", *learnt]
    terms = head.loss(planned(head), with_scores(torch.rand(4, 64, 5)))
    assert list(terms) == ["imitation", *learnt]


def test_bytes_of_a_teacher_are_its_scores_times_255() -> None:
    head = hydra(teacher="scores", ep=True).eval()
    output, raw = planned(head), torch.randint(0, 256, (4, 64, 5), dtype=torch.uint8)
    from_bytes = head.loss(output, with_scores(raw))
    from_floats = head.loss(output, with_scores((raw / 255.0).double()))
    for name, term in from_bytes.items():
        torch.testing.assert_close(term, from_floats[name])


def test_columns_of_the_teacher_are_taken_by_name() -> None:
    head = hydra(teacher="scores", teacher_metrics=("comfort", "ttc", "dac", "nc")).eval()
    output = planned(head)
    scores = torch.zeros(4, 64, 4)
    scores[..., 3] = 1.0  # no at-fault collision anywhere
    terms = head.loss(output, with_scores(scores))
    expected = -3.0 * torch.nn.functional.logsigmoid(output.extra["nc"]).mean()
    torch.testing.assert_close(terms["nc"], expected)
    unwanted = torch.nn.functional.softplus(output.extra["dac"]).mean()
    torch.testing.assert_close(terms["dac"], 3.0 * unwanted)


@pytest.mark.parametrize(("ep_loss", "at_half"), [("bce", math.log(2.0)), ("mse", 0.09)])
def test_ego_progress_is_learnt_as_it_is_said(ep_loss: str, at_half: float) -> None:
    head = hydra(teacher="scores", ep=True, ep_loss=ep_loss)
    extra = {name: torch.zeros(2, 64) for name in ("imitation", *PDM)}
    output = PlanOutput(torch.zeros(2, 8, 3), {**extra, "rows": torch.arange(64)})
    terms = head.loss(output, with_scores(torch.full((2, 64, 5), 0.8)))
    assert terms["ep"].item() == pytest.approx(2.0 * at_half, rel=1e-5)
    assert head.describe()["ep"] == ep_loss


@pytest.mark.parametrize("shape", [(4, 32, 5), (4, 64, 7)])
def test_scores_of_another_vocabulary_are_refused(shape: tuple[int, ...]) -> None:
    head = hydra(teacher="scores")
    with pytest.raises(DataError, match=f"scored {shape[1]} trajectories by {shape[2]} metrics"):
        head.loss(planned(head), with_scores(torch.rand(*shape)))


def test_what_the_teacher_forbids_is_not_chosen() -> None:
    head = hydra(teacher="scores", velocity_prior=False)
    tokens, status = stubs.tokens(4), stubs.status(4)
    batch = with_scores(torch.ones(4, 64, 5))
    allowed = head.anchors[:, -1, 2] > 0.0
    batch["teacher"][:, ~allowed, 1] = 0.0
    optimizer = torch.optim.Adam(head.parameters(), lr=2e-3)
    for _ in range(40):
        tiny.step(optimizer, torch.stack([*head.loss(head(tokens, status), batch).values()]).sum())
    output = head.eval()(tokens, status)
    assert (output.extra["dac"][:, allowed] > 0.0).float().mean() > 0.9
    chosen = (head.anchors[None] == output.trajectory[:, None]).all(dim=(2, 3)).int().argmax(dim=1)
    assert allowed[chosen].all()


def test_the_rule_of_the_paper() -> None:
    config = HeadConfig(teacher="scores", ep=True)
    scores = logits(nc=0.9, dac=0.8, ttc=0.7, ep=0.6, comfort=0.5)
    total = total_score(config, torch.zeros(1, 1), scores)
    expected = 0.1 * math.log(0.9) + 0.9 * math.log(0.8) + 6.0 * math.log(3.5 + 3.0 + 1.0)
    assert total.item() == pytest.approx(expected, rel=1e-5)
    assert formula(config) == (
        "0.03 log S_im + 0.1 log S_nc + 0.9 log S_dac + 6 log(5 S_ttc + 5 S_ep + 2 S_comfort)"
    )


def test_the_rule_of_the_fork_counts_lane_keeping_only_where_it_was_learnt() -> None:
    scores = logits(nc=0.9, dac=0.8, ttc=0.7, ep=0.6, comfort=0.5)
    imitation = torch.tensor([[0.0, math.log(3.0)]])
    plain = HeadConfig(teacher="scores", ep=True, rule="additive")
    total = total_score(plain, imitation, scores)
    expected = 0.3 * 0.8 + 0.2 * (0.9 + 0.7 + 0.6)
    torch.testing.assert_close(total, expected * torch.tensor([[0.25, 0.75]]))
    assert formula(plain) == "S_im (0.2 S_nc + 0.3 S_dac + 0.2 S_ttc + 0.2 S_ep)"
    with_lanes = HeadConfig(
        teacher="scores", ep=True, rule="additive", teacher_metrics=(*PDM, "lk")
    )
    total = total_score(with_lanes, imitation, {**scores, **logits(lk=0.4)})
    torch.testing.assert_close(total, (expected + 0.04) * torch.tensor([[0.25, 0.75]]))


def test_the_two_rules_can_disagree() -> None:
    imitation = torch.tensor([[4.0, 0.0]])
    scores = {m: torch.tensor([[-2.0, 2.0]]) for m in PDM}
    chosen = {
        rule: total_score(HeadConfig(teacher="scores", ep=True, rule=rule), imitation, scores)
        for rule in ("log_sum", "additive")
    }
    assert chosen["log_sum"].argmax() == 1
    assert chosen["additive"].argmax() == 0


def test_half_of_the_vocabulary_takes_part_in_a_step_and_all_of_it_in_a_plan() -> None:
    head = hydra(teacher="scores", anchor_dropout=0.5)
    output = planned(head)
    assert output.extra["imitation"].shape == output.extra["nc"].shape == (4, 32)
    assert len(set(output.extra["rows"].tolist())) == 32
    assert not torch.equal(planned(head).extra["rows"], output.extra["rows"])
    scores = torch.rand(4, 64, 5)
    output.extra["nc"].retain_grad()
    term = head.loss(output, with_scores(scores))["nc"]
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(
        output.extra["nc"], scores[:, output.extra["rows"], 0]
    )
    torch.testing.assert_close(term, 3.0 * wanted)
    assert planned(head.eval()).extra["imitation"].shape == (4, 64)


def test_without_attention_among_anchors_each_is_scored_by_itself() -> None:
    head = hydra(anchor_attention=False).eval()
    assert all(layer.own is None for layer in head.decoder.layers)
    with_it = sum(p.numel() for p in hydra().parameters())
    assert sum(p.numel() for p in head.parameters()) < with_it


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher_metrics": ("nc", "dac")}, "lacks `ttc`, by which hydra_mdp chooses"),
        ({"teacher_metrics": ("nc", "nc", "dac", "ttc")}, "names a column twice"),
        ({"ep": True, "teacher_metrics": ("nc", "dac", "ttc")}, "lacks `ep`"),
        ({"teacher_metrics": ("nc", "dca", "ttc")}, "head.teacher_metrics=dca"),
        ({"rule": "logsum"}, r"did you mean head.rule=log_sum"),
        ({"imitation_sigma_m2": 0.0}, "is not above 0"),
        ({"anchor_dropout": 1.0}, r"outside \[0, 1\)"),
    ],
)
def test_values_that_mean_nothing_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HeadConfig(teacher="scores", **changes)
