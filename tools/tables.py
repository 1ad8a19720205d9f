"""Writes the tables of components into README.md and docs/, from what the components' files say.

`python tools/tables.py --write` fills every region between `<!-- table: adapters -->` and
`<!-- /table -->`; `--check` exits 1 where a page is out of date. Components of other packages are
no part of the project's pages.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from contracts.refused import REASONS, REFUSED  # noqa: E402
from tsfm_adapt.backbones.embedded import embedded, published  # noqa: E402
from tsfm_adapt.components import (  # noqa: E402
    PACKAGES,
    Kind,
    built_in,
    component,
    config_class,
)

REGION = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def main() -> None:
    """Writes or checks every page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--write", action="store_true", help="fill the tables")
    how.add_argument("--check", action="store_true", help="exit 1 where a table is out of date")
    writes = parser.parse_args().write
    outdated = [(page, text) for page, text in filled() if page.read_text("utf-8") != text]
    for page, text in outdated:
        print(f"{'written' if writes else 'out of date'}: {page.relative_to(ROOT)}")
        if writes:
            page.write_text(text, encoding="utf-8")
    if outdated and not writes:
        sys.exit("Run python tools/tables.py --write.")


def filled() -> Iterator[tuple[Path, str]]:
    """Every page that may hold tables, and its text with the tables of today."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        yield page, fill(page.read_text(encoding="utf-8"), page)


def fill(text: str, page: Path) -> str:
    """A page's text with its tables.

    Raises:
        SystemExit: a region asks for a table that does not exist.
    """

    def table(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        if name not in TABLES:
            sys.exit(f"{page}: there is no table '{name}'. Known: {', '.join(TABLES)}.")
        return f"{begin}\n{TABLES[name]()}\n\n{end}"

    return REGION.sub(table, text)


def kinds() -> str:
    """One row a kind, with the names alone."""
    rows = [
        [f"{PACKAGES[kind].rpartition('/')[2]}", ", ".join(f"`{name}`" for name in built_in(kind))]
        for kind in PACKAGES
    ]
    return markdown(["", "names"], rows)


def backbones() -> str:
    """Every network: what it is, and which weights are known."""
    rows = []
    for name in built_in("backbone"):
        own = embedded(name)
        weights = "-" if own is None else f"{own.parameters / 1e6:.1f} million"
        context = "-" if own is None else f"{own.max_context}"
        by_licence: dict[str, list[str]] = defaultdict(list)
        for checkpoint, licence in published(name).items():
            by_licence[licence].append(f"`{checkpoint}`")
        known = "; ".join(f"{', '.join(ids)}: {licence}" for licence, ids in by_licence.items())
        rows.append([f"`{name}`", about("backbone", name), weights, context, known])
    columns = ["backbone", "what it is", "embedded weights", "their longest context, samples"]
    return markdown([*columns, "published weights: licence"], rows)


def heads() -> str:
    """Every head with the task that it is for."""
    rows = [
        [f"`{name}`", f"`{config_class('head', name).task}`", about("head", name)]
        for name in built_in("head")
    ]
    return markdown(["head", "task", "what it is"], rows)


def plain(kind: Kind) -> Callable[[], str]:
    """A table of the names of a kind and what each is."""

    def table() -> str:
        rows = [[f"`{name}`", about(kind, name)] for name in built_in(kind)]
        return markdown([kind, "what it is"], rows)

    return table


def grid() -> str:
    """Adapters by backbones; numbers refer to reasons below."""
    reasons = list(dict.fromkeys(REFUSED.values()))
    rows = []
    for adapter in built_in("adapter"):
        refusals = [REFUSED.get((name, adapter)) for name in built_in("backbone")]
        cells = ["yes" if r is None else f"no ({reasons.index(r) + 1})" for r in refusals]
        rows.append([f"`{adapter}`", *cells])
    notes = [f"{number}. {REASONS[reason]}" for number, reason in enumerate(reasons, 1)]
    columns = [f"`{name}`" for name in built_in("backbone")]
    return "\n".join([markdown(["adapter", *columns], rows), "", *notes])


def about(kind: Kind, name: str) -> str:
    """The first line of a component's docstring, and the extra that it needs."""
    found = component(kind, name)
    return f"{found.summary} (extra `{found.extra}`)" if found.extra else found.summary


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


TABLES: dict[str, Callable[[], str]] = {
    "kinds": kinds,
    "backbones": backbones,
    "adapters": plain("adapter"),
    "heads": heads,
    "tasks": plain("task"),
    "readers": plain("reader"),
    "grid": grid,
}

if __name__ == "__main__":
    main()
