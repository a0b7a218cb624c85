"""The small world of the data tests."""

from tests.unit.experiments.data.conftest import small_world, splits

__all__ = ["small_world", "splits"]
