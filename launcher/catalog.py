"""Find studies by name or folder."""

from __future__ import annotations

from pathlib import Path

from launcher.errors import StoreError

OUTPUTS = Path("outputs")
"""Where studies are looked for, seen from the current folder."""
HYDRAS = Path("multirun")
"""Where Hydra puts sweeps unless it is told otherwise."""


def find_study(name: str | None, root: Path) -> Path:
    """Folder of a study by path or name below `root`; without a name the one changed last.

    Raises:
        StoreError: there is none, or no study has that name.
    """
    if name is not None and (Path(name) / "study.json").exists():
        return Path(name)
    known = known_studies(root)
    if name is None:
        return known[-1]
    for folder in known:
        if folder.name == name:
            return folder
    alike = [folder for folder in known if folder.name.startswith(name)]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise StoreError(
            f"`{name}` is ambiguous", hint=f"studies: {', '.join(f.name for f in alike)}"
        )
    raise StoreError(
        f"no study `{name}` in `{root}`",
        hint="known: " + ", ".join(folder.name for folder in known[-5:]),
    )


def study_word(folder: Path) -> str:
    """The shortest word by which `find_study` finds a study from here with its usual root."""
    here = Path.cwd()
    if folder.parent == here / OUTPUTS:
        return folder.name
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def known_studies(root: Path) -> list[Path]:
    """Folders of the studies below `root`, the one that changed last at the end.

    Hydra's own layout, `<root>/<day>/<time>`, counts too; where nobody said which root, so does
    Hydra's own `multirun`.

    Raises:
        StoreError: there is none.
    """
    roots = [root, HYDRAS] if root == OUTPUTS else [root]
    records = [
        path
        for folder in roots
        for pattern in ("*/study.json", "*/*/study.json")
        for path in folder.glob(pattern)
    ]
    if not records:
        raise StoreError(
            f"no study in `{root}`",
            hint="name its folder, or start one: python <your program> -m hydra/launcher=slurm ...",
        )
    return [path.parent for path in sorted(records, key=lambda path: path.stat().st_mtime)]
