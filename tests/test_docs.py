"""The documentation: it builds without a network or a warning, and what it shows holds."""

import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer.main
import yaml

from tsfm_adapt.cli.app import app
from tsfm_adapt.components import PACKAGES, built_in
from tsfm_adapt.recipe.files import load

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
REPORTS = sorted((ROOT / "experiments").glob("*/README.md"))
ON_GITHUB = [*PAGES[:2], ROOT / "CHANGELOG.md", ROOT / "adapters/README.md", *REPORTS]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)

builds = pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("mkdocstrings") is None,
    reason="the site needs the extra docs: pip install 'tsfm-adapt[docs]'",
)


def blocks(page):
    """The code of a page: language and text."""
    return FENCE.findall(page.read_text(encoding="utf-8"))


def links(page):
    """The links of a page to other pages, and their anchors; code is left out."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = [target for target in LINK.findall(text) if not re.match(r"[a-z]+:", target)]
    return [target.partition("#")[::2] for target in found]


def anchors(page):
    """The headings of a page as the anchors that links name."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}


def python(page, folder):
    """Runs the Python of a page in a folder that holds the repository's recipes and adapters."""
    for name in ("adapters", "recipes"):
        (folder / name).symlink_to(ROOT / name)
    code = "\n".join(text for language, text in blocks(page) if language == "python")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


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
    for report in REPORTS:
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
def test_the_first_page_has_the_picture_the_two_commands_and_a_search_box(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    assert 'src="forecast.png"' in page
    assert (site / "forecast.png").is_file()
    assert "make run" in page
    assert "make test" in page
    assert 'data-md-component="search"' in page
    # What the box needs on a page that was opened from a disk: an index as a script, and a worker
    assert (site / "search/search_index.js").read_text(encoding="utf-8").startswith("var __index")
    assert 'src="javascripts/iframe-worker.js"' in page
    assert (site / "javascripts/iframe-worker.js").is_file()


@builds
def test_experiments_and_decisions_are_one_entry_each_with_a_page_that_lists_them(site):
    top = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for folder in ("experiments", "decisions"):
        assert len(re.findall(rf": {folder}$", top, re.MULTILINE)) == 1
        listing = (site / f"{folder}.html").read_text(encoding="utf-8")
        article = listing[listing.index("<article") : listing.index("</article")]
        pages = sorted((site / folder).glob("*.html"))
        assert len(pages) > 6
        for page in pages:
            assert f'href="{folder}/{page.name}"' in article


@builds
def test_the_recipe_reference_has_every_component_and_the_command_line_every_verb(site):
    recipe = (site / "reference/recipe.html").read_text(encoding="utf-8")
    for kind, package in PACKAGES.items():
        for name in built_in(kind):
            assert f'id="{package.rpartition("/")[2]}-{name}"' in recipe
    assert "<code>rate_hz</code>" in recipe
    line = (site / "reference/cli.html").read_text(encoding="utf-8")
    for verb in typer.main.get_command(app).commands:
        assert f'id="{verb}"' in line
        assert f"Usage: tsfm-adapt {verb} " in line


@builds
def test_the_python_reference_shows_the_contracts(site):
    models = (site / "reference/api/models.html").read_text(encoding="utf-8")
    assert 'id="tsfm_adapt.backbones.base.Forecaster.forecast"' in models
    assert 'id="tsfm_adapt.adapters.base.Adapter.restore"' in models
    assert "(B, C, P, D); 0 where not observed" in models  # the comment behind a field


def test_every_adapter_is_explained():
    text = (ROOT / "docs/explanation/adapters.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### (\w+)$", text, re.MULTILINE)
    assert sorted(sections) == sorted(built_in("adapter"))
    for name in sections:
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


@pytest.mark.parametrize("page", ON_GITHUB, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_a_file_and_a_heading_that_exist(page):
    for path, anchor in links(page):
        target = (page.parent / path) if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}"


def test_links_were_looked_at():
    assert len(links(ROOT / "README.md")) > 20
    assert ("docs/results.md", "") in links(ROOT / "README.md")


def test_the_readme_is_short_and_its_recipe_is_the_main_one():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 160
    (shown,) = [
        yaml.safe_load(t) for language, t in blocks(ROOT / "README.md") if language == "yaml"
    ]
    main = yaml.safe_load((ROOT / "recipes/vitals_forecast.yaml").read_text(encoding="utf-8"))
    del main["search"], main["task"]["events"]
    assert shown == main


def test_the_python_of_the_readme_runs(tmp_path):
    python(ROOT / "README.md", tmp_path)
    assert (tmp_path / "forecast.png").is_file()


@pytest.mark.slow
def test_the_python_of_the_how_to_runs(tmp_path):
    python(ROOT / "docs/howto/python.md", tmp_path)
    (run,) = (tmp_path / "runs").glob("*/*")
    assert (run / "scores.json").is_file()


def test_the_glossary_has_one_row_a_term_and_every_letter_of_a_shape():
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| (\w?) \| (.+) \|$", text, re.MULTILINE)
    terms = [term for term, _, _ in rows]
    assert len(terms) == len(set(terms)) > 30
    assert {letter for _, letter, _ in rows} - {""} == set("BCTHPDQ")
    assert [term for term, _, meaning in rows if not meaning.endswith(".")] == []
    for page in ("README.md", "docs/index.md"):
        assert "glossary.md)" in (ROOT / page).read_text(encoding="utf-8")


def test_the_architecture_names_every_room():
    text = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    tree = text[text.index("src/tsfm_adapt/") : text.index("Rooms of one level")]
    source = ROOT / "src/tsfm_adapt"
    rooms = {f"{path.parent.name}/" for path in source.glob("*/__init__.py")}
    modules = {path.stem for path in source.glob("*.py")} - {"__init__"}
    listed = re.findall(r"^    (\S[\w/, ]*?)  ", tree, re.MULTILINE)
    assert rooms | modules == {name for line in listed for name in line.split(", ")}


def test_the_tutorial_shows_the_whole_way():
    verbs = [words[0] for words in commands(ROOT / "docs/tutorial.md")]
    assert verbs == ["init", "check", "train", "predict", "compare", "tune", "export"]
    assert len(SHOWN) > 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_yaml_that_is_shown_is_yaml(page):
    for language, text in blocks(page):
        if language == "yaml":
            yaml.safe_load(text)
