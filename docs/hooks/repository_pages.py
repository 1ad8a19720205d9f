"""Puts CONTRIBUTING, CHANGELOG and the reports of experiments on the site, from where they are.

Decisions and experiments are found in their folders: a new one needs no line in mkdocs.yml.
`<!-- pages: decisions -->` in a page becomes the list of decisions.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]

# Entries of `nav` in mkdocs.yml that stand for what a folder holds
DECISIONS, EXPERIMENTS = "decisions", "experiments"

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fills the entries of folders with their pages."""
    pages: dict[str, list[object]] = {
        DECISIONS: ["decisions.md", *decisions()],
        EXPERIMENTS: ["experiments.md", *(p for p in sources().values() if p.startswith("exp"))],
    }
    assert config.nav is not None
    fill(config.nav, pages)
    return config


def fill(nav: list[Any], pages: Mapping[str, list[object]]) -> None:
    """Puts pages in place of the names of folders, however deep they stand."""
    for entry in nav:
        for title, content in entry.items() if isinstance(entry, dict) else ():
            if isinstance(content, list):
                fill(content, pages)
            elif content in pages:
                entry[title] = pages[content]


def decisions() -> list[str]:
    """The pages of decisions, by number."""
    return [f"decisions/{p.name}" for p in sorted((ROOT / "docs/decisions").glob("*.md"))]


def on_page_markdown(markdown: str, **_: object) -> str:
    """Writes the list of decisions where a page asks for it."""
    lines = []
    for place in decisions():
        title = (ROOT / "docs" / place).read_text(encoding="utf-8").partition("\n")[0]
        number, words = re.split(r"[:.] ", title.removeprefix("# "), maxsplit=1)
        lines.append(f"- [{int(number):03}]({place}): {words[0].upper()}{words[1:]}")
    return markdown.replace(f"<!-- pages: {DECISIONS} -->", "\n".join(lines))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages and the pictures that they show."""
    places = sources() | {
        path.relative_to(ROOT).as_posix(): path.relative_to(ROOT / "docs").as_posix()
        for path in (ROOT / "docs").rglob("*.md")
    }
    for source, place in sources().items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=relinked(text, source, places)))
    for picture in sorted((ROOT / "experiments").glob("*/*.png")):
        place = picture.relative_to(ROOT).as_posix()
        files.append(File.generated(config, place, abs_src_path=str(picture)))
    return files


def sources() -> dict[str, str]:
    """Files of the repository that are pages: their path, their place on the site."""
    reports = sorted((ROOT / "experiments").glob("*/README.md"))
    return {
        "CONTRIBUTING.md": "contributing.md",
        "CHANGELOG.md": "changes.md",
        **{
            f"experiments/{p.parent.name}/README.md": f"experiments/{p.parent.name}.md"
            for p in reports
        },
    }


def relinked(text: str, source: str, places: Mapping[str, str]) -> str:
    """A page's text with links that hold on the site.

    Args:
        text: Markdown, its links relative to `source`.
        source: path in the repository.
        places: pages of the site by their path in the repository. Links to a folder lead to its
            first page; what is no page is named in place of a link.
    """
    here = posixpath.dirname(places[source])

    def moved(match: re.Match[str]) -> str:
        picture, words, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, hash_, anchor = target.partition("#")
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if picture:
            return f"![{words}]({posixpath.relpath(wanted, here or '.')})"
        below = sorted(page for page in places if page.startswith(f"{wanted}/"))
        page = places.get(wanted) or (places[below[0]] if below else None)
        if page is None:
            return f"{words} (`{wanted}`)"
        return f"[{words}]({posixpath.relpath(page, here or '.')}{hash_}{anchor})"

    # Code is left as it is: what looks like a link there is none
    fences = iter(_FENCE.findall(text))
    outside = _FENCE.split(text)
    done = [_LINK.sub(moved, part) for part in outside]
    return "".join(part + next(fences, "") for part in done)
