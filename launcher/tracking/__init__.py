"""What leaves a run for W&B and its like: identity, rows, offline fragments, what is synced.

The training writes rows into a journal of its own, and a process beside it hands them to W&B as
soon as a checkpoint covers them. So no trouble of W&B reaches the training, and an interrupted run
is one run (docs/decisions/0021-rows-are-published-once-covered.md).
"""
