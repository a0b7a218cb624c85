"""No script, however odd, is more than findings: reading it never raises."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.scripts.examining import examine_text
from launcher.scripts.options import SBATCH, SRUN
from tests.unit.launcher.scripts.samples import CORRECT, site

_VALUES = ["", "0", "1", "4", "8", "gpu:4", "gpu:h200:", "l40s:2", "1-", "-3", "$X", "24:00", "x=y"]
_PIECES = ["srun ", "python ", "t.py ", "torchrun ", "&", "\n", "\\\n", "'", '"', "$(", ")", "`"]
_PIECES += [
    "<<E\n",
    "E\n",
    "A=(",
    "a=1 ",
    "--x ",
    "# ",
    "-n",
    "-c ",
    "bash -c ",
    "|",
    ";",
    "${A[@]} ",
]
_PIECES += ["export ", "mpirun -np ", "devices=[0,", "num_workers=3 ", "apptainer exec ", "env -i "]
names = st.sampled_from([*SBATCH.takes, *SRUN.takes, "nope"])
values = st.sampled_from(_VALUES)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(names, values, st.booleans()), max_size=6))
def test_any_directives_are_read(options: list[tuple[str, str, bool]]) -> None:
    lines = [
        f"#SBATCH --{name}{'=' if is_long else ' '}{value}" for name, value, is_long in options
    ]
    text = CORRECT.replace("#SBATCH --requeue", "\n".join(lines))
    for found in examine_text(text, site()).findings:
        assert "\n" not in found.reason


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=12))
def test_any_shell_is_read(pieces: list[str]) -> None:
    text = "#!/bin/bash\n#SBATCH --nodes=2 --ntasks-per-node=4 --gres=gpu:4\n" + "".join(pieces)
    examine_text(text, site())


@pytest.mark.parametrize("text", [" -", " --", " - -", " -- --nodes=2", " -\t--"])
def test_dashes_alone_are_no_options_and_end_nothing(text: str) -> None:
    found = examine_text("#!/bin/bash\n#SBATCH" + text + "\nsrun hostname\n", None).findings
    assert "stray-word" in {finding.rule for finding in found}


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_read(text: str) -> None:
    examine_text("#SBATCH" + text, None)
