"""Score scenes of a JSON file: python -m experiments.scoring scene.json.

The file holds a scene as `experiments.scoring.pdm.scene_json` describes it, or a list of them;
docs/explanation/pdm-score.md shows one.
Prints an object, or a list: `id`, the sub-scores and the score of the plan, and where the ego
really is after 4 s and after 2 s.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from experiments.data.errors import DataError
from experiments.scoring.pdm.scene_json import Request, parse
from experiments.scoring.pdm.score import METRIC_VERSION, Scores, score_scenes, scorer_sha
from launcher.errors import ConfigError, LauncherError
from launcher.messages import show

SCENES_AT_ONCE = 64
FORM = "docs/explanation/pdm-score.md shows a scene; the file holds one, or a list of them"
_VALUES = ("nc", "dac", "ep", "ttc", "comfort", "ddc", "pdms")
_FINAL_STEP, _MID_STEP = 40, 20

Answer = dict[str, object]


def main(arguments: list[str] | None = None) -> int:
    """Print the scores of a file and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.scoring",
        description=f"PDM score {METRIC_VERSION} of the plans in a JSON file of scenes.",
        epilog=FORM,
    )
    parser.add_argument("file", type=Path, help="JSON of one scene, or of a list of scenes")
    parser.add_argument("--device", default="cpu", help="cpu (the default) or cuda")
    parser.add_argument("--version", action="version", version=f"{METRIC_VERSION} {scorer_sha()}")
    asked = parser.parse_args(arguments)
    try:
        device = _device(asked.device)
        answer = answer_to(_read(asked.file), device)
    except LauncherError as error:
        return show(error)
    sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    return 0


def answer_to(content: object, device: torch.device) -> Answer | list[Answer]:
    """Score decoded JSON: a scene, or a list of them.

    Raises:
        DataError: a scene is not as it should be.
    """
    if not isinstance(content, list):
        return _scored([parse(content)], device)[0]
    requests = [parse(scene, f"scene {number}") for number, scene in enumerate(content)]
    parts = range(0, len(requests), SCENES_AT_ONCE)
    return [row for i in parts for row in _scored(requests[i : i + SCENES_AT_ONCE], device)]


def _scored(requests: list[Request], device: torch.device) -> list[Answer]:
    scenes = [request.scene for request in requests]
    scores = score_scenes(scenes, [request.plan[None] for request in requests], device=device)
    return [_row(request, own) for request, own in zip(requests, scores, strict=True)]


def _row(request: Request, scores: Scores) -> Answer:
    values = {name: float(getattr(scores, name)[0]) for name in _VALUES}
    poses = {"final_pose": _FINAL_STEP, "mid_pose": _MID_STEP}
    places = {name: scores.poses[0, step].tolist() for name, step in poses.items()}
    return {"id": request.id, **values, **places}


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"`{path}` cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"`{path}` is not JSON: {error}", hint=FORM) from error


def _device(name: str) -> torch.device:
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"`--device {name}` is not known", hint="legal: cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("`--device cuda`, but torch sees no GPU", hint="leave it out")
    return torch.device(name)


if __name__ == "__main__":
    sys.exit(main())
