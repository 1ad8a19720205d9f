"""Every notebook runs from its first cell to its last, and each picture it asks for is there."""

import os
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SOURCES = sorted(NOTEBOOKS.glob("*.py"))
CELL_S = 540  # of one cell, on a machine that does other things too


def executed(source):
    """The notebook with its outputs; an exception in a cell is one here."""
    jupytext = pytest.importorskip("jupytext", reason="needs the extra 'notebooks'")
    nbclient = pytest.importorskip("nbclient", reason="needs the extra 'notebooks'")
    pytest.importorskip("ipykernel", reason="needs the extra 'notebooks'")
    notebook = jupytext.read(source)
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
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_runs_on_synthetic_data(source, monkeypatch):
    monkeypatch.delenv("TSFM_ADAPT_DATA", raising=False)
    check(executed(source))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_runs_on_real_data(source):
    if "TSFM_ADAPT_DATA" not in os.environ:
        pytest.skip("TSFM_ADAPT_DATA is not set")
    check(executed(source))
