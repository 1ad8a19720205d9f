"""Every notebook runs from its first cell to its last, and each picture it asks for is there."""

import os
import re
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SOURCES = sorted(NOTEBOOKS.glob("*.py"))
CELL_S = 540  # of one cell, on a machine that does other things too


# Numbers of a notebook that only make it long, and what a default run puts in their place.
QUICK = {
    r"\bsteps\b(\"?): [0-9]+": r"steps\1: 4",
    r"\bval_windows\b(\"?): [0-9]+": r"val_windows\1: 8",
    r"\bvalidate_every: [0-9]+": "validate_every: 2",
    r"\bmax_windows\b(\"?)(=|: )[0-9]+": r"max_windows\1\g<2>24",
}


def quick(notebook):
    """Of few steps and windows; whatever else it does, it does."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for number, small in QUICK.items():
                cell.source = re.sub(number, small, cell.source)
    return notebook


def as_it_is(notebook):
    return notebook


def executed(source, shortened=as_it_is):
    """The notebook with its outputs; an exception in a cell is one here."""
    jupytext = pytest.importorskip("jupytext", reason="needs the extra 'notebooks'")
    nbclient = pytest.importorskip("nbclient", reason="needs the extra 'notebooks'")
    pytest.importorskip("ipykernel", reason="needs the extra 'notebooks'")
    notebook = shortened(jupytext.read(source))
    where = {"metadata": {"path": str(NOTEBOOKS)}}
    nbclient.NotebookClient(
        notebook, timeout=CELL_S, kernel_name="python3", resources=where
    ).execute()
    return notebook


def draws(cell):
    """Whether the last line of a cell is a picture."""
    lines = cell.source.strip().splitlines()
    return bool(lines) and lines[-1].startswith("plots.")


def check(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert any(map(draws, cells))
    for cell in cells:
        outputs = cell.outputs
        shown = any("image/png" in output.get("data", {}) for output in outputs)
        assert shown or not draws(cell), cell.source
        said = "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stderr")
        assert "tsfm_adapt/" not in said, said  # a warning of ours; upstream's own are theirs


def test_there_are_three_notebooks():
    assert len(SOURCES) == 3


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("shortened", [quick, pytest.param(as_it_is, marks=pytest.mark.slow)])
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_runs_on_synthetic_data(source, shortened, monkeypatch):
    monkeypatch.delenv("TSFM_ADAPT_DATA", raising=False)
    check(executed(source, shortened))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_runs_on_real_data(source):
    if "TSFM_ADAPT_DATA" not in os.environ:
        pytest.skip("TSFM_ADAPT_DATA is not set")
    check(executed(source))
