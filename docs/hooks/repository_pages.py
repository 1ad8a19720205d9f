"""Puts README, CONTRIBUTING and the reports of experiments on the site, from where they are.

Decisions are found in their folder too, so that a new one needs no line in mkdocs.yml.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]

# Entries of `nav` in mkdocs.yml that stand for what a folder holds
DECISIONS, EXPERIMENTS = "decisions", "experiments"

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fills the entries of folders with their pages."""
    decisions = sorted(path.name for path in (ROOT / "docs/decisions").glob("*.md"))
    pages = {
        DECISIONS: [f"decisions/{name}" for name in decisions],
        EXPERIMENTS: [page for page in sources().values() if page.startswith("experiments/")],
    }
    assert config.nav is not None
    for entry in config.nav:
        for title, content in entry.items() if isinstance(entry, dict) else ():
            if isinstance(content, str) and content in pages:
                entry[title] = pages[content]
    return config


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
        "README.md": "overview.md",
        "CONTRIBUTING.md": "contributing.md",
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
