"""Scores of a teacher: what the PDM score says of each trajectory of a vocabulary, in each window.

`experiments.teaching` makes them (task=teacher), heads learn from them.
"""
