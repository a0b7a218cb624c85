from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from launcher.cli.cluster import _say_how_to_use
from launcher.errors import ConfigError
from launcher.settings import ClusterConfig
from launcher.sites import loading, writing
from launcher.sites.finding import Target
from launcher.sites.profile import Profile
from tests.programs import REPOSITORY


def found(**changes: object) -> Profile:
    profile = Profile(remarks=["SLURM 22.05.8"])
    values = {"partition": "gpu", "max_array_size": 1001, **changes}
    for name, value in values.items():
        profile.add((name,), value, "as found")
    profile.add(("partitions", "gpu", "max_time_min"), 2880, "[min]")
    profile.add(("partitions", "gpu", "accounts"), ["vision", "robots"])
    profile.add(("partitions", "low", "num_nodes"), 4)
    return profile


def edited(text: str, old: str, new: str) -> str:
    head, mark, tail = text.partition("# What was found")
    assert old in head
    return head.replace(old, new, 1) + mark + tail


def test_the_file_is_yaml_that_reads_as_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(writing.write(found(), None).text)
    cluster = loading.read(path)
    assert isinstance(cluster, ClusterConfig)
    assert cluster.partitions["gpu"].accounts == ["vision", "robots"]
    assert "max_time_min: 2880  # [min]" in path.read_text()
    assert "#   SLURM 22.05.8" in path.read_text()


def test_looking_again_changes_nothing_where_nothing_has_changed() -> None:
    first = writing.write(found(), None).text
    again = writing.write(found(), first)
    assert again.text == first
    assert again.kept == again.gone == []


def test_a_value_that_was_changed_by_hand_stays_and_what_was_found_is_said() -> None:
    mine = edited(writing.write(found(), None).text, "max_time_min: 2880", "max_time_min: 600")
    again = writing.write(found(max_array_size=501), mine)
    assert "max_time_min: 600  # yours; found: 2880" in again.text
    assert "max_array_size: 501" in again.text
    assert again.kept == ["partitions.gpu.max_time_min=600"]
    third = writing.write(found(max_array_size=501), again.text)
    assert third.text == again.text


def test_keys_that_only_a_person_writes_stay() -> None:
    mine = edited(
        writing.write(found(), None).text,
        "  gpu:\n",
        "  gpu:\n    speed: 0.87\n    setup: [ulimit -n 4096]\n",
    )
    tree = yaml.safe_load(writing.write(found(), mine).text)
    assert tree["partitions"]["gpu"]["speed"] == 0.87
    assert tree["partitions"]["gpu"]["setup"] == ["ulimit -n 4096"]


def test_what_was_removed_by_hand_stays_removed() -> None:
    mine = edited(writing.write(found(), None).text, "  low:\n    num_nodes: 4\n", "")
    mine = edited(mine, "max_array_size: 1001  # as found\n", "")
    again = writing.write(found(), mine)
    assert "low" not in yaml.safe_load(again.text)["partitions"]
    assert "max_array_size" not in yaml.safe_load(again.text)
    assert again.kept == ["partitions.low (left out)", "max_array_size (left out)"]
    assert writing.write(found(), again.text).text == again.text


def test_a_partition_that_is_gone_leaves_with_what_was_said_of_it() -> None:
    mine = edited(
        writing.write(found(), None).text, "    num_nodes: 4\n", "    num_nodes: 4\n    speed: 2\n"
    )
    without_low = found()
    del without_low.values[("partitions", "low", "num_nodes")]
    again = writing.write(without_low, mine)
    assert again.gone == ["low", "partitions.low.speed=2"]
    assert "low" not in yaml.safe_load(again.text)["partitions"]


def test_answers_of_a_person_stay_when_it_looks_again() -> None:
    answers = {("python", "kind"): "venv", ("partition",): "low"}
    first = writing.write(found(), None, answers=answers).text
    again = yaml.safe_load(writing.write(found(), first).text)
    assert (again["python"], again["partition"]) == ({"kind": "venv"}, "low")


def test_a_file_that_was_written_by_hand_is_completed_and_not_changed() -> None:
    again = writing.write(found(), "partition: low\nname: mine\n")
    tree = yaml.safe_load(again.text)
    assert (tree["partition"], tree["name"], tree["max_array_size"]) == ("low", "mine", 1001)


