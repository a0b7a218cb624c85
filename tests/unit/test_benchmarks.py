"""The figures in benchmarks/README.md are those of the files that GPUs left."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.programs import REPOSITORY


def checked(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "results.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_table_is_made_from_the_files() -> None:
    done = checked(REPOSITORY / "benchmarks", "--check")
    assert done.returncode == 0, done.stderr


def test_a_figure_that_no_file_says_is_refused_and_written_anew(tmp_path: Path) -> None:
    folder = tmp_path / "benchmarks"
    shutil.copytree(REPOSITORY / "benchmarks", folder)
    path = folder / "gpu" / "results" / "teacher.json"
    result = json.loads(path.read_text())
    result["found"]["task_ms_per_plan"] = 0.125
    path.write_text(json.dumps(result))
    assert checked(folder, "--check").returncode == 1
    assert checked(folder).returncode == 0
    assert "8,000 plans/s | measured" in (folder / "README.md").read_text()
    assert checked(folder, "--check").returncode == 0
