"""The command line in this process, and small recordings to give it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Runs `tsfm-adapt ARGS` in an empty working directory."""
    from tsfm_adapt.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["tsfm-adapt", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        code = stop.value.code
        return Outcome(0 if code is None else int(code), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Chronos-2 in upstream's own layout."""
    from tsfm_adapt.backbones.chronos2 import Chronos2

    folder = tmp_path_factory.mktemp("checkpoint")
    Chronos2.tiny().model.save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(checkpoint: Path) -> dict[str, object]:
    """A recipe over `table`, as a tree; 32 samples of context, 8 of horizon."""
    return _recipe(checkpoint)


def _recipe(checkpoint: Path) -> dict[str, object]:
    return {
        "name": "wards",
        "data": {
            "reader": {
                "name": "csv",
                "root": "vitals.csv",
                "layout": "wide",
                "subject": "patient",
                "time_format": "seconds",
                "units": {"HR": "bpm", "RESP": "breaths/min"},
            },
            "channels": {"HR": "bpm", "RESP": "breaths/min"},
            "rate_hz": "1/60",
            "split": {"by": "subject", "order": "name", "train": 4, "val": 2, "test": 2},
        },
        "backbone": {"name": "chronos2", "checkpoint": str(checkpoint)},
        "adapters": [{"name": "lora", "rank": 2}],
        "task": {"name": "forecast", "context_s": 1920, "horizon_s": 480},
        "train": {"steps": 4, "batch_size": 4},
    }


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """`vitals.csv`: eight subjects, 120 minutes, two channels with gaps."""
    return _table(tmp_path / "vitals.csv")


def _table(path: Path) -> Path:
    rng = np.random.default_rng(3)
    lines = ["patient,time,HR,RESP"]
    for patient in range(8):
        heart = 80 + np.cumsum(rng.normal(size=120))
        breath = 16 + rng.normal(size=120)
        for minute in range(120):
            shown = "" if rng.random() < 0.1 else f"{breath[minute]:.1f}"
            lines.append(f"p{patient},{minute * 60},{heart[minute]:.1f},{shown}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def trained_once(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with `vitals.csv`, `recipe.yaml` and a finished run of it."""
    from tsfm_adapt.cli import main

    place = tmp_path_factory.mktemp("trained")
    _table(place / "vitals.csv")
    (place / "recipe.yaml").write_text(yaml.safe_dump(_recipe(checkpoint)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(sys, "argv", ["tsfm-adapt", "train", "recipe.yaml", "--quiet"])
        with pytest.raises(SystemExit) as stop:
            main()
    assert not stop.value.code
    return place


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Path:
    """The folder of a finished run, relative to a working directory of the test's own."""
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    (folder,) = tmp_path.glob("runs/*/*")
    return folder.relative_to(tmp_path)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[dict[str, object]], Path]:
    """Writes a recipe's tree to `recipe.yaml`."""

    def write(tree: dict[str, object]) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(tree))
        return path

    return write
