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


FORGET = "%reset -f"  # all names: a notebook has none from another


def shortened(notebook):
    """Of few steps and windows; whatever else it does, it does."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for number, small in QUICK.items():
                cell.source = re.sub(number, small, cell.source)
    return notebook


@pytest.fixture(scope="module")
def quickly():
    """All notebooks with their outputs, by file: shortened, and in one process, one by one."""
    jupytext = pytest.importorskip("jupytext", reason="needs the extra 'notebooks'")
    nbformat = pytest.importorskip("nbformat.v4", reason="needs the extra 'notebooks'")
    notebooks = {source: shortened(jupytext.read(source)) for source in SOURCES}
    together = nbformat.new_notebook()
    for notebook in notebooks.values():
        together.cells += [nbformat.new_code_cell(FORGET), *notebook.cells]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TSFM_ADAPT_DATA", raising=False)
        execute(together, allow_errors=True)
    return notebooks


def executed(source):
    """The notebook with its outputs, in a process of its own."""
    jupytext = pytest.importorskip("jupytext", reason="needs the extra 'notebooks'")
    notebook = jupytext.read(source)
    execute(notebook)
    return notebook


def execute(notebook, **options):
    """Runs the cells and keeps their outputs; an exception in a cell is one here."""
    nbclient = pytest.importorskip("nbclient", reason="needs the extra 'notebooks'")
    pytest.importorskip("ipykernel", reason="needs the extra 'notebooks'")
    where = {"metadata": {"path": str(NOTEBOOKS)}}
    nbclient.NotebookClient(
        notebook, timeout=CELL_S, kernel_name="python3", resources=where, **options
    ).execute()


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
        failed = [output for output in outputs if output.output_type == "error"]
        assert not failed, f"{failed[0].ename}: {failed[0].evalue}\n{cell.source}"
        shown = any("image/png" in output.get("data", {}) for output in outputs)
        assert shown or not draws(cell), cell.source
        said = "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stderr")
        assert "tsfm_adapt/" not in said, said  # a warning of ours; upstream's own are theirs


def test_there_are_three_notebooks():
    assert len(SOURCES) == 3


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_runs_on_synthetic_data(source, quickly):
    check(quickly[source])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_runs_on_synthetic_data_as_it_is(source, monkeypatch):
    monkeypatch.delenv("TSFM_ADAPT_DATA", raising=False)
    check(executed(source))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_runs_on_real_data(source):
    if "TSFM_ADAPT_DATA" not in os.environ:
        pytest.skip("TSFM_ADAPT_DATA is not set")
    check(executed(source))
