"""Faults of a cluster, done for real to a training that runs on one, and what comes of it."""
