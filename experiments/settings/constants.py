"""What all rooms take for granted about plans and commands."""

from __future__ import annotations

POSES = 8
"""Poses of a planned trajectory."""
POSE_INTERVAL_S = 0.5
"""Time between two poses [s]; the horizon is 4 s."""
COMMANDS = ("left", "straight", "right", "unknown")
"""Order of the one-hot driving command in OpenScene logs."""
CAMERAS = ("CAM_L0", "CAM_F0", "CAM_R0")
"""Cameras of the stitched image, from left to right."""
