"""Nine cases with known scores, to be run where scores are about to be computed.

Some builds of numerical libraries give wrong results on some processors without a word. The scores
come from the official v1.1 code; a straight road with two lanes, with and without obstacles.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from experiments.scoring.pdm.scene_json import parse
from experiments.scoring.pdm.score import METRIC_VERSION, score_scenes

CASES = Path(__file__).with_name("golden.json")
TOLERANCE = 5e-5
"""Scores are to agree in four digits."""
POSE_TOLERANCE = 1e-4
"""[m] and [rad]."""
_VALUES = ("nc", "dac", "ep", "ttc", "comfort", "ddc", "pdms")


def preflight(device: torch.device | str = "cpu") -> None:
    """Score the golden cases on a device.

    Raises:
        RuntimeError: a value differs from the official one; nothing computed here can be trusted.
    """
    cases: list[dict[str, Any]] = json.loads(CASES.read_text())
    requests = [parse(case) for case in cases]
    results = score_scenes(
        [request.scene for request in requests],
        [request.plan[None] for request in requests],
        device=device,
    )
    for case, scores in zip(cases, results, strict=True):
        official = case["official"]
        for name in _VALUES:
            _compare(case, name, float(getattr(scores, name)[0]), official[name], TOLERANCE)
        for name, step in (("mid_pose", 20), ("final_pose", 40)):
            pairs = zip(scores.poses[0, step].tolist(), official[name], strict=True)
            for got, wanted in pairs:
                _compare(case, name, got, wanted, POSE_TOLERANCE)


def _compare(case: dict[str, Any], name: str, got: float, wanted: float, tolerance: float) -> None:
    # Not `>`: a value that is not a number must not pass.
    if not abs(got - wanted) <= tolerance:
        raise RuntimeError(
            f"the scorer ({METRIC_VERSION}) is wrong on this machine: `{name}` of the golden case "
            f"`{case['id']}` is {got:.6f} and should be {wanted:.6f}"
        )
