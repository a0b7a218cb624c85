"""Predicted against measured memory, on a lab with real limits."""
