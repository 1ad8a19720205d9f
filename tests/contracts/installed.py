"""Packages as an installer leaves them, without an installer: sources and metadata in a folder."""

import tomllib
from pathlib import Path


def describe(folder: Path, name: str, groups: dict[str, dict[str, str]]) -> None:
    """Writes the metadata of a package beside its sources in a folder of `sys.path`.

    Args:
        folder: on the path.
        name: of the distribution.
        groups: group of entry points: entry: value.
    """
    lines: list[str] = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items()), ""]
    about = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("\n".join(lines))


def describe_project(folder: Path, project: Path) -> None:
    """The metadata that a project's pyproject.toml asks for."""
    own = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    describe(folder, own["name"], own["entry-points"])
