"""The bridge to the official devkit, with a stand-in package of the devkit's shape."""

from __future__ import annotations

import json
import pickletools
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from experiments.data.errors import DataError
from experiments.data.source import SceneIndex
from experiments.scoring.navsim_bridge import (
    Team,
    devkit,
    read_official_scores,
    write_submission,
)
from experiments.settings import POSES
from experiments.statistics.table import Run, TokenScores
from launcher.errors import ConfigError

TEAM = Team(team_name="t", authors="a", email="e", institution="i", country="c")
RUN = Run("arm", 1.0, 0)
SAMPLING = "nuplan/planning/simulation/trajectory/trajectory_sampling.py"
RESULTS = (
    "no_at_fault_collisions",
    "drivable_area_compliance",
    "ego_progress",
    "time_to_collision_within_bound",
    "comfort",
    "driving_direction_compliance",
    "score",
)


def write_package(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for folder in path.relative_to(root).parents[:-1]:
            (root / folder / "__init__.py").touch()


def devkit_files(results: tuple[str, ...] = RESULTS) -> dict[str, str]:
    fields = "".join(f"    {name}: float\n" for name in results)
    return {
        "navsim/agents/abstract_agent.py": "",
        "navsim/common/dataclasses.py": (
            "from dataclasses import dataclass\n"
            "@dataclass\nclass Trajectory:\n    poses: object\n    trajectory_sampling: object\n"
            "    def __post_init__(self):\n"
            "        assert self.poses.shape == (self.trajectory_sampling.num_poses, 3)\n"
            f"@dataclass\nclass PDMResults:\n{fields}"
        ),
        SAMPLING: (
            "from dataclasses import dataclass\n"
            "@dataclass\nclass TrajectorySampling:\n"
            "    num_poses: int = None\n    time_horizon: float = None\n"
            "    interval_length: float = None\n"
        ),
    }


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Put a package beside the others, and take it out again."""

    def put(files: dict[str, str]) -> Path:
        root = tmp_path / "site"
        write_package(root, files)
        monkeypatch.syspath_prepend(root)
        return root

    yield put
    for name in [n for n in sys.modules if n.split(".")[0] in ("navsim", "nuplan")]:
        del sys.modules[name]


def test_without_the_devkit_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "navsim", None)
    with pytest.raises(ConfigError, match="not installed: no module `navsim`"):
        devkit()


def test_the_namesake_of_the_package_index_is_not_taken_for_it(
    install: Callable[..., Path],
) -> None:
    root = install({"navsim/simulator.py": "", "navsim/envs/unity.py": ""})
    with pytest.raises(ConfigError, match="is not the NAVSIM devkit") as caught:
        devkit()
    assert str(root / "navsim") in str(caught.value)
    assert "the `navsim` of the package index is another project" in str(caught.value)


def test_a_devkit_without_nuplan_is_told_apart(install: Callable[..., Path]) -> None:
    files = devkit_files()
    del files[SAMPLING]
    install(files)
    with pytest.raises(ConfigError, match="cannot be imported: No module named 'nuplan'"):
        devkit()


def test_the_devkit_is_known_by_its_module(install: Callable[..., Path]) -> None:
    root = install(devkit_files())
    found = devkit()
    assert found.folder == root / "navsim"
    assert found.is_v1


def test_the_second_version_is_told_apart(install: Callable[..., Path], tmp_path: Path) -> None:
    """Its submissions have another form, and its score is another one."""
    install(devkit_files((*RESULTS[:4], "lane_keeping", "history_comfort", "pdm_score")))
    assert not devkit().is_v1
    with pytest.raises(ConfigError, match="is not v1, whose submissions are written"):
        write_submission(tmp_path / "s.pkl", plans(1), TEAM)


def plans(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"{n:016x}": rng.normal(size=(POSES, 3)).astype(np.float32) for n in range(count)}


def test_a_submission_has_the_official_form(install: Callable[..., Path], tmp_path: Path) -> None:
    root, wanted = install(devkit_files()), plans(3)
    path = tmp_path / "submission.pkl"
    write_submission(path, wanted, TEAM)
    read = (
        "import pickle, sys, json\n"
        f"s = pickle.load(open({str(path)!r}, 'rb'))\n"
        "(p,) = s['predictions']\n"
        "t = next(iter(p.values()))\n"
        "print(json.dumps([sorted(s), list(p), type(t).__module__, str(t.poses.dtype),\n"
        "  t.trajectory_sampling.num_poses, t.trajectory_sampling.interval_length,\n"
        "  [v.poses.tolist() for v in p.values()]]))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", read], env={"PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    keys, tokens, module, dtype, poses, interval, values = json.loads(ran.stdout)
    assert keys == ["authors", "country / region", "email", "institution", "predictions",
                    "team_name"]  # fmt: skip
    assert tokens == list(wanted)
    assert (module, dtype, poses, interval) == ("navsim.common.dataclasses", "float32", 8, 0.5)
    assert np.array_equal(np.array(values, np.float32), np.stack(list(wanted.values())))


def test_a_submission_can_be_read_by_an_older_numpy(
    install: Callable[..., Path], tmp_path: Path
) -> None:
    """The devkit pins numpy 1.23, which has no `numpy._core`, and Python 3.9."""
    install(devkit_files())
    path = tmp_path / "submission.pkl"
    write_submission(path, plans(2), TEAM)
    said = {arg for op, arg, _ in pickletools.genops(path.read_bytes()) if isinstance(arg, str)}
    modules = {text for text in said if text.startswith("numpy")}
    assert modules == {"numpy"}
    assert path.read_bytes()[1] == 4


def test_a_submission_of_nothing_or_of_other_shapes_is_refused(
    install: Callable[..., Path], tmp_path: Path
) -> None:
    install(devkit_files())
    with pytest.raises(ValueError, match="no predictions"):
        write_submission(tmp_path / "s.pkl", {}, TEAM)
    with pytest.raises(ValueError, match=r"\(1, 6, 3\)"):
        write_submission(tmp_path / "s.pkl", {"a": np.zeros((6, 3))}, TEAM)
    with pytest.raises(ValueError, match="not finite"):
        write_submission(tmp_path / "s.pkl", {"a": np.full((8, 3), np.nan)}, TEAM)
    assert not (tmp_path / "s.pkl").exists()


INDEX = SceneIndex(
    token=np.array(["a1", "a2", "b1", "b2"], dtype="S"),
    log=np.array([0, 0, 1, 1], np.int32),
    frame=np.arange(4, dtype=np.int64),
    command=np.array([0, 1, 1, 2], np.int8),
    city=np.array([0, 0, 1, 1], np.int16),
    log_names=("log-a", "log-b"),
    cities=("boston", "vegas"),
)
ROWS = np.array([0, 2, 3])
VALUES = {
    "b2": (1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 0.79166),
    "a1": (0.5, 1.0, 1.0, 0.0, 1.0, 1.0, 0.29166),
    "b1": (1.0, 0.0, 0.0, 1.0, 1.0, 0.5, 0.0),
}


def write_table(
    path: Path,
    values: Mapping[str, tuple[float, ...]],
    *,
    failed: tuple[str, ...] = (),
    average: tuple[float, ...] | None = None,
    columns: tuple[str, ...] = RESULTS,
) -> Path:
    """Write what pandas writes of the devkit's table: a column of row numbers, then the rest."""
    lines = [",".join(["", "token", "valid", *columns])]
    for n, (token, row) in enumerate(values.items()):
        shown = [""] * len(row) if token in failed else [repr(value) for value in row]
        lines.append(",".join([str(n), token, str(token not in failed), *shown]))
    scored = [row for token, row in values.items() if token not in failed]
    means = average if average is not None else tuple(np.mean(scored, axis=0).tolist())
    last = [str(len(values)), "average", str(not failed), *map(repr, means)]
    path.write_text("\n".join([*lines, ",".join(last)]) + "\n")
    return path


def read(path: Path) -> TokenScores:
    return read_official_scores(path, run=RUN, index=INDEX, rows=ROWS, version="v1.1")


def test_an_official_table_becomes_ours(tmp_path: Path) -> None:
    found = read(write_table(tmp_path / "t.csv", VALUES))
    assert found.scorer == "navsim v1.1"
    assert found.metric_version == "pdms_v1"
    assert found.tokens == ("a1", "b1", "b2")
    assert found.logs == ("log-a", "log-b", "log-b")
    assert found.cities == ("boston", "vegas", "vegas")
    assert found.commands == ("left", "straight", "right")
    assert list(found.metrics) == ["nc", "dac", "ep", "ttc", "comfort", "ddc", "pdms"]
    assert found.metrics["ep"].tolist() == [1.0, 0.0, 0.5]
    assert found.metrics["nc"].tolist() == [0.5, 1.0, 1.0]
    assert found.metrics["ddc"].tolist() == [1.0, 0.5, 1.0]
    assert found.metrics["pdms"].tolist() == [0.29166, 0.0, 0.79166]


def test_scenes_on_which_the_devkit_failed_are_named(tmp_path: Path) -> None:
    """Its own mean leaves them out without a word."""
    path = write_table(tmp_path / "t.csv", VALUES, failed=("b1",))
    with pytest.raises(DataError, match=r"failed on 1 scenes in .*`b1`") as caught:
        read(path)
    assert "`average`" not in str(caught.value)


def test_scenes_that_the_devkit_left_out_are_named(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", {k: v for k, v in VALUES.items() if k != "b2"})
    with pytest.raises(DataError, match="no scores of 1 of 3 tokens: `b2`"):
        read(path)


def test_scenes_of_another_split_are_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", {**VALUES, "a2": VALUES["a1"]})
    with pytest.raises(DataError, match="1 tokens that nobody asked for: `a2`"):
        read(path)


def test_a_table_of_the_second_version_is_refused(tmp_path: Path) -> None:
    columns = (*RESULTS[:4], "history_comfort", *RESULTS[5:])
    path = write_table(tmp_path / "t.csv", VALUES, columns=columns)
    with pytest.raises(DataError, match=r"no table of NAVSIM v1\.1: it has no comfort"):
        read(path)


def test_a_table_that_was_edited_is_noticed(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", VALUES, average=(1.0,) * 7)
    with pytest.raises(DataError, match=r"averages in .* are off by"):
        read(path)


def test_a_table_that_is_cut_short_is_noticed(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", VALUES)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match="cut short"):
        read(path)
    path.write_text("\n".join(lines)[:-60] + "\n")
    with pytest.raises(DataError, match=r"`average` in .* has no number"):
        read(path)


def test_values_that_are_no_shares_are_named(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", {**VALUES, "b1": (1.0, 0.0, 0.0, 1.0, 1.0, 0.5, 7.0)})
    with pytest.raises(DataError, match=r"token `b1` .*beyond 0\.\.1"):
        read(path)


def test_a_token_that_comes_twice_is_named(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", VALUES)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1]]) + "\n")
    with pytest.raises(DataError, match="holds token `b2` twice"):
        read(path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read the devkit's table .*none\.csv"):
        read(tmp_path / "none.csv")
