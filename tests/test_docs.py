"""The documentation: it builds without a network or a warning, and what it shows holds."""

import os
import re
import shlex
import subprocess
import sys
import types
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer.main
import yaml

from contracts.adapter import AdapterContract
from tsfm_adapt.cli.app import app
from tsfm_adapt.components import PACKAGES, names
from tsfm_adapt.recipe.files import load

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)

builds = pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("mkdocstrings") is None,
    reason="the site needs the extra docs: pip install 'tsfm-adapt[docs]'",
)


def blocks(page):
    """The code of a page: language and text."""
    return FENCE.findall(page.read_text(encoding="utf-8"))


def commands(page):
    """The words of every command of ours that a page shows, from the verb on."""
    found = []
    for language, text in blocks(page):
        if language not in ("", "console"):
            continue
        for line in text.replace("\\\n", " ").splitlines():
            words = line.removeprefix("$ ")
            if match := re.search(r"(?:^|/| -m )tsfm[-_]adapt (.*)", words):
                found.append(shlex.split(match[1], comments=True))
    return found


SHOWN = [
    pytest.param(words, id=f"{page.stem}: {' '.join(words)[:60]}")
    for page in PAGES
    for words in commands(page)
]


class Loaded(HTMLParser):
    """What a browser would fetch for a page."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        own = dict(attrs)
        self.addresses.append(own.get("src"))
        if tag == "link" and own.get("rel") != "canonical":
            self.addresses.append(own.get("href"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs") / "site"
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@builds
def test_the_site_builds_without_a_warning_and_has_every_page(site):
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).is_file(), page
    for report in (ROOT / "experiments").glob("*/README.md"):
        assert (site / "experiments" / f"{report.parent.name}.html").is_file(), report
    assert not (site / "hooks").exists()


@builds
def test_no_page_fetches_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        fetched = [address for address in loaded.addresses if address]
        assert fetched
        assert not [a for a in fetched if re.match(r"(?:\w+:)?//", a)], page


@builds
def test_the_recipe_reference_has_every_component_and_the_command_line_every_verb(site):
    recipe = (site / "reference/recipe.html").read_text(encoding="utf-8")
    for kind, package in PACKAGES.items():
        for name in names(kind):
            assert f'id="{package.rpartition("/")[2]}-{name}"' in recipe
    assert "<code>rate_hz</code>" in recipe
    line = (site / "reference/cli.html").read_text(encoding="utf-8")
    for verb in typer.main.get_command(app).commands:
        assert f'id="{verb}"' in line
        assert f"Usage: tsfm-adapt {verb} " in line


@builds
def test_the_python_reference_shows_the_contracts(site):
    models = (site / "reference/api/models.html").read_text(encoding="utf-8")
    assert 'id="tsfm_adapt.backbones.base.Backbone.forecast"' in models
    assert 'id="tsfm_adapt.adapters.base.Adapter.restore"' in models
    assert "(B, C, P, D); 0 where not observed" in models  # the comment behind a field


def test_every_adapter_is_explained():
    text = (ROOT / "docs/explanation/adapters.md").read_text(encoding="utf-8")
    told = re.findall(r"^### (\w+)$", text, re.MULTILINE)
    assert sorted(told) == sorted(names("adapter"))
    for name in told:
        assert f"recipe.md#adapters-{name})" in text


@pytest.mark.parametrize("words", SHOWN)
def test_a_command_that_is_shown_is_one(words):
    verb, *rest = words
    command = typer.main.get_command(app).commands[verb]
    arguments = command.make_context(verb, rest).params
    for word in rest:
        if word.startswith("recipes/"):
            assert (ROOT / word).is_file()
    if arguments.get("sets"):
        load(ROOT / "recipes/vitals_forecast.yaml", arguments["sets"])


def test_the_tutorial_shows_the_whole_way():
    verbs = [words[0] for words in commands(ROOT / "docs/tutorial.md")]
    assert verbs == ["init", "check", "train", "predict", "compare", "tune", "export"]
    assert len(SHOWN) > 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_yaml_that_is_shown_is_yaml(page):
    for language, text in blocks(page):
        if language == "yaml":
            yaml.safe_load(text)


def shown_adapter():
    """The adapter of the how-to, as its code stands there."""
    module = types.ModuleType("token_shift")
    text = next(
        text
        for language, text in blocks(ROOT / "docs/howto/adapter.md")
        if language == "python" and "class TokenShift" in text
    )
    sys.modules[module.__name__] = module  # where pydantic looks for the names of annotations
    exec(compile(text, "docs/howto/adapter.md", "exec"), module.__dict__)
    return module


class TestTheAdapterOfTheHowTo(AdapterContract):
    config = shown_adapter().Config()
    merges = False
