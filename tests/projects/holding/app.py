"""Holds memory of one kind for a while: its own, shared with children, or cached files."""

import mmap
import time
from pathlib import Path

import hydra

MB = 2**20
HOLD_S = 8.0


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    held = HOLD[config.what](config.mb)
    time.sleep(HOLD_S)
    return {"kinds": len(HOLD), "held": len(held)}


def memory(mb):
    return b"x" * (mb * MB)


def shared(mb):
    """Anonymous shared memory, as dataloader workers use it to hand over batches."""
    area = mmap.mmap(-1, mb * MB)
    for page in range(0, len(area), mmap.PAGESIZE):
        area[page] = 1
    return area


def cache(mb):
    """Pages of a file that was written and read: the kernel takes them back when it must."""
    path = Path("cached")
    with open(path, "wb") as file:
        for _ in range(mb):
            file.write(b"z" * MB)
    with open(path, "rb") as file:
        while file.read(MB):
            pass
    time.sleep(HOLD_S)
    path.unlink()
    return b""


HOLD = {"nothing": lambda _: b"", "memory": memory, "shared": shared, "cache": cache}

if __name__ == "__main__":
    main()
