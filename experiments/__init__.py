"""End-to-end driving: data, models, scores and figures. Knows nothing of schedulers."""
