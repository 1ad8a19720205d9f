"""A copy of the project in which components may be begun, and commands run with its package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tsfm_adapt.components import PACKAGES

ROOT = Path(__file__).parents[2]


def copied(folder: Path) -> Path:
    """A checkout without the tests of others; weights and types' cache are those of this one."""
    for name in ("src", "docs", "tools"):
        ignored = shutil.ignore_patterns("*.safetensors", "__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for weights in (ROOT / "src").rglob("*.safetensors"):
        (folder / weights.relative_to(ROOT)).symlink_to(weights)
    shutil.copytree(ROOT / "tests" / "contracts", folder / "tests" / "contracts")
    if (ROOT / ".mypy_cache").is_dir():  # of the gates: checking types takes a third of the time
        shutil.copytree(ROOT / ".mypy_cache", folder / ".mypy_cache")
    for name in ("README.md", "pyproject.toml", "tests/conftest.py"):
        shutil.copy2(ROOT / name, folder / name)
    for package in PACKAGES.values():
        (folder / "tests" / package).mkdir(parents=True)
    return folder


def run(folder: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """`python -m WORDS` in a checkout, with the package of that checkout."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done
