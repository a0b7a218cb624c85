"""The tests of the launcher."""
