"""What the record of a study keeps of the commands that issued it."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher import files, store
from launcher.declaring import Declared, declare
from launcher.settings import StudyLauncherConf


def test_a_study_that_is_issued_again_was_created_when_it_was_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, later = "2026-01-01T00:00:00+00:00", "2026-02-02T00:00:00+00:00"
    for stamp, overrides in ((first, ["x=1"]), (later, ["x=1,2"])):
        monkeypatch.setattr(files, "now", lambda stamp=stamp: stamp)
        declare(tmp_path, Declared(), StudyLauncherConf(), scheduler="local", overrides=overrides)
    record = store.read_study(tmp_path)
    assert (record.created, record.overrides) == (first, ["x=1,2"])
