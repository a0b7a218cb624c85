"""What of the memory grows with the config besides workers and batches. Imports no torch."""

from launcher.estimates.memory import Needs

ROW_BYTES = 4096
"""Of a sample in the index."""


def needs(config):
    """A private index is held by each rank, and copied by each worker that walks through it."""
    if config.data.index == "mapped":
        return Needs()
    index_gb = config.data.index_samples * ROW_BYTES / 2**30
    return Needs(per_rank_gb={"index": index_gb}, per_worker_gb={"index": index_gb})
