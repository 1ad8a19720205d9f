"""`new` writes files that import, lint, and whose contract tests fail until they are filled in."""

import re
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from contracts.checkout import ROOT, copied, run
from tsfm_adapt.cli import new
from tsfm_adapt.cli.app import app
from tsfm_adapt.components import PACKAGES
from tsfm_adapt.errors import EnvironmentProblem, RecipeError

KINDS = tuple(PACKAGES)
NAMES = {kind: f"some_{kind}" for kind in KINDS}

FILLED = {  # what somebody writes in the places that are marked
    "adapter": {
        "adapters/some_adapter.py": {
            'raise NotImplementedError("adapter some_adapter: attach")': """import torch
        from torch import nn

        device = next(backbone.network.parameters()).device
        self.module = nn.ParameterList([torch.zeros(backbone.spec.width, device=device)])""",
            'raise NotImplementedError("adapter some_adapter: tokens")': """if layer:
            return tokens
        assert self.module is not None
        return tokens + next(self.module.parameters()).to(tokens.dtype)""",
        }
    },
    "reader": {
        "signals/readers/some_reader.py": {
            'raise NotImplementedError("reader some_reader: read")': """import numpy as np

    head, *lines = path.read_text(encoding="utf-8").splitlines()
    columns = head.split()[1:]
    names = tuple(name for name in wanted or columns if name in columns)
    cells = [line.replace("-", "nan").split()[1:] for line in lines]
    values = np.array(cells, dtype=np.float32).T[[columns.index(name) for name in names]]
    return Recording(path.stem, path.stem, values, names, ("bpm",) * len(names), 1.0)""",
        }
    },
}


def outcome(folder, kind):
    """How the tests of a component end, up to five that fail, and the reasons of these."""
    path = folder / f"{kind}.xml"
    test = f"tests/{PACKAGES[kind]}/test_{NAMES[kind]}.py"
    options = ["-q", f"--junitxml={path}", "-p", "no:cacheprovider", "--maxfail=5"]
    run(folder, "pytest", *options, test, check=False)
    suite = ElementTree.parse(path).getroot().find("testsuite")
    counts = {key: int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped")}
    reasons = {e.get("message", "") for e in suite.iter() if e.tag in ("failure", "error")}
    return counts, reasons


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout in which one component of each kind was begun."""
    folder = copied(tmp_path_factory.mktemp("checkout"))
    for kind in KINDS:
        done = run(folder, "tsfm_adapt", "new", kind, NAMES[kind])
        file = f"src/tsfm_adapt/{PACKAGES[kind]}/{NAMES[kind]}.py"
        test = f"tests/{PACKAGES[kind]}/test_{NAMES[kind]}.py"
        assert done.stdout.startswith(f"written: {file}\nwritten: {test}\n")
        assert done.stdout.endswith(f"until this passes: python -m pytest {test}\n")
    return folder


def test_what_it_writes_lints_and_is_laid_out(checkout):
    files = [str(path) for path in checkout.rglob("*some_*.py")]
    assert len(files) == 2 * len(KINDS)
    run(checkout, "ruff", "check", "--no-cache", *files)
    run(checkout, "ruff", "format", "--no-cache", "--check", *files)


def test_what_it_writes_has_strict_types(checkout):
    files = [f"src/tsfm_adapt/{PACKAGES[kind]}/{NAMES[kind]}.py" for kind in KINDS]
    run(checkout, "mypy", *files)


def test_what_it_writes_is_listed_and_in_the_schema(checkout):
    schema = run(checkout, "tsfm_adapt", "schema").stdout
    for kind in KINDS:
        listed = run(checkout, "tsfm_adapt", "list", f"{kind}s").stdout
        assert re.search(rf"^{NAMES[kind]} .* in one line", listed, re.MULTILINE)
        assert f'"const": "{NAMES[kind]}"' in schema


def test_it_writes_the_rows_of_the_pages_and_the_section_of_an_adapter(checkout):
    run(checkout, "tools.tables", "--check")
    page = (checkout / "docs/reference/components.md").read_text(encoding="utf-8")
    for kind in KINDS:
        assert f"\n| `{NAMES[kind]}` |" in page
    explained = (checkout / "docs/explanation/adapters.md").read_text(encoding="utf-8")
    assert "\n### some_adapter\n" in explained
    assert "recipe.md#adapters-some_adapter)" in explained


@pytest.mark.parametrize("kind", KINDS)
def test_its_contract_fails_until_it_is_filled_in(checkout, kind):
    counts, reasons = outcome(checkout, kind)
    assert counts["failures"] + counts["errors"] == 5
    assert counts["skipped"] == 0
    assert any(f"NotImplementedError: {kind} {NAMES[kind]}" in reason for reason in reasons)


@pytest.mark.parametrize("kind", FILLED)
def test_its_contract_holds_once_it_is_filled_in(checkout, kind):
    originals = {}
    for file, changes in FILLED[kind].items():
        path = checkout / "src/tsfm_adapt" / file
        originals[path] = text = path.read_text(encoding="utf-8")
        for marked, code in changes.items():
            assert text.count(marked) == 1
            text = text.replace(marked, code)
        path.write_text(text)
    try:
        counts, reasons = outcome(checkout, kind)
    finally:
        for path, text in originals.items():
            path.write_text(text)
    assert counts["failures"] + counts["errors"] == 0, reasons
    assert counts["tests"] - counts["skipped"] >= 10


@pytest.mark.parametrize("name", ["Lora", "2nd", "a-b", "class", "base", "_x", "../x", "é", ""])
def test_a_name_that_no_component_can_have_is_refused(name):
    with pytest.raises(RecipeError, match="identifier in lower case"):
        new.check_name("adapter", name)


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(RecipeError, match="there is a reader named 'csv' already"):
        new.check_name("reader", "csv")
    new.check_name("adapter", "csv")


def test_a_file_that_exists_is_left_alone(checkout):
    other = checkout / "tests" / "heads" / "test_other.py"
    other.write_text("# mine\n")
    done = run(checkout, "tsfm_adapt", "new", "head", "other", check=False)
    assert done.returncode == 2
    assert "error: new: 'tests/heads/test_other.py' exists" in done.stderr
    assert other.read_text() == "# mine\n"
    assert not (checkout / "src/tsfm_adapt/heads/other.py").exists()
    other.unlink()


def test_outside_a_checkout_it_says_what_to_do(tmp_path):
    with pytest.raises(EnvironmentProblem, match=r"works in a checkout.*docs/howto/component\.md"):
        new.checkout(tmp_path)
    assert new.checkout(ROOT) == ROOT


def test_a_kind_that_does_not_exist_is_refused_with_those_that_do():
    refused = CliRunner().invoke(app, ["new", "optimiser", "sgd"])
    assert refused.exit_code == 2
    assert all(kind in refused.output for kind in KINDS)
