"""The command line as a whole: what its light verbs import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tsfm_adapt

LAZY = ("torch", "lightning", "peft", "chronos", "transformers")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["list", "backbones"], ["list", "readers"], ["check", "--schema-only", "RECIPE"]],
)
def test_light_verbs_import_nothing_heavy(arguments: list[str]) -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "vitals_forecast.yaml"
    program = (
        "import sys\n"
        "from tsfm_adapt.cli import main\n"
        f"sys.argv = ['tsfm-adapt', *{arguments!r}]\n"
        f"sys.argv = [a.replace('RECIPE', {str(recipe)!r}) for a in sys.argv]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"heavy = [name for name in {LAZY!r} if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = f"import sys, tsfm_adapt; assert not set({LAZY!r}) & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert tsfm_adapt.__version__
