#!/usr/bin/env bash
# Installs what the tests need, then runs them. As root on Debian or Ubuntu that includes SLURM;
# elsewhere the tests that need it skip and say why. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -z "${VIRTUAL_ENV:-}" ]; then
    [ -d .venv ] || python3 -m venv .venv
    # shellcheck disable=SC1091
    . .venv/bin/activate
fi
python -m pip install --quiet --editable ".[dev]"
python -m tests.slurm install
# Two workers: all tests on clusters are one's, the rest the other's, file by file (conftest.py).
exec python -m pytest -n 2 --dist loadfile "$@"
