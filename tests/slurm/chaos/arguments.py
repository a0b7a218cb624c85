"""What `python -m tests.slurm chaos` can be asked for."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be chosen."""
    add = parser.add_argument
    add("--only", nargs="+", default=[], metavar="NAME", help="these faults; --list names them")
    add("--ranks", type=int, choices=(1, 4), help="one rank, or two nodes of two ranks each")
    add("--third", action="store_true", help="the part that tests run by default")
    add("--parallel", type=int, default=2, help="cases at once")
    add("--evidence", action="store_true", help="print what the verdicts rest on")
    add("--list", action="store_true", help="name the faults, and stop")
