"""Scenes from JSON, and the command that scores them."""

import copy
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from experiments.data.errors import DataError
from experiments.scoring.__main__ import main
from experiments.scoring.pdm.preflight import CASES
from experiments.scoring.pdm.scene_json import parse
from tests.programs import REPOSITORY

CASE = json.loads(CASES.read_text())[3]  # a lead car at 7 m/s
VALUES = ("nc", "dac", "ep", "ttc", "comfort", "ddc", "pdms")


def without(case, *path):
    return altered(case, path, None, remove=True)


def altered(case, path, value, remove=False):
    result = copy.deepcopy(case)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return result


def test_tracks_keep_their_velocity_for_five_seconds():
    scene = parse(CASE).scene
    assert scene.tracks.boxes.shape == (1, 51, 5)
    assert scene.tracks.boxes[0, 50] == pytest.approx([12 + 35, 0, 0, 4.5, 2])
    assert scene.tracks.velocities[0, 50] == pytest.approx([7, 0])
    assert scene.tracks.present.all()


def test_the_reference_is_put_into_the_global_frame_every_tenth_of_a_second():
    turned = altered(CASE, ("ego", "pose"), [100.0, 200.0, np.pi / 2])
    scene = parse(turned).scene
    assert scene.reference[[0, 1, 40]] == pytest.approx(
        np.array([[100, 200, np.pi / 2], [100, 201, np.pi / 2], [100, 240, np.pi / 2]])
    )


def test_a_closed_ring_is_opened():
    ring = CASE["map"][0]["polygon"]
    closed = parse(altered(CASE, ("map", 0, "polygon"), [*ring, ring[0]]))
    assert np.array_equal(closed.scene.polygons[0].ring, parse(CASE).scene.polygons[0].ring)


BAD = [
    ([1], "the scene is `[1]`"),
    (without(CASE, "id"), "the scene has no `id`"),
    (without(CASE, "ego"), "has no `ego`"),
    (without(CASE, "ego", "vx"), "`ego` has no `vx`"),
    (altered(CASE, ("ego", "vx"), "fast"), "`vx` is `'fast'`"),
    (altered(CASE, ("ego", "vx"), True), "`vx` is `True`"),
    (altered(CASE, ("ego", "vx"), float("nan")), "`vx` is nan"),
    (altered(CASE, ("ego", "pose"), [1, 2]), "`pose` is `[1, 2]`"),
    (altered(CASE, ("map",), {}), "`map` is `{}`"),
    (altered(CASE, ("map",), []), "there are no polygons"),
    (altered(CASE, ("map", 1, "layer"), "path"), "polygon `lane0` has the layer `path`"),
    (altered(CASE, ("map", 1, "polygon"), [[0, 0], [1]]), "`map[1]`: `polygon` is"),
    (altered(CASE, ("map", 1, "polygon"), [[0, 0], [1, 1]]), "`lane0` has 2 distinct points"),
    (altered(CASE, ("map", 1, "polygon"), [[0, 0], ["a", 1], [2, 2]]), "`polygon` is"),
    (altered(CASE, ("route_lane_ids",), "lane0"), "`route_lane_ids` is `'lane0'`"),
    (altered(CASE, ("route_lane_ids",), [None]), "`route_lane_ids` is `None`"),
    (altered(CASE, ("centerline",), [[0, 0, 0]]), "centerline has 1 distinct points"),
    (altered(CASE, ("centerline",), []), "`centerline` is `[]`"),
    (without(CASE, "tracks", 0, "width"), "`tracks[0]` has no `width`"),
    (altered(CASE, ("tracks", 0, "type"), "tram"), "has the type `tram`"),
    (altered(CASE, ("tracks", 0, "length"), 0), "is 0 m long"),
    (altered(CASE, ("tracks",), CASE["tracks"] * 2), "comes twice"),
    (altered(CASE, ("plan",), CASE["plan"][:7]), "`plan` is"),
    (altered(CASE, ("plan", 2, 0), float("inf")), "`plan` has a number that is not finite"),
    (altered(CASE, ("reference",), None), "`reference` is `None`"),
]


@pytest.mark.parametrize(("value", "message"), BAD)
def test_wrong_input_is_refused_and_named(value, message):
    with pytest.raises(DataError) as refused:
        parse(value)
    assert message in refused.value.message


def written(tmp_path, content):
    path = tmp_path / "a scene.json"
    path.write_text(json.dumps(content))
    return str(path)


def test_one_scene_gives_an_object_without_the_reference(tmp_path, capsys):
    assert main([written(tmp_path, CASE)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == ["id", *VALUES, "final_pose", "mid_pose"]
    assert answer["id"] == CASE["id"]
    for name, value in CASE["official"].items():
        assert answer[name] == pytest.approx(value, abs=1e-4)


def test_a_list_gives_a_list_in_its_order(tmp_path, capsys):
    others = [altered(CASE, ("id",), number) for number in (7, 3)]
    assert main([written(tmp_path, others)]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == [7, 3]
    assert main([written(tmp_path, [])]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_bad_scene_of_a_list_refuses_all_of_it_by_name(tmp_path, capsys):
    assert main([written(tmp_path, [CASE, without(CASE, "id")])]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "scene 1 has no `id`" in printed.err


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b"{", "is not JSON"), (b"\xff\xfe{", "is not JSON")],
)
def test_a_file_that_is_no_json_is_refused(tmp_path, capsys, content, message):
    path = tmp_path / "scene.json"
    if content is not None:
        path.write_bytes(content)
    assert main([str(path)]) == 2
    assert message in capsys.readouterr().err


def test_the_command_ends_with_one_message_and_no_traceback(tmp_path):
    path = written(tmp_path, without(CASE, "ego"))
    command = [sys.executable, "-m", "experiments.scoring", path]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert lines[0] == f"error: scene `{CASE['id']}` has no `ego`"
    assert lines[1].startswith("hint: it has id, ")
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.json"], "`missing.json` cannot be read: No such file or directory"),
        (["."], "`.` cannot be read: Is a directory"),
        ([str(REPOSITORY / "README.md")], "is not JSON"),
        (["id.json"], "scene `1` has no `ego`"),
        (["number.json"], "the scene is `3`"),
        (["--device", "tpu", "id.json"], "`--device tpu` is not known"),
        ([], "the following arguments are required: file"),
        (["id.json", "more.json"], "unrecognized arguments: more.json"),
    ],
)
def test_what_a_stranger_gets_wrong_is_one_message_and_exit_code_2(
    tmp_path, monkeypatch, capsys, arguments, message
):
    (tmp_path / "id.json").write_text('{"id": 1}')
    (tmp_path / "number.json").write_text("3")
    monkeypatch.chdir(tmp_path)
    try:
        code = main(arguments)
    except SystemExit as ended:  # argparse, which says how it is called as well
        code = ended.code
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("error: ") == 1
    assert "Traceback" not in printed.err


def test_the_example_of_the_docs_prints_what_the_docs_say(tmp_path, capsys):
    page = (REPOSITORY / "docs" / "explanation" / "pdm-score.md").read_text()
    scene, printed = (
        json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    )
    assert main([written(tmp_path, scene)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == list(printed)
    for name in (*VALUES, "final_pose", "mid_pose"):
        assert answer[name] == pytest.approx(printed[name], abs=6e-4), name
