from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.data import DataError, pcd

ASCII = """# .PCD v0.7 - Point Cloud Data file format
VERSION 0.7
FIELDS x y z intensity
SIZE 4 4 4 4
TYPE F F F F
COUNT 1 1 1 1
WIDTH 2
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS 2
DATA ascii
1.5 -2 0.25 7
3 4 5 6
"""


def some_points() -> np.ndarray:
    points = np.zeros(3, pcd.POINT)
    points["x"], points["ring"] = [1.0, -2.5, 1e3], [0, 7, 255]
    return points


def test_written_points_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.pcd"
    path.write_bytes(pcd.encode(some_points()))
    np.testing.assert_array_equal(pcd.read(path), some_points())


def test_ascii_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pcd"
    path.write_text(ASCII)
    points = pcd.read(path)
    assert points["y"].tolist() == [-2.0, 4.0]
    assert points["intensity"].tolist() == [7.0, 6.0]


def test_mixed_types_and_padding_fields_are_read(tmp_path: Path) -> None:
    record = np.dtype([("x", "<f8"), ("_", "<u1", (3,)), ("t", "<i4")])
    points = np.zeros(2, record)
    points["x"], points["t"] = [1.0, 2.0], [-5, 6]
    header = (
        "FIELDS x _ t\nSIZE 8 1 4\nTYPE F U I\nCOUNT 1 3 1\nWIDTH 2\nHEIGHT 1\nPOINTS 2\n"
        "DATA binary\n"
    )
    path = tmp_path / "a.pcd"
    path.write_bytes(header.encode() + points.tobytes())
    assert pcd.read(path)["t"].tolist() == [-5, 6]


def test_a_truncated_file_names_itself(tmp_path: Path) -> None:
    path = tmp_path / "torn.pcd"
    path.write_bytes(pcd.encode(some_points())[:-1])
    with pytest.raises(DataError, match=r"torn\.pcd.*44 of 45 bytes"):
        pcd.read(path)


@pytest.mark.parametrize("content", [b"", b"FIELDS x\n", b"DATA binary\n", b"\xff\xfe\x00"])
def test_what_is_no_point_cloud_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.pcd"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"odd\.pcd"):
        pcd.read(path)


def test_a_missing_file_names_itself(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.pcd.*No such file"):
        pcd.read(tmp_path / "gone.pcd")


def test_compressed_files_come_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.pcd"
    path.write_text(ASCII.replace("DATA ascii", "DATA binary_compressed"))
    with pytest.raises(DataError, match="pcl_convert_pcd_ascii_binary"):
        pcd.read(path)