def test_the_shipped_placeholder_is_replaced() -> None:
    shipped = (REPOSITORY / "conf" / "cluster" / "site.yaml").read_text()
    assert writing.PLACEHOLDER in shipped
    tree = yaml.safe_load(writing.write(found(), shipped).text)
    assert "defaults" not in tree


def test_names_that_yaml_would_misread_stay_words() -> None:
    profile = Profile()
    profile.add(("partitions", "on", "gpu_type"), "2080")
    profile.add(("partitions", "123", "gpu_type"), "a: b #c")
    tree = yaml.safe_load(writing.write(profile, None).text)
    assert tree["partitions"] == {"on": {"gpu_type": "2080"}, "123": {"gpu_type": "a: b #c"}}


def test_a_file_that_cannot_be_read_is_refused_and_left_alone() -> None:
    with pytest.raises(ConfigError, match="no YAML"):
        writing.write(found(), "partition: [gpu\n")


def test_a_damaged_line_of_what_was_found_is_named() -> None:
    text = writing.write(found(), None).text
    mark = next(line for line in text.splitlines() if line.startswith("#: "))
    with pytest.raises(ConfigError, match="no line that") as caught:
        writing.write(found(), text.replace(mark, f"{mark}, edited"))
    assert f"`{mark}, edited`" in caught.value.message
    assert "--force" in str(caught.value.hint)
    assert writing.write(found(), None).text == text  # as --force does


def test_the_package_of_a_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    target = Target.of(path, "hydra.launcher.cluster")
    target.save(found(), force=False, answers={})
    assert path.read_text().startswith("# @package hydra.launcher.cluster\n")
    assert Target.of(path, None).package == "hydra.launcher.cluster"


@pytest.mark.parametrize(
    ("file", "package", "place"),
    [
        ("conf/cluster/here.yaml", None, None),
        ("here.yaml", None, "`conf/cluster`, as conf/cluster/here.yaml"),
        ("other/cluster/here.yaml", None, "`conf/cluster`, as conf/cluster/here.yaml"),
        ("other/cluster/here.yaml", "hydra.launcher.cluster", None),
        (
            "here.yaml",
            "hydra.launcher.cluster",
            "a folder `cluster` of your configs, as cluster/here.yaml",
        ),
    ],
)
def test_a_profile_that_no_config_would_find_is_told_where_to_lie(
    file: str,
    package: str | None,
    place: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "conf" / "cluster").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for path in (Path(file), tmp_path / file):
        assert Target.of(path, package).misplaced() == place


def test_how_to_use_a_profile_begins_with_where_it_has_to_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf" / "cluster").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    _say_how_to_use(Target.of(Path("here.yaml"), None))
    _say_how_to_use(Target.of(Path("conf/cluster/here.yaml"), None))
    use = "use it: hydra/launcher=slurm cluster=here"
    moved = "no config finds it there: move it into `conf/cluster`, as conf/cluster/here.yaml"
    assert capsys.readouterr().err.splitlines() == [moved, use, use]


def test_force_drops_what_was_changed_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    Target.of(path, None).save(found(), force=False, answers={})
    path.write_text(edited(path.read_text(), "partition: gpu", "partition: low"))
    Target.of(path, None).save(found(), force=True, answers={})
    assert yaml.safe_load(path.read_text())["partition"] == "gpu"


def test_what_a_profile_builds_on_is_read_with_it() -> None:
    cluster = loading.read(REPOSITORY / "conf" / "cluster" / "l40s.yaml")
    assert cluster.partition == "l40s_public"
    assert cluster.partitions["l40s_public"].num_nodes == 66


def test_a_profile_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="there is no cluster profile `l40`") as caught:
        loading.find("l40", REPOSITORY / "conf" / "cluster")
    assert caught.value.hint == "did you mean l40s?"


def test_a_misspelt_key_of_a_profile_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("partitoin: gpu\n")
    with pytest.raises(ConfigError, match="partitoin"):
        loading.read(tmp_path / "bad.yaml")
