"""What of a config leaves the machine, and what of one is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from launcher.errors import ConfigError
from launcher.tracking import card
from launcher.tracking.checking import check
from launcher.tracking.cleaning import publishable, secrets_in
from launcher.tracking.settings import check_id, from_container

KEY = "0123456789abcdef" * 2 + "01234567"


def test_secrets_and_folders_do_not_leave_and_science_does() -> None:
    config = {
        "optimizer": {"lr": 0.1, "betas": [0.9, 0.99]},
        "data": {"root": "/home/ada/navsim", "cache": str(Path.home() / "x"), "fraction": 0.1},
        "train_tokens_sha1": KEY,
        "hub": {"api_key": "x", "hf_token": "y", "url": "https://ada:pw@host/x", "name": "m"},
        "note": KEY,
        "num_tokens": 5,
        "token": "abc",
        "paths": {"output_dir": "/scratch/ada"},
        "a.b": 1,
    }
    assert publishable(config) == {
        "optimizer": {"lr": 0.1, "betas": [0.9, 0.99]},
        "data": {"fraction": 0.1},
        "train_tokens_sha1": KEY,
        "hub": {"name": "m"},
        "num_tokens": 5,
        "a_b": 1,
    }


def test_a_key_in_the_config_is_refused_with_the_reason_and_not_repeated() -> None:
    config = OmegaConf.create({"tracking": {"wandb": {"mode": "online", "api_key": KEY}}})
    with pytest.raises(ConfigError, match="frozen, recorded and published") as refused:
        check(config)
    assert KEY not in str(refused.value)


def test_a_key_for_the_jobs_in_the_profile_is_refused() -> None:
    environment = {"all": {"WANDB_API_KEY": KEY}}
    config = OmegaConf.create(
        {"tracking": {"csv": True}, "cluster": {"job_environment": environment}}
    )
    with pytest.raises(ConfigError, match=r"cluster\.job_environment\.all\.WANDB_API_KEY"):
        check(config)


def test_names_of_scenes_and_empty_values_are_no_secrets() -> None:
    assert secrets_in({"train_tokens": "a", "password": None, "x": {"secret": ""}}) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mode": "onlin"}, "legal: online, offline, disabled"),
        ({"project": "a/b"}, "contains `/`"),
        ({"project": ""}, "has 0 characters"),
        ({"entity": "a:b"}, "contains `:`"),
        ({"tags": ["x" * 65]}, "65 characters"),
        ({"finish_s": -1}, "below 0"),
        ({"finish_s": float("nan")}, "below 0"),
        ({"proj": "x"}, "proj"),
    ],
)
def test_what_wandb_would_refuse_is_refused_before_anything_is_sent(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        from_container({"wandb": settings})


def test_without_settings_there_are_plain_files() -> None:
    assert from_container(None).csv
    assert not from_container(None).wandb.is_on


def test_keys_of_runs_are_legal_ids() -> None:
    check_id("id", "93a53f1bab69")


def test_repetitions_share_an_arm() -> None:
    assert card.arm_of("backbone=vit seed=3") == card.arm_of("backbone=vit trainer.seed=1")
    assert card.arm_of("subset_seed=3") == "subset_seed=3"


def test_a_cluster_without_internet_is_offline_by_its_profile(tmp_path: Path) -> None:
    run: Any = SimpleNamespace(
        key="0123", name="n", run_dir=tmp_path / "s" / "0", place=None, num_nodes=1,
        ranks_per_node=1, cpus_per_rank=1, mem_gb=2.0,
    )  # fmt: skip
    settings = from_container({"wandb": {"mode": "online"}}).wandb
    found = card.make({"cluster": {"nodes_have_internet": False}}, run, settings)
    assert (found.mode, found.id, found.group) == ("offline", "0123", "s")
    assert "no internet" in found.reason
    assert card.make({}, run, settings).mode == "online"
