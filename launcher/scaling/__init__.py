"""How speed grows with the number of GPUs, from what runs and probes took."""
