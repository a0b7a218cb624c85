"""A small Lightning training that any Hydra launcher can start; tests disturb it and watch."""

import hydra
from trainee.training import train


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    return train(config)


if __name__ == "__main__":
    main()
