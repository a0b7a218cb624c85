"""The scorer gives the numbers of the official v1.1 code."""

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import experiments.scoring.pdm as package
from experiments.scoring.pdm import preflight, score, score_scenes, scorer_sha
from experiments.scoring.pdm.scene_json import Request, parse
from tests.unit.experiments.scoring.pdm import naive
from tests.unit.experiments.scoring.pdm.worlds import dev_scenes, varied

VALUES = ("nc", "dac", "ep", "ttc", "comfort", "ddc", "pdms")
FOLDER = Path(package.__file__).parent


@pytest.fixture(scope="module")
def recorded() -> list[dict[str, Any]]:
    return dev_scenes()


@pytest.fixture(scope="module")
def requests(recorded: list[dict[str, Any]]) -> list[Request]:
    return [parse(scene) for scene in recorded]


def test_all_recorded_scenes_have_the_official_values(recorded, requests):
    results = score_scenes([one.scene for one in requests], [one.plan[None] for one in requests])
    assert len(results) == 40
    for scene, scores in zip(recorded, results, strict=True):
        official = scene["official"]
        for name in VALUES:
            assert getattr(scores, name)[0] == pytest.approx(official[name], abs=1e-9), scene["id"]
        assert scores.poses[0, 40] == pytest.approx(official["final_pose"], abs=1e-6)
        assert scores.poses[0, 20] == pytest.approx(official["mid_pose"], abs=1e-6)


def test_one_scene_alone_scores_as_among_others(requests):
    few = requests[:6]
    together = score_scenes([one.scene for one in few], [one.plan[None] for one in few])
    for one, among in zip(few, together, strict=True):
        alone = score(one.scene, one.plan[None])
        for name in (*VALUES, "poses"):
            # Not to the bit: in which order a processor adds up few or many rows is its choice.
            np.testing.assert_allclose(
                getattr(alone, name), getattr(among, name), rtol=0, atol=1e-12, err_msg=name
            )


def test_the_slow_way_gives_the_official_values_too(recorded, requests):
    for number in (0, 3, 20, 32, 36, 37):
        one, official = requests[number], recorded[number]["official"]
        states = [naive.drive(one.scene, poses) for poses in both(one, one.plan)]
        values = naive.score(one.scene, states)
        assert {name: values[name] for name in VALUES} == pytest.approx(
            {name: official[name] for name in VALUES}, abs=1e-9
        )


@pytest.mark.parametrize("number", [3, 5, 14, 20, 26, 28, 32, 37])
def test_other_plans_score_as_the_slow_way_scores_them(requests, number):
    one = requests[number]
    plans = varied(one.plan, 4, seed=number)
    scores = score(one.scene, plans)
    for row, plan in enumerate(plans):
        states = [naive.drive(one.scene, poses) for poses in both(one, plan)]
        assert scores.poses[row, :, :2] == pytest.approx(states[1][:, :2], abs=1e-6)
        values = naive.score(one.scene, states)
        got = {name: getattr(scores, name)[row] for name in VALUES}
        assert got == pytest.approx({name: values[name] for name in VALUES}, abs=1e-9)


def test_preflight_passes_here():
    preflight()


@pytest.mark.parametrize(("name", "value"), [("ep", 0.6369), ("final_pose", [20.0, 0.0, 0.001])])
def test_preflight_refuses_a_value_that_differs(tmp_path, monkeypatch, name, value):
    cases = json.loads((FOLDER / "golden.json").read_text())
    cases[7]["official"][name] = value
    changed = tmp_path / "golden.json"
    changed.write_text(json.dumps(cases))
    monkeypatch.setitem(preflight.__globals__, "CASES", changed)
    with pytest.raises(RuntimeError, match=f"`{name}` of the golden case `5 m/s` is"):
        preflight()


def test_preflight_refuses_what_is_not_a_number(monkeypatch):
    def broken(*arguments, **options):
        results = score_scenes(*arguments, **options)
        results[0].pdms[:] = np.nan
        return results

    monkeypatch.setitem(preflight.__globals__, "score_scenes", broken)
    with pytest.raises(RuntimeError, match="`pdms` of the golden case `empty road, 10 m/s` is nan"):
        preflight()


def test_the_sha_covers_all_sources_that_the_score_imports():
    listed = set(score.__globals__["SOURCES"])
    found, todo = set(), {"score.py"}
    while todo:
        name = todo.pop()
        found.add(name)
        todo |= imported(FOLDER / name) - found
    assert found == listed
    assert len(scorer_sha()) == 64


def imported(path: Path) -> set[str]:
    modules = [
        node.module.rpartition(".")[2] + ".py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("experiments.scoring.pdm.")
    ]
    return set(modules)


def both(one: Request, plan: np.ndarray) -> list[np.ndarray]:
    """The global poses of the reference and of a plan."""
    times, knots = 0.1 * np.arange(41), 0.5 * np.arange(9)
    local = np.concatenate([np.zeros((1, 3)), plan])
    local[:, 2] = np.unwrap(local[:, 2])
    x, y, heading = (np.interp(times, knots, column) for column in local.T)
    px, py, turn = one.scene.ego.pose
    cos, sin = np.cos(turn), np.sin(turn)
    poses = np.stack([px + cos * x - sin * y, py + sin * x + cos * y, turn + heading], axis=-1)
    return [one.scene.reference, poses]
