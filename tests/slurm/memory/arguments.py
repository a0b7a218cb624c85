"""What `python -m tests.slurm memory` can be asked for."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be chosen."""
    add = parser.add_argument
    add("--only", nargs="+", default=[], metavar="NAME", help="these cases; --list names them")
    add("--one", action="store_true", help="calibrate with one run in place of two")
    add("--above", action="store_true", help="leave out the runs that are to be killed")
    add("--list", action="store_true", help="name the cases, and stop")
