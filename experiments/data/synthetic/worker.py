"""Process entry point: write every `stride`-th log from `first` on; `generate` starts it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from experiments.data.synthetic.generate import write_logs
from experiments.settings import SyntheticConfig


def main(argv: list[str]) -> None:
    """Run with the arguments config as JSON, root, first, stride."""
    text, root, first, stride = argv
    fields = json.loads(text)
    config = SyntheticConfig(**{**fields, "camera_hw": tuple(fields["camera_hw"])})
    write_logs(config, Path(root), range(int(first), config.num_logs, int(stride)))


if __name__ == "__main__":
    main(sys.argv[1:])
