"""Ranks on GPUs are told a batch later what they agreed on; all of them at the same batch."""

from __future__ import annotations

import pytest
import torch

from launcher.callbacks.agreement import Agreement, Wishes
from launcher.callbacks.underway import Underway

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


class Answers(Agreement):
    """What the ranks answer, in turn: stop, save, and the time of a batch of the slowest."""

    def __init__(self, device: torch.device, *answers: tuple[float, float, float]) -> None:
        super().__init__(2, device)
        self.answers = list(answers)

    def _ask(self, mine: Wishes, batch_s: float) -> Underway:
        return Underway(dict(zip("abc", self.answers.pop(0), strict=True)))


NOTHING = (0.0, 0.0, 0.1)


def batches(agreement: Agreement, count: int) -> list[Wishes | str | None]:
    return [agreement.reach(Wishes()) if agreement.is_due() else "-" for _ in range(count)]


def test_the_answer_comes_with_the_next_batch() -> None:
    agreement = Answers(CUDA, NOTHING, (1.0, 0.0, 0.1))
    # The first is waited for: nobody knows yet how long a batch takes.
    expected = [Wishes(), *["-"] * 11, None, Wishes(stop=True), *["-"] * 11]
    assert batches(agreement, 25) == expected


def test_long_batches_are_waited_for() -> None:
    agreement = Answers(CUDA, (0.0, 0.0, 0.3), (0.0, 1.0, 0.3))
    assert batches(agreement, 5) == [Wishes(), "-", "-", "-", Wishes(save=True)]


def test_a_cpu_answers_at_once() -> None:
    agreement = Answers(CPU, NOTHING, (1.0, 0.0, 0.1))
    assert batches(agreement, 13) == [Wishes(), *["-"] * 11, Wishes(stop=True)]


def test_who_must_know_now_asks_anew() -> None:
    agreement = Answers(CUDA, NOTHING, NOTHING, (0.0, 1.0, 0.1))
    assert batches(agreement, 13)[-1] is None
    assert agreement.reach(Wishes(save=True), at_once=True) == Wishes(save=True)
    assert not agreement.is_due()


@pytest.mark.parametrize("wishes", [Wishes(stop=True), Wishes(save=True)])
def test_a_rank_that_is_alone_has_its_way(wishes: Wishes) -> None:
    assert Agreement(1, CUDA).reach(wishes) == wishes
