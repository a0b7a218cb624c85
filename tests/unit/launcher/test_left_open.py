"""A run whose place the launcher chooses: what its config says then, and that it stays the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import DictConfig

from launcher.compose import Choice, WantedRun, as_asked
from launcher.freeze import config_sha, freeze_config
from tests.unit.composing import composer, current_config  # noqa: F401 a fixture

SITE = ("+cluster.partitions={a:{gpus_per_node:4},b:{gpus_per_node:8}}", "cluster.partition=auto")


class Chooses:
    """One choice after the other."""

    def __init__(self, *choices: Choice) -> None:
        self._choices = list(choices)

    def __call__(self, config: DictConfig) -> Choice:
        return self._choices.pop(0)


A = Choice(partition="a", nodes=2, gpus_per_node=4)
B = Choice(partition="b", nodes=1, gpus_per_node=8)


pytestmark = pytest.mark.usefixtures("current_config")


def composed(*overrides: str, choice: Choice) -> WantedRun:
    command = composer("hydra/launcher=slurm", *SITE, choose=Chooses(choice))
    (run,) = command.runs([[*SITE, *overrides]], 0)
    return run


def test_a_chosen_place_is_in_the_config_and_does_not_change_what_the_run_is(
    tmp_path: Path,
) -> None:
    first = composed(choice=A)
    second = composed(choice=B)
    assert (str(first.shape), str(second.shape)) == ("2 x 4 GPU", "1 x 8 GPU")
    assert second.settings.cluster.partition == "b"
    # The task reads it in the program's own groups.
    assert (second.config.cluster.partition, second.config.resources.gpus) == ("b", 8)
    assert first.key == second.key
    assert first.profile_dir == second.profile_dir
    assert config_sha(first) == config_sha(second)
    assert freeze_config(replace(first, run_dir=tmp_path), 1)[1] == config_sha(second)


def test_what_was_asked_can_be_had_back() -> None:
    run = composed(choice=B)
    asked = as_asked(run)
    assert (asked.cluster.partition, asked.resources.gpus) == ("auto", 0)
    assert asked.hydra.launcher.resources.nodes is None


def test_who_asks_for_another_number_of_gpus_asks_for_another_run() -> None:
    four = composed("resources.gpus=4", choice=A)
    eight = composed("resources.gpus=8", choice=A)
    assert config_sha(four) != config_sha(eight)


def test_a_place_that_the_user_names_is_part_of_what_is_asked() -> None:
    named = composed("cluster.partition=a", choice=B)
    assert named.left_open is None
    assert as_asked(named) == named.config
