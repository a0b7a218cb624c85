"""What a run will need, from what earlier ones took. No scheduler, no torch.

Pure but for `answers`, which reads the frozen configs of measured runs.
"""
