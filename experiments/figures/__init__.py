"""Figures as bytes, from numbers alone, one kind in each file; imports no torch.

Nothing is imported here: a command that draws one figure should not load what others need.
"""
