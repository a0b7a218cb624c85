"""Every wrong word gets one message, exit code 2, and leaves nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import REPOSITORY, train

pytestmark = pytest.mark.local


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("backbone=ijpea", "did you mean backbone=ijepa?"),
        ("backbon=ijepa", "did you mean `backbone`?"),
        ("data.fractoin=0.5", "did you mean `fraction`?"),
        ("data.fraction=abc", "could not be converted to Float"),
        ("data.fraction=1.5", "`data.fraction=1.5` is outside (0, 1]"),
        ("data.fraction=0", "outside (0, 1]"),
        ("data.fraction=nan", "outside (0, 1]"),
        ("finetune.policy=frozn", "did you mean finetune.policy=frozen?"),
        ("hydra/launcher=slrum", "did you mean hydra/launcher=slurm?"),
        ("data=openscene", "`data.logs=data/navsim_logs` is not a folder"),
        ("resources.gpus=2", "this machine has"),
        ("resources.gpus=3", "nearest that do: 30 or 33"),
        ("trainer.batch_size=0", "batch sizes start at 1"),
        ("trainer.max_steps=0", "`trainer.max_steps=0` is below 1"),
        ("optimizer.lr=-1", "`optimizer.lr=-1.0` is below 0"),
        ("data.num_workers=-1", "`data.num_workers=-1` is below 0"),
        ("task=pretrain", "has no objective for `backbone=transfuser`"),
        ("backbone=ijepa,", "`backbone=ijepa,`"),
        ("nonsense", "nonsense"),
        ("paths.output_dir=", "`paths.output_dir=` is empty"),
        ("paths.output_dir=' '", "`paths.output_dir=` is empty"),
        ("paths.output_dir=/proc/nowhere", "cannot write `/proc/nowhere`"),
    ],
)
def test_a_wrong_word_gets_one_message(override: str, says: str, tmp_path: Path) -> None:
    done = train("-m", override, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "outputs").glob("*")) if (tmp_path / "outputs").exists() else True


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["hydra/sweeper=study", "backbone=glob(zz*)"], "`backbone=glob(zz*)` matches none of: bl"),
        (["hydra/sweeper=basic", "backbone=glob(zz*)"], "`backbone=glob(zz*)` matches none of: bl"),
        (["hydra.sweeper.max_batch_size=2", "seed=range(5,5)"], "`seed=range(5,5)` stands for no"),
    ],
)
def test_a_sweep_that_holds_no_run_is_refused_and_leaves_nothing(
    overrides: list[str], says: str, tmp_path: Path
) -> None:
    done = train("-m", *overrides, "dry_run=true", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert f"the sweep holds no run: {says}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_image_that_the_patches_do_not_fill_is_refused_before_submission(
    tmp_path: Path,
) -> None:
    done = train("backbone=ijepa", "data.image_hw=[50,192]", cwd=tmp_path)
    assert done.returncode == 2
    assert "nearest legal sizes: height 48 or 64" in done.stderr


def test_a_random_encoder_is_never_frozen(tmp_path: Path) -> None:
    done = train("backbone=ijepa", "backbone.weights=none", cwd=tmp_path)
    assert done.returncode == 2
    assert "random frozen encoder" in done.stderr


def test_without_dash_m_nothing_slips_past_the_launcher(tmp_path: Path) -> None:
    done = train("data.fraction=2", cwd=tmp_path)
    assert done.returncode == 2
    assert "outside (0, 1]" in done.stderr


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_output_folder_is_said_and_nothing_starts(full_disk: Path, tmp_path: Path) -> None:
    (full_disk / "filler").write_bytes(b"\0" * 8192)
    done = train("-m", f"paths.output_dir={full_disk}", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_read_only_output_folder_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    folder.mkdir()
    bind = ["mount", "--bind", str(folder), str(folder)]
    if subprocess.run(bind, check=False, capture_output=True).returncode:
        pytest.skip("a read-only mount needs root")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        done = train("-m", f"paths.output_dir={folder}", cwd=tmp_path)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert done.returncode == 2
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_submitting_side_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, launcher, launcher.plugin, launcher.submit, launcher.cli, experiments.report"
    )
    check = "; assert not {'torch', 'pytorch_lightning', 'timm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code + check], check=True, cwd=tmp_path)


def test_help_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch was imported')\n")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(Path(__file__).parents[2] / "train.py"), "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "hydra" in imported
    assert not imported & {"torch", "pytorch_lightning", "timm", "matplotlib", "pydantic"}


def test_help_of_launch_lists_commands_of_packages_without_importing_them(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['launch', '--help']; from launcher.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    packages = {name.partition(".")[0] for name in imported}
    assert "launcher.cli.foreign" in imported
    assert not packages & {"torch", "pytorch_lightning", "timm", "matplotlib", "experiments"}


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"]])
def test_a_reader_that_has_seen_enough_is_no_error(words: list[str], tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    command = [sys.executable, str(REPOSITORY / "train.py"), *words]
    os.close(ours)
    try:
        done = subprocess.run(
            command, stdout=theirs, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False
        )
    finally:
        os.close(theirs)
    assert done.returncode == 128 + signal.SIGPIPE
    assert "Broken pipe" not in done.stderr
    assert "Traceback" not in done.stderr
