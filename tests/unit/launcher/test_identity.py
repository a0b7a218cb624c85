"""Same science, same key; any change of science, another."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from launcher import identity

EXCLUDE = ["hydra", "resources", "cluster", "paths", "data.root"]

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
trees = st.dictionaries(
    st.text("abcde", min_size=1),
    st.recursive(scalars, lambda leaf: st.lists(leaf) | st.dictionaries(st.text("xyz"), leaf)),
)


def key(**parts: Any) -> str:
    config = {"model": {"width": 64, "lr": 1e-3}, "data": {"fraction": 1.0, "root": "a"}}
    return identity.run_key(OmegaConf.merge(OmegaConf.create(config), parts), EXCLUDE)


def test_other_hardware_and_paths_keep_the_key() -> None:
    assert key() == key(resources={"gpus": 16}, cluster={"name": "h200"}, paths={"output_dir": "x"})
    assert key() == key(data={"root": "/elsewhere"})


def test_a_default_made_explicit_keeps_the_key() -> None:
    assert key() == key(model={"width": 64})


def test_every_change_of_science_gives_another_key() -> None:
    changed = [key(model={"width": 65}), key(data={"fraction": 0.5}), key(extra=1)]
    assert len({key(), *changed}) == 4


def test_an_interpolation_has_the_key_of_its_value() -> None:
    assert key(model={"lr": "${paths.lr}"}, paths={"lr": 1e-3}) == key()


@given(trees)
def test_order_of_keys_does_not_matter(tree: dict[str, Any]) -> None:
    backwards = dict(reversed(tree.items()))
    assert identity.digest(tree) == identity.digest(backwards)


def test_study_id_ignores_order_and_hardware_but_not_values() -> None:
    first = identity.study_id(["backbone=a,b", "data.fraction=0.1,1.0"], EXCLUDE)
    assert first == identity.study_id(["data.fraction=0.1,1.0", "backbone=a,b"], EXCLUDE)
    assert first == identity.study_id(
        ["backbone=a,b", "data.fraction=0.1,1.0", "resources.gpus=4", "hydra/launcher=slurm"],
        EXCLUDE,
    )
    assert first != identity.study_id(["backbone=a,b", "data.fraction=0.1"], EXCLUDE)
    assert first.startswith("backbone-fraction-")


def test_names_show_only_what_differs() -> None:
    runs = [["backbone=a", "data.fraction=0.1", "x=1"], ["backbone=b", "data.fraction=0.1", "x=1"]]
    assert identity.short_names(runs) == ["backbone=a", "backbone=b"]
    assert identity.short_names([["x=1"]]) == ["base"]


def test_names_stay_long_where_two_keys_end_alike() -> None:
    runs = [["train.lr=1", "head.lr=1"], ["train.lr=2", "head.lr=2"]]
    assert identity.short_names(runs)[1] == "train.lr=2 head.lr=2"


def test_a_study_does_not_depend_on_the_order_of_swept_values() -> None:
    assert identity.study_id(["x=1,2"]) == identity.study_id(["x=2,1"])
    assert identity.study_id(["x=[1,2],[3]"]) != identity.study_id(["x=[3],[1,2]"])
