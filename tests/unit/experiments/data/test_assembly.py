from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.data import Splits, datasets
from experiments.settings import DataConfig
from launcher.errors import ConfigError
from tests.unit.experiments.data.worlds import SMALL, WINDOWS_PER_LOG


def test_parts_share_no_log(splits: Splits) -> None:
    logs = [
        set(splits.source.index.log[part].tolist())
        for part in (splits.train, splits.val, splits.test)
    ]
    assert all(logs)
    assert len(set.union(*logs)) == sum(len(part) for part in logs) == SMALL.num_logs


def test_the_label_fraction_shrinks_training_only(small_world: DataConfig, splits: Splits) -> None:
    part = datasets(replace(small_world, fraction=0.3, allow_empty_strata=True))
    assert set(part.train.tolist()) < set(splits.train.tolist())
    assert part.train_tokens_sha256 != splits.train_tokens_sha256
    assert part.test_tokens_sha256 == splits.test_tokens_sha256
    np.testing.assert_array_equal(part.val, splits.val)
    np.testing.assert_array_equal(part.train_frames, splits.train_frames)


def test_pretraining_sees_all_frames_of_the_training_logs(splits: Splits) -> None:
    frames = splits.source.frame_log[splits.train_frames]
    names = {splits.source.index.log_names[log] for log in frames}
    assert names == set(splits.train_logs)
    assert len(frames) == len(splits.train_logs) * SMALL.frames_per_log


def test_the_summary_counts_logs_and_tokens(splits: Splits) -> None:
    summary = splits.summary()
    assert summary["train_tokens"] == len(splits.train_logs) * WINDOWS_PER_LOG
    assert summary["test_logs"] == len(splits.test_logs)


def test_too_few_logs_for_a_split_are_refused(small_world: DataConfig) -> None:
    with pytest.raises(ConfigError, match="none of 6 drives"):
        datasets(replace(small_world, val_share=0.5, test_share=0.5))


def test_data_and_scores_do_without_torch() -> None:
    code = "import sys, experiments.data, experiments.scoring; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[4])
