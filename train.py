"""The one command: `python train.py -m backbone=ijepa,transfuser data.fraction=0.1,0.5,1.0`."""

from typing import Any

import launcher
from experiments import settings

settings.register()


@launcher.main(config_path="conf", config_name="config")
def train(config: Any) -> Any:
    """Run one composed config; imported late, so that the submitting side needs no torch."""
    from experiments.tasks import run

    return run(config, launcher.current())


if __name__ == "__main__":
    train()
