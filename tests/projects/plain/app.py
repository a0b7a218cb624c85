"""A small Hydra program that knows nothing of our launcher; tests copy it and start it."""

import logging
import time
from pathlib import Path

import helper
import hydra

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    log.info("x is %s, helper says %s", config.x, helper.VALUE)
    if config.wait_for:
        while not Path(config.wait_for).exists():
            time.sleep(0.05)
    if config.x == config.fail:
        raise ValueError(f"x is {config.x}")
    if config.x == config.leave:
        raise SystemExit(0)
    return {"double": 2.0 * config.x, "helper": helper.VALUE}


if __name__ == "__main__":
    main()
