"""A small Lightning training that takes known amounts of memory; tests predict them."""

import hydra
from eater.training import train


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    return train(config)


if __name__ == "__main__":
    main()
