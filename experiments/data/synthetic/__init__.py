"""Procedural drives, rendered and written in the OpenScene log format."""
